"""Heat maps as other programs save them: shapes, types and names; a bad one fails its image alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.commands.evaluate import evaluate
from stages.errors import DataError

SIDE = 40
FILES = {139: "val/000000000139.jpg", 285: "val/000000000285.jpg", 632: "val/sub/c.v1.jpg", 7: "val/sub/d.jpg"}
BOX = [10, 5, 20, 15]

Maps = dict[str, Any]


def heat() -> np.ndarray:
    """A map (40, 40) that is 1 within the box and 0 elsewhere: its IoU is 1."""
    values = np.zeros((SIDE, SIDE))
    values[5:20, 10:30] = 1
    return values


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., dict]:
    """Metrics of maps in a folder, or in an archive; every image has the same box."""

    def make(maps: Maps, files: dict[int, str] = FILES, archive: bool = False) -> dict:
        truth = {
            "images": [{"id": key, "file_name": name, "width": SIDE, "height": SIDE} for key, name in files.items()],
            "categories": [{"id": 1, "name": "x"}],
            "annotations": [{"id": key, "image_id": key, "category_id": 1, "bbox": BOX} for key in files],
        }
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        path = tmp_path / ("maps.npz" if archive else "maps")
        if archive:
            np.savez(path, **maps)
        for name, values in {} if archive else maps.items():
            file = path / f"{name}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(values, bytes):
                file.write_bytes(values)
            else:
                np.save(file, values, allow_pickle=True)
        return evaluate(tmp_path / "truth.json", None, path, [f"model.size={SIDE}"])

    return make


def iou(metrics: dict) -> tuple[float, int, int]:
    """Mean IoU, the number of images that it is of, and of those that failed."""
    found = metrics["methods"]["maps"]["mean_iou"]
    return found["value"], found["n"], metrics["n_failed"]


FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "(H, W)": lambda one: one,
    "(1, H, W)": lambda one: one[None],
    "(H, W, 1)": lambda one: one[..., None],
    "(1, 1, H, W)": lambda one: one[None, None],
    "(1, H, W, 1)": lambda one: one[None, ..., None],
    "bool": lambda one: one.astype(bool),
    "uint8": lambda one: (one * 255).astype(np.uint8),
    "int64": lambda one: one.astype(np.int64),
    "float16": lambda one: one.astype(np.float16),
    "big-endian": lambda one: one.astype(">f8"),
    "longdouble": lambda one: one.astype(np.longdouble),
    "Fortran order": lambda one: np.asfortranarray(one),
    "half the size, (1, H, W) of bool": lambda one: one[None, ::2, ::2].astype(bool),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms(score, caplog, form) -> None:
    found = score(dict.fromkeys(map(str, FILES), form(heat())))
    value, *counts = iou(found)
    assert counts == [4, 0] and not caplog.messages
    assert value > 0.8 if form(heat()).size < SIDE**2 else value == 1  # A small map is interpolated.


NAMES: dict[str, list[str]] = {
    "id": ["139", "285", "632", "7"],
    "padded id": ["000000000139", "000000000285", "000000000632", "000000000007"],
    "padded to another width": ["00139", "00285", "00632", "00007"],
    "file name": ["000000000139.jpg", "000000000285.jpg", "c.v1.jpg", "d.jpg"],
    "stem": ["000000000139", "000000000285", "c.v1", "d"],
    "path": ["val/000000000139", "val/000000000285", "val/sub/c.v1", "val/sub/d"],
    "path with extension": ["val/000000000139.jpg", "val/000000000285.jpg", "val/sub/c.v1.jpg", "val/sub/d.jpg"],
    "end of the path": ["sub/c.v1", "sub/d", "139", "285"],
    "in other folders": ["cam/000000000139", "cam/val/000000000285", "cam/c.v1", "cam/sub/d"],
    "id in folders": ["a/139", "b/285", "c/d/0632", "7"],
}


@pytest.mark.parametrize("archive", [False, True], ids=["folder", "npz"])
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names(score, caplog, names: list[str], archive: bool) -> None:
    assert iou(score(dict.fromkeys(names, heat()), archive=archive)) == (1, 4, 0)
    assert not caplog.messages


def test_a_longer_common_end_decides(score) -> None:
    files = {1: "cat/1.jpg", 2: "dog/1.jpg", 3: "dog/2.jpg"}
    wrong = np.zeros((SIDE, SIDE))
    wrong[30:, 30:] = 1
    found = score({"cat/1": heat(), "x/dog/1": heat(), "cat/2": wrong, "dog/2": heat()}, files)
    assert iou(found) == (1, 3, 0)


AMBIGUOUS: dict[str, tuple[Maps, str]] = {
    "a file name and an id": (
        {"7": heat()},
        "1 maps left out: they may be of several images; name them by the file's path, such as: 7 is of images 3, 7",
    ),
    "two files of one name": (
        {"x": heat()},
        "1 maps left out: they may be of several images; name them by the file's path, such as: x is of images 1, 2",
    ),
    "two maps of one image": (
        {"c": heat(), "4": heat()},
        "1 images have several maps: none is taken, such as: 4 and c",
    ),
    "no image": ({"nowhere": heat()}, "1 maps left out: they are of no image; name them by image id, such as: nowhere"),
}


@pytest.mark.parametrize(("maps", "note"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguity_is_said_and_not_guessed(score, caplog, maps: Maps, note: str) -> None:
    files = {1: "a/x.jpg", 2: "b/x.jpg", 3: "7.jpg", 4: "c.jpg", 7: "e.jpg", 8: "f.jpg"}
    assert iou(score({"f": heat()} | maps, files)) == (1, 1, 5)
    assert caplog.messages[0].replace(".npy", "").startswith(note)
    assert caplog.messages[1].startswith("5 of 6 images are not scored, such as: no map of it in ")


HEADER = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"

BAD: dict[str, tuple[Any, str]] = {
    "three channels": (np.ones((3, SIDE, SIDE)), r"holds float64 of shape \(3, 40, 40\); save one number per pixel"),
    "one row": (np.ones(SIDE), r"holds float64 of shape \(40,\)"),
    "nothing": (np.zeros((0, 4)), r"holds float64 of shape \(0, 4\)"),
    "complex": (np.ones((4, 4), complex), r"holds complex128 of shape \(4, 4\)"),
    "text": (np.array([["a"]]), r"holds <U1 of shape \(1, 1\)"),
    "objects": (np.array([[{}]], dtype=object), "cannot be read: Object arrays"),
    "an empty file": (b"", "cannot be read: "),
    "eight terabytes": (HEADER.ljust(127) + b"\n", "cannot be read: "),
}


@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD)
def test_a_bad_map_fails_its_image_alone(score, caplog, bad: Any, message: str) -> None:
    good = dict.fromkeys(("139", "285", "632"), heat())
    assert iou(score(good | {"7": bad})) == (1, 3, 1)
    (line,) = caplog.messages
    assert line.startswith("1 of 4 images are not scored, such as: 7.npy in ")
    with pytest.raises(DataError, match=message) as caught:
        score(dict.fromkeys(good, bad) | {"7": bad})
    assert str(caught.value).startswith("none of 4 images can be scored: ") and "\n" not in str(caught.value)


def test_maps_without_an_object_are_counted(score, caplog) -> None:
    maps = {"139": heat() * np.nan, "285": -heat() - 1, "632": heat() * 0 + 2, "7": heat() / 1e30}
    found = score(maps)
    assert found["methods"]["maps"]["box_status"] == {"constant_map": 1, "empty_map": 1, "non_finite": 1, "ok": 1}
    assert iou(found)[1:] == (4, 0)
    assert caplog.messages == ["3 maps show no object: constant_map 1, empty_map 1, non_finite 1"]
