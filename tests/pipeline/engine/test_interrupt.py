import os
import signal
import subprocess
import sys

import pytest

from pipeline.engine.interrupt import Interruption, draining, handling, interrupt


@pytest.fixture(autouse=True)
def heard():
    """A hangup is heard, also where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_first_signal_asks_and_the_block_ends_as_a_shell_expects(signum, code):
    before = signal.getsignal(signum)
    with pytest.raises(Interruption) as raised, draining() as stop:
        assert not stop()
        signal.raise_signal(signum)
        assert stop(), "work goes on until it asks"
    assert raised.value.exit_code == code
    assert signal.getsignal(signum) == before


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ends_the_block_at_once(second):
    with pytest.raises(Interruption) as raised, draining():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(second)
        pytest.fail("the block went on")
    assert raised.value.exit_code == 128 + second


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM])
def test_a_hangup_behind_another_signal_does_not_hurry(first):
    with pytest.raises(Interruption) as raised, draining() as stop:
        signal.raise_signal(first)
        signal.raise_signal(signal.SIGHUP)
        assert stop()
    assert raised.value.exit_code == 128 + first


def test_outside_the_block_a_signal_ends_the_program_at_once():
    with pytest.raises(Interruption) as raised, handling(interrupt):
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.exit_code == 143


def test_nohup_is_respected():
    code = """
import signal
from pipeline.engine.interrupt import draining
with draining() as stop:
    signal.raise_signal(signal.SIGHUP)
    print(stop())
"""
    started = f"trap '' HUP; exec {sys.executable} -c '{code}'"
    shown = subprocess.run(["sh", "-c", started], capture_output=True, text=True, env=os.environ, check=True)
    assert shown.stdout == "False\n"
