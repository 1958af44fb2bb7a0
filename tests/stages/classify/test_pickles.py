"""No code in a file runs: neither functions, nor the methods of classes, nor imports."""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from stages.classify.checkpoints.files import read_file
from stages.classify.checkpoints.find import find_tensors
from stages.classify.checkpoints.pickles import Foreign
from stages.classify.weights import load_into
from stages.errors import ConfigurationError
from tests.stages.classify.layouts import Tiny, saved

WEIGHT = torch.arange(6.0).view(2, 3)


class Calls:
    """Pickles as the call of a function, with attributes to be set on what the call returns."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, state)

    def __reduce__(self):
        return self.reduced


class Restored:
    """Its ``__setstate__`` and ``__new__`` leave a file."""

    target = ""

    def __new__(cls, *arguments):
        if cls.target:
            Path(cls.target).touch()
        return super().__new__(cls)

    def __getnewargs__(self):
        return (1,)

    def __setstate__(self, state):
        Path(self.target).touch()

    def __getstate__(self):
        return {"a": 1}


def text_of(lines: str) -> bytes:
    """A pickle in protocol 0."""
    return lines.encode() + b"."


ATTACKS = {
    "a function": lambda ran: {"weight": WEIGHT, "x": Calls(os.mkdir, ran)},
    "a function in the place of the tensors": lambda ran: Calls(os.mkdir, ran),
    "a method of a class": lambda ran: {"weight": WEIGHT, "x": Calls(Path.mkdir, Path(ran))},
    "eval": lambda ran: {"weight": WEIGHT, "x": Calls(eval, f"__import__('os').mkdir({ran!r})")},
    "a class with __new__ and __setstate__": lambda ran: {"weight": WEIGHT, "x": Restored()},
    "a tensor of a subclass made by a function": lambda ran: {
        "weight": WEIGHT,
        "x": Calls(torch._tensor._rebuild_from_type_v2, os.mkdir, torch.Tensor, (ran,), {}),
    },
    "a sparse tensor of a function's result": lambda ran: {
        "weight": WEIGHT,
        "x": Calls(torch._utils._rebuild_sparse_tensor, torch.sparse_coo, (Calls(os.mkdir, ran),)),
    },
}


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "legacy"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_pickle_calls_does_not_run(attack, legacy, tmp_path, monkeypatch):
    ran = str(tmp_path / "ran")
    content = saved(ATTACKS[attack](ran), legacy)
    monkeypatch.setattr(Restored, "target", ran)
    (tmp_path / "w.pt").write_bytes(content)
    found = find_tensors(read_file(tmp_path / "w.pt"))
    assert not Path(ran).exists()
    if "weight" in found:
        torch.testing.assert_close(found["weight"].tensor.read(), WEIGHT)


def test_the_attacks_are_attacks(tmp_path, monkeypatch):
    """Read as PyTorch reads files that are trusted, each leaves its mark."""
    marks = 0
    for number, attack in enumerate(ATTACKS.values()):
        ran = str(tmp_path / str(number))
        (tmp_path / "w.pt").write_bytes(saved(attack(ran)))
        monkeypatch.setattr(Restored, "target", ran)
        with suppress(Exception):
            torch.load(tmp_path / "w.pt", weights_only=False)
        monkeypatch.setattr(Restored, "target", "")
        marks += Path(ran).exists()
    assert marks == len(ATTACKS)


@pytest.mark.parametrize(
    "content",
    [
        text_of("cos\nmkdir\n(S'{ran}'\ntR"),
        text_of("(S'{ran}'\nios\nmkdir\n"),
        text_of("(cos\nmkdir\nS'{ran}'\no"),
        text_of('c__builtin__\neval\n(S\'__import__("os").mkdir("{ran}")\'\ntR'),
        b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x08{ran}\x85R.",
        b"\x80\x04\x8c\x05torch\x8c\x0chub.os.mkdir\x93\x8c\x08{ran}\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x08{ran}\x85}\x92.",
    ],
    ids=["GLOBAL", "INST", "OBJ", "eval", "STACK_GLOBAL", "dotted name", "NEWOBJ_EX"],
)
def test_no_opcode_calls_a_foreign_function(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pt").write_bytes(content.replace(b"{ran}", b"./ran_it" if b"\x8c\x08" in content else b"ran"))
    try:
        assert isinstance(read_file(tmp_path / "w.pt"), Foreign)
    except ConfigurationError as error:
        assert "not a readable checkpoint" in str(error)
    assert os.listdir(tmp_path) == ["w.pt"]


@pytest.mark.parametrize(
    "target",
    [
        "cstages.classify.checkpoints.pickles\nForeign\n",
        "ccollections\nOrderedDict\n",
        "ctorch._utils\n_rebuild_tensor_v2\n",
    ],
)
def test_what_stands_for_functions_and_classes_cannot_be_changed(target, tmp_path):
    (tmp_path / "w.pt").write_bytes(text_of(target + "(N(S'__init__'\nS'x'\nS'call'\nS'x'\ndt" + "b"))
    with suppress(ConfigurationError):
        read_file(tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes(saved({"weight": WEIGHT}))
    torch.testing.assert_close(find_tensors(read_file(tmp_path / "w.pt"))["weight"].tensor.read(), WEIGHT)


def test_no_module_is_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a_module_of_mine.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    (tmp_path / "w.pt").write_bytes(text_of("ca_module_of_mine\nThing\n(tR"))
    found = read_file(tmp_path / "w.pt")
    assert isinstance(found, Foreign) and found.origin == "a_module_of_mine.Thing"
    assert "a_module_of_mine" not in sys.modules


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    content = saved({"weight": WEIGHT})
    shape = b"K\x02K\x03\x86"
    assert content.count(shape) == 1
    (tmp_path / "w.pt").write_bytes(content.replace(shape, b"K\x02K\x63\x86"))

    class One(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2, 99))

    with pytest.raises(ConfigurationError, match=r"is damaged: a tensor in it has more numbers than are there$"):
        load_into(One(), tmp_path / "w.pt")


@pytest.mark.parametrize(
    "dtype",
    [torch.uint8, torch.int16, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float64, torch.complex64],
    ids=str,
)
@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "legacy"])
def test_tensors_of_every_type_are_pytorchs(dtype, legacy, tmp_path):
    base = torch.arange(12).to(torch.float32).to(dtype)
    values = {
        "whole": base,
        "part": base[3:9].view(2, 3).t(),
        "empty": base[:0],
        "single": base[5].clone(),
        "": base[1:],
    }
    (tmp_path / "w.pt").write_bytes(saved(values, legacy))
    found = {key: value.read() for key, value in read_file(tmp_path / "w.pt").items()}
    for name, expected in torch.load(tmp_path / "w.pt").items():
        assert found[name].dtype == dtype and torch.equal(found[name], expected)


def test_types_that_pytorch_names_by_the_tensor(tmp_path):
    value = torch.arange(12).float().to(torch.float8_e4m3fn)
    (tmp_path / "w.pt").write_bytes(saved({"weight": value}))
    assert torch.equal(read_file(tmp_path / "w.pt")["weight"].read().float(), value.float())


def test_a_pickled_network_has_the_names_of_its_state_dict(tmp_path):
    module = Tiny()
    module.register_buffer("passing", torch.ones(1), persistent=False)
    (tmp_path / "w.pt").write_bytes(saved({"model": module}))
    found = find_tensors(read_file(tmp_path / "w.pt"))
    assert {path.removeprefix("model.") for path in found} == set(module.state_dict())
    assert {one.network for one in found.values()} == {"tests.stages.classify.layouts.Tiny"}


def test_objects_that_hold_each_other_are_read_once(tmp_path):
    ring = {"weight": WEIGHT}
    ring["self"], ring["again"] = ring, [ring, ring]
    (tmp_path / "w.pt").write_bytes(saved(ring))
    assert list(find_tensors(read_file(tmp_path / "w.pt"))) == ["weight"]


def test_a_plain_pickle_of_tensors_is_read(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"weight": WEIGHT, "half": WEIGHT.half()}))
    found = find_tensors(read_file(tmp_path / "w.pkl"))
    assert torch.equal(found["weight"].tensor.read(), WEIGHT) and found["half"].tensor.dtype == torch.float16
