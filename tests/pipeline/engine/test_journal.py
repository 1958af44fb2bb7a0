import json
import logging
import signal

from pipeline.engine.interrupt import handling
from pipeline.engine.journal import Journal


class Lines:
    """Lines as a buffered file takes them: one at a time; a signal comes in the middle of the first."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.busy = False

    def write(self, line: str) -> None:
        assert not self.busy, "reentrant call"
        self.busy = True
        if not self.lines:
            signal.raise_signal(signal.SIGTERM)
        self.lines.append(line)
        self.busy = False

    def flush(self) -> None:
        pass


def test_a_signal_in_the_middle_of_a_line_is_told_behind_it():
    lines = Lines()
    journal, log = Journal(lines), logging.getLogger("wsl_pipeline")
    log.addHandler(journal)
    try:
        with handling(lambda signum, frame: log.warning("stopping")):
            journal.processed(3, {"decode": 1.0})
    finally:
        log.removeHandler(journal)
    assert [json.loads(line)["event"] for line in lines.lines] == ["processed", "warning"]
