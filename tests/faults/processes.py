"""The command with every process that it starts."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.runs import start

TARGETS = ["driver", "raylet", "gcs", "worker", "agent"]
"""Kinds of processes; an agent is whatever helps Ray otherwise."""
GRACE = 10.0
"""Seconds after the end of a run within which everything that it started must be gone."""


@dataclass(frozen=True)
class Process:
    """A living process.

    Attributes:
        pid: Its number.
        command: Its command line, with null characters between the words.
    """

    pid: int
    command: str

    @property
    def kind(self) -> str:
        """Which of :data:`TARGETS` it is, if it is no driver."""
        if self.command.startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent")):
            return "agent"
        program = self.command.split("\0", 1)[0]
        names = {"/raylet": "raylet", "/gcs_server": "gcs"}
        named = next((kind for ending, kind in names.items() if program.endswith(ending)), None)
        working = program.startswith("ray::") or "/workers/" in self.command
        return named or ("worker" if working else "agent")


class Run:
    """The command as a process, whose children are known by their session or their folder for temporary files.

    Args:
        command: Its arguments.
        log: File for what it says.
        temporary: An empty folder for its temporary files.
    """

    def __init__(self, command: tuple[object, ...], log: Path, temporary: Path) -> None:
        self.temporary = temporary
        with log.open("w") as said:
            self.process = start(*command, environment={"TMPDIR": str(temporary)}, stdout=said, stderr=said)

    def processes(self) -> list[Process]:
        """Those that the command has started and that live."""
        mark, found = str(self.temporary).encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                after = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                state, session = after[0], int(after[3])
                command = (folder / "cmdline").read_bytes()
                ours = session == self.process.pid or mark in command or mark in (folder / "environ").read_bytes()
            except OSError:
                continue
            if ours and state not in "ZX" and int(folder.name) != self.process.pid:
                found.append(Process(int(folder.name), command.decode(errors="replace")))
        return sorted(found, key=lambda one: one.pid)

    def target(self, kind: str, share: float) -> int | None:
        """The number of a process of a kind, if there is one.

        Args:
            kind: One of :data:`TARGETS`.
            share: Which of them, from 0 for the oldest to 1.
        """
        if kind == "driver":
            return self.process.pid
        found = [one for one in self.processes() if one.kind == kind]
        return found[int(share * len(found))].pid if found else None

    def end(self) -> list[str]:
        """End whatever is left; returns the processes and files that were still there after :data:`GRACE` seconds."""
        self.process.kill()
        self.process.wait()
        last = time.monotonic() + GRACE
        while (found := self._traces()) and time.monotonic() < last:
            time.sleep(0.1)
        for one in self.processes():
            os.kill(one.pid, signal.SIGKILL)
        for path in self.temporary.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return found

    def _traces(self) -> list[str]:
        commands = [one.command.replace("\0", " ") for one in self.processes()]
        return commands + [str(path) for path in self.temporary.iterdir()]
