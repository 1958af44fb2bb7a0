from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib.util import find_spec
from types import ModuleType
from typing import Literal

import pytest

from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.formats.source import Source
from stages.formats.table import FORMATS, Format, options_of
from stages.ingest.records import ImageRecord


@pytest.mark.parametrize("name", FORMATS)
def test_every_row_has_what_it_says(name: str) -> None:
    row = FORMATS[name]
    for module, function in ((row.read, "reader"), (row.write, "writer")):
        assert module is None or callable(getattr(row, function)())
    for half in ("read", "write"):
        assert bool(getattr(row, half)) == bool(find_spec(f"stages.formats.{name.replace('-', '_')}.{half}"))
    assert row.title.endswith(".") and "\n" not in row.title
    assert row.options.__dataclass_params__.frozen
    assert row.read is None or row.options() == options_of(name, {})


def test_no_option_has_the_name_of_a_key_of_every_format() -> None:
    taken = {"format", "root", "sample", "limit"}
    assert not taken & {option.name for row in FORMATS.values() for option in fields(row.options)}


def test_the_unknown_names_the_known() -> None:
    for mistake, about, message in (
        ({"format": "imagnet"}, "format", "unknown format 'imagnet'; did you mean imagenet"),
        ({"format": "coco", "splt": "val"}, "splt", "the format coco has no option splt; its options are split"),
        ({"format": "photos", "split": "val"}, "split", "the format photos has no option split; it has none"),
        ({"format": "digits", "split": "val"}, "split", "the format digits has no split 'val'; choose eval or train"),
    ):
        with pytest.raises(ConfigurationError, match=message) as caught:
            read_dataset(root=".", **mistake)
        assert caught.value.about == about


def test_a_root_that_is_not_named() -> None:
    with pytest.raises(ConfigurationError, match="it is not set") as caught:
        read_dataset("coco", None)
    assert caught.value.about == "root"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A format of two images, whose module is this fixture's."""

    @dataclass(frozen=True)
    class Options:
        order: Literal["up", "down"] = "up"

    def read(root: str, options: Options) -> Source:
        records = [ImageRecord(number, f"{root}/{number}.png", f"{number}.png") for number in (2, 1)]
        return Source([], iter(records if options.order == "down" else records[::-1]))

    module = ModuleType("toy_format")
    module.read = read  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(FORMATS, "toy", Format("A toy.", Options, read=module.__name__))
    return module


def test_records_come_in_order_whatever_the_reader(toy: ModuleType) -> None:
    for order in ("up", "down"):
        assert [record.image_id for record in read_dataset("toy", "/data", order=order).records] == [1, 2]


@pytest.mark.parametrize(
    ("error", "message"),
    [(OSError("gone\naway"), "cannot read /data: gone away"), (KeyError("x"), r"cannot be read \(KeyError: 'x'\)")],
)
def test_what_a_reader_raises_on_the_way_is_one_line(toy: ModuleType, error: Exception, message: str) -> None:
    def records() -> Iterator[ImageRecord]:
        yield ImageRecord(1, "/data/1.png", "1.png")
        raise error

    toy.read = lambda root, options: Source([], records())  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=message) as caught:
        read_dataset("toy", "/data")
    assert caught.value.about == "root" and "\n" not in str(caught.value)
