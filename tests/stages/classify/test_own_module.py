"""Modules of the user's own folder, and everybody else's of the same names."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.classify.sources.own_module import import_from
from stages.classify.stage import Classify
from tests.stages.toys import tiny_network


@pytest.fixture(autouse=True)
def own_imports() -> Iterator[None]:
    """Let nothing that a test imports or puts on the path outlive it."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, **files: str) -> Path:
    """Python files by their dotted names without the ending, ``__`` for a dot."""
    for name, text in files.items():
        file = folder.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def test_a_module_finds_its_neighbours(tmp_path):
    write(tmp_path, own_net="import own_helper\nvalue = own_helper.value\n", own_helper="value = 3\n")
    module = import_from(tmp_path, "own_net")
    assert module.value == 3 and module is sys.modules["own_net"]


def test_only_the_folders_modules_find_what_lies_there(tmp_path):
    write(tmp_path, own_first="value = 1\n", own_lazy="def find():\n    import own_later\n    return own_later\n")
    (tmp_path / "own_later").mkdir()  # as the checkout of a library that others import where it is there
    lazy = import_from(tmp_path, "own_lazy")
    for name in ("own_first", "own_later"):
        assert importlib.util.find_spec(name) is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    assert list(lazy.find().__path__) == [str(tmp_path / "own_later")]


def test_a_pickle_is_read_for_the_module_that_has_it_read(tmp_path):
    write(tmp_path, own_classes="class Net:\n    pass\n")
    write(tmp_path, own_reader="import pickle\nnet = pickle.loads(b'cown_classes\\nNet\\n.')\n")
    assert import_from(tmp_path, "own_reader").net.__name__ == "Net"
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(b"cown_other\nNet\n.")


def test_a_package_and_a_folder_without_init(tmp_path):
    write(tmp_path, own_nets__mine="from own_nets.part import value\n", own_nets__part="value = 4\n")
    assert import_from(tmp_path, "own_nets.mine").value == 4
    write(tmp_path, own_package__mine="from .part import value\nfrom own_package import part\n")
    write(tmp_path, own_package__part="value = 5\n")
    (tmp_path / "own_package" / "__init__.py").touch()
    assert import_from(tmp_path, "own_package.mine").value == 5


@pytest.mark.parametrize("name", ["json", "this", "numpy", "mlxtend", "stages", "sys"])
def test_a_name_that_is_taken_is_the_folders_here_and_stays_what_it_was_elsewhere(tmp_path, name):
    """Of the standard library and of packages, imported before and not, and a built-in one."""
    if name == "mlxtend":
        pytest.importorskip("mlxtend")
        del sys.modules["mlxtend"]
    before = sys.modules.get(name)
    text = "import own_beside\nfrom stages.classify.network import Network\nmine = own_beside.value\n"
    write(tmp_path, **{name: text}, own_beside="value = 6\n")
    assert import_from(tmp_path, name).mine == 6
    assert sys.modules.get(name) is before
    assert not hasattr(importlib.import_module(name), "mine")
    assert import_from(tmp_path, name) is import_from(tmp_path, name)


def test_a_package_whose_name_is_taken(tmp_path):
    write(tmp_path, json__mine="from .part import value\nimport json\nloads = json.loads\n", json__part="value = 7\n")
    (tmp_path / "json" / "__init__.py").touch()
    module = import_from(tmp_path, "json.mine")
    assert module.value == 7 and module.loads is json.loads


def test_folders_with_the_same_names_keep_their_own(tmp_path):
    first, second = (write(tmp_path / name, own_twice=f"value = '{name}'\n") for name in ("a.b", "a_b"))
    assert [import_from(folder, "own_twice").value for folder in (first, second, first)] == ["a.b", "a_b", "a.b"]


def test_what_the_folder_does_not_have_is_found_where_python_finds_it(tmp_path):
    assert import_from(tmp_path, "json") is json
    with pytest.raises(ModuleNotFoundError, match="own_nowhere"):
        import_from(tmp_path, "own_nowhere")


def test_a_worker_elsewhere_finds_what_lay_where_the_stage_was_made(tmp_path, monkeypatch):
    there, here = write(tmp_path / "there", own_made="from tests.stages.toys import tiny_network\n"), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(there)
    parcel = pickle.dumps(Classify("python:own_made:tiny_network", tiny_network().weights_sha256, "last", 32))
    monkeypatch.chdir(here)
    stage = pickle.loads(parcel)
    stage.setup()
    assert stage.network.names == ["features"]
