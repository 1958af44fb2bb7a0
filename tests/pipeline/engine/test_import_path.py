"""The current folder is nowhere on the path, and what is needed is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pipeline.engine.import_path import ROOT, import_path, leave_out_current_folder

REST = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The current folder, reached through a link, and another one."""
    for name in ("here", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return str(tmp_path / "link"), str(tmp_path / "other")


def test_the_current_folder_is_left_out_under_all_its_names(folders, monkeypatch):
    here, other = folders
    monkeypatch.setattr(sys, "path", ["", os.getcwd(), here, ".", other, *REST, ROOT])
    leave_out_current_folder()
    assert sys.path == [other, *REST, ROOT]


def test_the_folder_of_this_package_stays_when_it_is_the_current_one(folders, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", ["", folders[1], *REST])
    leave_out_current_folder()
    assert sys.path == [ROOT, folders[1], *REST]
    assert import_path() == [ROOT, folders[1]]


def test_a_new_process_is_told_what_stands_before_the_standard_library(folders, monkeypatch):
    here, other = folders
    monkeypatch.setattr(sys, "path", [here, other, "/no/such/python.zip", *REST, "/behind"])
    assert import_path() == [other, ROOT]
    monkeypatch.setattr(sys, "path", [ROOT, other, *REST])
    assert import_path() == [ROOT, other]


def test_an_installed_package_is_found_without_being_told(folders, monkeypatch):
    monkeypatch.setattr("pipeline.engine.import_path.ROOT", REST[1])
    monkeypatch.setattr(sys, "path", [*REST, folders[1]])
    assert import_path() == []


def test_the_command_imports_nothing_from_the_current_folder(tmp_path):
    """Even where Python itself put it first; what was imported before the command began is not in its hands."""
    for name in ("numpy", "yaml", "pydantic", "cv2"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the current folder gave {name}')\n")
    code = "from pipeline.shell.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "list", "protocols"],
        env={**os.environ, "PYTHONPATH": ROOT},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "cam2016" in done.stdout, done.stderr
