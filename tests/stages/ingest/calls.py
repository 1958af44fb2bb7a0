"""What files may do to the process that reads them, for the tests of :mod:`stages.ingest.children`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

from stages.errors import StorageError
from stages.ingest.header import Header, header_at


def act(uri: str) -> list[object]:
    """The words of a uri after what the first of them asks for."""
    what, *rest = uri.split()
    match what:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(0)
        case "hang":
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # The child's own is two minutes.
            time.sleep(60)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "once":  # The first process that does it dies.
            if not Path(rest[0]).exists():
                Path(rest[0]).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case "print":
            print("nothing", flush=True)
        case "outage":
            raise StorageError("the store is away")
    return [os.getpid(), *rest]


def header_or_death(uri: str) -> Header | None:
    """The header of an image, unless it is one whose name says that it kills."""
    if uri.endswith("deadly.png"):
        ctypes.string_at(0)
    return header_at(uri)


def modules(_: str) -> list[str]:
    """What the process has imported."""
    return sorted({name.partition(".")[0] for name in sys.modules})
