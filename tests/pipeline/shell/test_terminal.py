"""What a shell and its user expect of any command, whatever it does."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from pipeline.shell.cli import app
from pipeline.version import __version__
from tests.runs import start, wsl, wsl_here

COMMANDS = [one.name or one.callback.__name__ for one in app.registered_commands]
TABLES = ["configs", "datasets", "models", "explainers", "protocols", "metrics", "formats"]


def test_the_version_is_an_option():
    result = wsl("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"wsl-pipeline {__version__}\n", "")


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_h_is_help(command):
    short, long = wsl_here(*command, "-h"), wsl_here(*command, "--help")
    assert short.returncode == 0 and "Usage: wsl-pipeline" in short.stdout and short.stdout == long.stdout


def test_the_shell_completes_commands(monkeypatch):
    assert "--show-completion" in wsl_here("--help").stdout
    monkeypatch.setenv("_WSL_PIPELINE_COMPLETE", "source_bash")
    assert "complete -o default" in wsl().stdout
    monkeypatch.setenv("_WSL_PIPELINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "wsl-pipeline re")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert wsl().stdout.split() == ["relocalize", "report"]


@pytest.mark.parametrize("wish", ["1", ""])
def test_no_color_is_honoured(monkeypatch, wish):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", wish)
    reader, terminal = pty.openpty()
    process = start("run", "--help", stdout=terminal)
    os.close(terminal)
    shown = b""
    try:
        while data := os.read(reader, 1 << 16):
            shown += data
    except OSError:  # The terminal's other end is closed.
        pass
    assert process.wait() == 0 and b"Usage" in shown
    assert (b"\x1b[" in shown) == (wish == "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "configs"),
        ("list", "configs", "--json"),
        pytest.param(("list", "metrics"), marks=pytest.mark.slow),
        pytest.param(("show", "photos"), marks=pytest.mark.slow),
        ("--help",),
    ],
)
def test_a_reader_that_leaves_is_no_error(arguments):
    reader, pipe = os.pipe()
    os.close(reader)
    result = wsl_to(pipe, *arguments)
    assert result == (0, "")


def wsl_to(pipe, *arguments, **options):
    """Exit code of the command with its stdout in a pipe, and what it says on stderr."""
    process = start(*arguments, stdout=pipe, **{"stderr": subprocess.PIPE} | options)
    os.close(pipe)
    _, err = process.communicate(timeout=600)
    return process.returncode, err or ""


@pytest.mark.slow  # whole runs in processes of their own
def test_a_run_goes_on_when_nobody_listens(tiny_data, tmp_path):
    for name, options in (("run", ()), ("json", ("--json",))):
        reader, pipe = os.pipe()
        os.close(reader)
        code, _ = wsl_to(pipe, "run", tiny_data / "tiny.yaml", "--out", tmp_path / name, *options, stderr=pipe)
        assert code == 0 and (tmp_path / name / "_SUCCESS").exists()


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("what", TABLES)
def test_lists_fit_a_terminal_and_cut_nothing(monkeypatch, what, width):
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = wsl_here("list", what).stdout
    monkeypatch.setenv("COLUMNS", str(width))
    narrow = wsl_here("list", what).stdout
    longest = max(map(len, narrow.split()))
    assert all(len(line) <= max(width, longest + 23) for line in narrow.splitlines())
    if what == "protocols":  # in blocks of columns, each with the titles of its rows
        assert sorted(set(narrow.split())) == sorted(set(wide.split()))
    else:
        assert narrow.split() == wide.split()
    if width == 80:
        assert all(len(line) <= 80 for line in narrow.splitlines())
    names = [re.split("  ", line)[0] for line in wide.splitlines()]
    assert what == "protocols" or [line for line in names if line not in narrow] == []


def test_a_closed_stdout_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    from pipeline.shell.output import outlive_readers

    outlive_readers()
    print("to nobody")
