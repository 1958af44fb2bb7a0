"""A process that reads strangers' files for :mod:`stages.ingest.children`, and imports nothing that it does not need.

A line on its stdin names a function, the arguments of several calls, and those that all have; a line on its stdout
answers each call. It ends when its stdin does, and when nothing is asked of it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from importlib import import_module
from typing import Any

from stages.errors import UserError

READY = "ready"
SECONDS = 120
"""Time of one call, after which the process is ended by the kernel, wherever it is."""
_IDLE = 20


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # What libraries print is no answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The terminal sends it to every process; the parent decides.
    answers.write(f"{READY}\n")
    answers.flush()
    while select.select([sys.stdin], [], [], _IDLE)[0] and (line := sys.stdin.buffer.readline()):
        name, arguments, common = json.loads(line)
        module, _, function = name.partition(":")
        call = getattr(import_module(module), function)
        for argument in arguments:
            signal.alarm(SECONDS)
            answer = _answer(call, argument, common)
            signal.alarm(0)
            answers.write(f"{json.dumps(answer)}\n")
            answers.flush()


def _answer(call: Any, argument: str, common: list[Any]) -> tuple[str, Any]:
    """The value of a call, or the kind and message of its error."""
    try:
        return "", call(argument, *common)
    except UserError as error:
        return type(error).__name__, str(error)


if __name__ == "__main__":
    _serve()
