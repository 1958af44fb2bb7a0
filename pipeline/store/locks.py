"""Locks that admit one process at a time to a run and do not outlive a dead process.

On a disk the operating system holds the lock and releases it when the process ends. On NFS this needs its lock
service, which version 4 has built in.

Object stores have no locks. There every process puts an object of its own, its claim, next to the run, and only
then looks for the claims of others. Stores show an object to every listing that begins after its PUT ended
(S3 and GCS promise this), so of two processes at least one sees the other. A claim is renewed every
:data:`BEAT` seconds while its process lives. A process that finds a foreign claim watches it: if the claim
changes, its owner is alive, and the newcomer withdraws; a claim that does not change for :data:`STALE` seconds belongs
to a dead process and is removed. No clocks are compared. On the host that wrote a claim, a dead process is detected at
once.

Limits: two processes that start at the same moment may both withdraw; one that is suspended for longer than
:data:`STALE` counts as dead, and when it resumes, both work on the run. That costs time, not results: a
part's name and bytes follow from its shard alone.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pipeline.store.atomic import remove, write
from stages.errors import ConfigurationError, OutputError, StorageError
from stages.ingest.paths import join, local_path
from stages.ingest.uris import list_folder, read_bytes

CLAIMS = ".claims"
BEAT = 5.0
"""Seconds between renewals."""
STALE = 30.0
"""Seconds without renewal after which a claim is dead: six beats, since a busy store may refuse some."""


@contextmanager
def locked(run: str) -> Iterator[None]:
    """Hold the run at this local path or uri.

    Raises:
        ConfigurationError: Another process holds it.
        OutputError: The store does not answer.
        OSError: The disk has no locks, or is not ours to write to.
    """
    path = local_path(run)
    with _claimed(run) if path is None else _locked(path):
        yield


@contextmanager
def _locked(path: str) -> Iterator[None]:
    # A soft lock outlives a process that is killed.
    lock = FileLock(os.path.join(path, ".lock"), fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigurationError(f"{path}: another process works on this run; wait for it") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _claimed(run: str) -> Iterator[None]:
    name = f"{CLAIMS}/{uuid.uuid4().hex}.json"
    done = threading.Event()
    _renew(run, name, 0)
    heart = threading.Thread(target=_beat, args=(run, name, done), name="wsl-pipeline-claim", daemon=True)
    heart.start()
    try:
        for other in list_folder(join(run, CLAIMS))[1]:
            if f"{CLAIMS}/{other}" != name:
                _await_death(run, f"{CLAIMS}/{other}")
        yield
    finally:
        done.set()
        heart.join()
        _withdraw(run, name)


def _renew(run: str, name: str, beat: int) -> None:
    owner = {"host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "beat": beat}
    write(join(run, name), [json.dumps(owner).encode()])


def _beat(run: str, name: str, done: threading.Event) -> None:
    beat = 0
    while not done.wait(BEAT):
        beat += 1
        try:
            _renew(run, name, beat)
        except OutputError:  # The next renewal may succeed; the run's own writes report the cause.
            continue


def _await_death(run: str, name: str) -> None:
    """Wait until a foreign claim is dead or gone.

    Raises:
        ConfigurationError: The claim is alive.
    """
    first = _read(run, name)
    if first is None:
        return
    deadline = time.monotonic() + STALE
    while not _is_dead(first) and time.monotonic() < deadline:
        now = _read(run, name)
        if now is None:
            return
        if now != first:
            raise ConfigurationError(
                f"{run}: another process works on this run (host {now.get('host')}, pid {now.get('pid')}); wait for it"
            )
        time.sleep(min(1.0, BEAT))
    _withdraw(run, name)


def _is_dead(owner: dict[str, Any]) -> bool:
    """Whether the owner ran on this machine since its last boot, and no longer runs."""
    if (owner.get("host"), owner.get("boot")) != (socket.gethostname(), _boot()) or not owner.get("boot"):
        return False
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    return False


def _boot() -> str:
    """Identifier of this boot of the machine and, in containers, of the PID namespace; empty where unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _read(run: str, name: str, again: int = 2) -> dict[str, Any] | None:
    """What a claim says; None where it is gone."""
    try:
        owner = json.loads(read_bytes(join(run, name)))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    except StorageError:  # A store may cut its answer off while the claim is renewed or removed.
        if not again:
            raise
        return _read(run, name, again - 1)
    return owner if isinstance(owner, dict) else {}


def _withdraw(run: str, name: str) -> None:
    with suppress(OutputError):  # The store does not answer: the claim goes stale.
        remove(join(run, name))
