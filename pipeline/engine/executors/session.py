"""What a local Ray cluster has on this machine, a folder of its own and processes, and how both end with it.

``python -m pipeline.engine.executors.session FOLDER DRIVER`` waits for the end of the process that started the
cluster, however it ends, and removes what it left. Ray by itself keeps its agents for a minute and its folder for ever.
Some of Ray's failures end that process from within, at once and without a word: the one that waits says so for it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.engine.import_path import import_path

LOOK_EVERY = 0.5
"""Seconds between looks at whether the driver lives."""
MARK = "WSL_PIPELINE_SESSION"
"""Variable that names the folder."""
_STDERR = 2
_FAREWELL = b"."
_LAST_WORDS = (
    b"error: the run's process was killed, or ended by a failure of Ray's, before it could say why; committed shards "
    b"are safe: run the same command again\n"
)
PATIENCE = 5.0
"""Seconds that killed processes may take to end."""


class Session:
    """A folder for one cluster, which only this user can enter, and the secret that its processes share.

    A process of its own removes them if this one ends without :meth:`close`.

    Attributes:
        folder: Inside ``RAY_TMPDIR`` or the usual place for temporary files.
        temporary: Folder in it for Ray, which opens its folder to all users. Its name is short, as a socket's must be.
        token: File with the secret.
        environment: What the cluster's processes inherit: how they find the secret, and whose they are.

    Raises:
        OSError: The folder cannot be made.
    """

    def __init__(self) -> None:
        usual = "/tmp" if sys.platform == "darwin" else tempfile.gettempdir()  # Sockets have short names.
        parent = Path(os.environ.get("RAY_TMPDIR") or usual).absolute()
        with contextlib.suppress(FileExistsError):
            parent.mkdir(parents=True)
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir=parent))
        self.temporary = self.folder / "r"
        self.token = self.folder / "token"
        self.token.touch(0o600)
        self.token.write_text(secrets.token_hex(32))
        self.environment = {"RAY_AUTH_TOKEN_PATH": str(self.token), MARK: str(self.folder)}
        self._watcher = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(self.folder), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(import_path())},
            start_new_session=True,  # Signals to this process's group end this one only.
        )

    def wake(self) -> None:
        """Continue processes that were stopped: Ray waits for their answers without a limit."""
        for pid in _processes(self.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """End the processes that are left, and remove the folder.

        The process that waits for that looks again a second later, and ends.
        """
        _remove(self.folder, os.getpid())
        self.farewell()

    def farewell(self) -> None:
        """Let the process that waits know that this one ends of itself, and has said why."""
        assert self._watcher.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # It was killed, or knows.
            self._watcher.stdin.write(_FAREWELL)
            self._watcher.stdin.close()


def _remove(folder: Path, driver: int) -> None:
    last = time.monotonic() + PATIENCE
    while (found := [pid for pid in _processes(folder) if pid != driver]) and time.monotonic() < last:
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def _processes(folder: Path) -> Iterator[int]:
    """Processes that have inherited the folder's name, where the system lists them (Linux).

    Ray's agents write their titles over the beginning of their environment, and its order is chance: they are known by
    the files in the folder that they write.
    """
    mark = os.fsencode(folder.name)  # Nothing else has it, and part of the path before it may be lost.
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has ended, or is another user's.
            environment = (process / "environ").read_bytes()
            if mark in environment or (environment.startswith(b"\0") and _writes(process, mark)):
                yield int(process.name)


def _writes(process: Path, mark: bytes) -> bool:
    files = (process / "fd").iterdir()
    return any(mark in os.readlink(bytes(file)) and file.lstat().st_mode & stat.S_IWUSR for file in files)


def _closes(driver: int) -> bool:
    """Wait for the driver's end; returns whether it closed the session before."""
    while not select.select([sys.stdin], [], [], LOOK_EVERY)[0]:
        if os.getppid() != driver:
            return False  # A process that it left holds the pipe open.
    return os.read(sys.stdin.fileno(), 1) == _FAREWELL


def _main() -> None:
    folder, driver = Path(sys.argv[1]), int(sys.argv[2])
    for one in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):  # Whoever ends everything here ends the driver, too.
        signal.signal(one, signal.SIG_IGN)
    said = b"" if _closes(driver) else _LAST_WORDS
    with contextlib.suppress(OSError):
        os.write(_STDERR, said)
        os.close(_STDERR)  # Whoever reads it waits for no more.
    _remove(folder, driver)
    # A process that was about to start, and has no environment as it does, has found its folder gone or made it again.
    time.sleep(1)
    _remove(folder, driver)


if __name__ == "__main__":
    _main()
