"""Heat maps as other programs save them: shapes, types and names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.batch import ragged
from stages.errors import DataError
from stages.formats.heat_maps import LoadMaps, find_maps
from stages.formats.source import Notes
from stages.ingest.records import ImageRecord

FILES = {139: "val/000000000139.jpg", 285: "val/000000000285.jpg", 632: "val/sub/c.v1.jpg", 7: "val/sub/d.jpg"}
VALUES = np.array([[0, 1, 1], [0, 0, 1]])


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values, allow_pickle=True)


def find(path: Path, files: dict[int, str]) -> tuple[dict[int, str], list[str]]:
    notes = Notes()
    found = find_maps(path, [ImageRecord(key, name, name) for key, name in files.items()], notes)
    return {image: name.removesuffix(".npy") for image, name in found.items()}, notes.lines()


FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "(H, W)": lambda one: one,
    "(1, H, W)": lambda one: one[None],
    "(H, W, 1)": lambda one: one[..., None],
    "(1, 1, H, W)": lambda one: one[None, None],
    "(1, H, W, 1)": lambda one: one[None, ..., None],
    "bool": lambda one: one.astype(bool),
    "uint8": lambda one: (one * 1).astype(np.uint8),
    "int64": lambda one: one.astype(np.int64),
    "float16": lambda one: one.astype(np.float16),
    "big-endian": lambda one: one.astype(">f8"),
    "longdouble": lambda one: one.astype(np.longdouble),
    "Fortran order": lambda one: np.asfortranarray(one),
    "(1, H, W) of bool": lambda one: one[None].astype(bool),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms(tmp_path, form) -> None:
    save(tmp_path / "a.npy", form(VALUES))
    np.savez(tmp_path / "maps.npz", a=form(VALUES))
    for path, name in ((tmp_path, "a.npy"), (tmp_path / "maps.npz", "a")):
        answer = LoadMaps(path)({"map_name": ragged([name])})
        (map,) = answer.rows["map"]
        np.testing.assert_array_equal(map, VALUES)
        assert map.dtype in (np.float32, np.float64) and map.dtype.isnative and not answer.errors


NAMES: dict[str, list[str]] = {
    "id": ["139", "285", "632", "7"],
    "padded id": ["000000000139", "000000000285", "000000000632", "000000000007"],
    "padded to another width": ["00139", "00285", "00632", "00007"],
    "file name": ["000000000139.jpg", "000000000285.jpg", "c.v1.jpg", "d.jpg"],
    "stem": ["000000000139", "000000000285", "c.v1", "d"],
    "path": ["val/000000000139", "val/000000000285", "val/sub/c.v1", "val/sub/d"],
    "path with extension": ["val/000000000139.jpg", "val/000000000285.jpg", "val/sub/c.v1.jpg", "val/sub/d.jpg"],
    "end of the path": ["139", "285", "sub/c.v1", "sub/d"],
    "in other folders": ["cam/000000000139", "cam/val/000000000285", "cam/c.v1", "cam/sub/d"],
    "id in folders": ["a/139", "b/285", "c/d/0632", "7"],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names(tmp_path, names: list[str]) -> None:
    for name in names:
        save(tmp_path / "maps" / f"{name}.npy", VALUES)
    np.savez(tmp_path / "maps.npz", **dict.fromkeys(names, VALUES))
    for path in (tmp_path / "maps", tmp_path / "maps.npz"):
        assert find(path, FILES) == (dict(zip(FILES, names, strict=True)), [])


def test_a_longer_common_end_decides(tmp_path) -> None:
    for name in ("cat/1", "x/dog/1", "cat/5", "dog/5"):
        save(tmp_path / f"{name}.npy", VALUES)
    files = {1: "cat/1.jpg", 2: "dog/1.jpg", 3: "dog/5.jpg"}
    found, notes = find(tmp_path, files)
    assert found == {1: "cat/1", 2: "x/dog/1", 3: "dog/5"}
    assert notes == ["1 maps left out: they are of no image; name them by image id, such as: cat/5.npy"]


AMBIGUOUS: dict[str, tuple[list[str], str]] = {
    "a file name and an id": (
        ["7"],
        "1 maps left out: they may be of several images; name them by the file's path, such as: 7 is of images 3, 7",
    ),
    "two files of one name": (
        ["x"],
        "1 maps left out: they may be of several images; name them by the file's path, such as: x is of images 1, 2",
    ),
    "two maps of one image": (
        ["c", "4"],
        "1 images have several maps: none is taken, such as: 4 and c",
    ),
    "no image": (["nowhere"], "1 maps left out: they are of no image; name them by image id, such as: nowhere"),
}


@pytest.mark.parametrize(("names", "note"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_ambiguity_is_said_and_not_guessed(tmp_path, names: list[str], note: str) -> None:
    files = {1: "a/x.jpg", 2: "b/x.jpg", 3: "7.jpg", 4: "c.jpg", 7: "e.jpg", 8: "f.jpg"}
    for name in ("f", *names):
        save(tmp_path / f"{name}.npy", VALUES)
    found, (said,) = find(tmp_path, files)
    assert found == {8: "f"} and said.replace(".npy", "").startswith(note)
    (tmp_path / "f.npy").unlink()
    with pytest.raises(DataError, match="has no map of an image of the ground truth: 1 "):
        find(tmp_path, files)


HEADER = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"

BAD: dict[str, tuple[np.ndarray | bytes, str]] = {
    "three channels": (np.ones((3, 40, 40)), r"holds float64 of shape \(3, 40, 40\); save one number per pixel"),
    "one row": (np.ones(40), r"holds float64 of shape \(40,\)"),
    "nothing": (np.zeros((0, 4)), r"holds float64 of shape \(0, 4\)"),
    "complex": (np.ones((4, 4), complex), r"holds complex128 of shape \(4, 4\)"),
    "text": (np.array([["a"]]), r"holds <U1 of shape \(1, 1\)"),
    "objects": (np.array([[{}]], dtype=object), "cannot be read: Object arrays"),
    "an empty file": (b"", "cannot be read: "),
    "eight terabytes": (HEADER.ljust(127) + b"\n", "cannot be read: "),
}


@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD)
def test_a_bad_map_fails_its_image_alone(tmp_path, bad: np.ndarray | bytes, message: str) -> None:
    save(tmp_path / "a.npy", VALUES)
    if isinstance(bad, bytes):
        (tmp_path / "b.npy").write_bytes(bad)
    else:
        save(tmp_path / "b.npy", bad)
    answer = LoadMaps(tmp_path)({"map_name": ragged(["a.npy", "b.npy", ""])})
    np.testing.assert_array_equal(answer.rows["map"][0], VALUES)
    assert answer.errors.keys() == {1, 2}
    found = answer.errors[1].message
    assert re.search(message, found) and found.startswith("b.npy in ") and "\n" not in found
    assert answer.errors[2].code == "NoMap"
