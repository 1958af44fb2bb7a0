"""Names, parts and image files of an export."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pipeline.exports.names import export_names
from pipeline.exports.pictures import place_pictures
from pipeline.exports.splits import divided, parse_shares
from stages.errors import ConfigurationError, DataError
from stages.formats.labels import Labelled
from stages.ingest.decode import read_image
from stages.ingest.records import ImageRecord


@pytest.mark.parametrize(("format", "names"), [("coco", ["a/B.jpg", "A/b.jpg"]), ("yolo", ["a.jpg", "a.png"])])
def test_a_name_or_stem_that_two_images_would_have_is_refused(format: str, names: list[str]) -> None:
    given = dict(enumerate(names))
    with pytest.raises(ConfigurationError, match=f"{names[0]} and {names[1]} would have one .* in {format}; --flatten"):
        export_names(given, format, flatten=False)
    chosen = export_names(given, format, flatten=True)
    assert len({name.rpartition(".")[0].casefold() for name in chosen.values()}) == 2


def test_names_stay_below_the_folder_of_images() -> None:
    names = dict(enumerate(["/etc/a.jpg", "../../b.jpg", "x/../c.jpg", "y\\d.jpg"]))
    assert list(export_names(names, "coco", flatten=False).values()) == ["etc/a.jpg", "b.jpg", "x/c.jpg", "y/d.jpg"]


def test_two_images_of_one_file_are_two_images() -> None:
    assert export_names({1: "a.jpg", 2: "a.jpg"}, "coco", flatten=True) == {1: "a.jpg", 2: "a__2.jpg"}


def test_no_folder_is_called_as_yolo_s_own() -> None:
    """Its readers replace the last ``/images/`` of a path to find the labels."""
    names = {1: "images/a.jpg", 2: "s/images/b.jpg", 3: "images.jpg"}
    assert list(export_names(names, "yolo", flatten=False).values()) == ["a.jpg", "s/b.jpg", "images.jpg"]


@pytest.mark.parametrize(
    "text", ["train", "train=x", "train=0.5", "train=0.9,val=0.2", "a=0.5,a=0.5", "../x=1", "a=-1,b=2", "names=1"]
)
def test_shares_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_shares(text)
    assert caught.value.about == "parts" and "\n" not in str(caught.value)


def test_every_class_is_divided_alike_and_always_the_same() -> None:
    images = [Labelled(ImageRecord(number, "", f"{number}.jpg", number % 3), []) for number in range(300)]
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}
    parts = divided(images, shares, seed=1)
    assert {name: len(own) for name, own in parts.items()} == {"train": 210, "val": 60, "test": 30}
    for name, own in parts.items():
        counts = Counter(one.image.label for one in own)
        assert all(abs(counts[label] - 100 * shares[name]) <= 1 for label in range(3))
        assert [one.image.image_id for one in own] == sorted(one.image.image_id for one in own)
    assert parts == divided(images, shares, seed=1) != divided(images, shares, seed=2)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_copy_is_upright_and_all_others_are_the_same_bytes(tmp_path, suffix: str) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30] = 255
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    Image.fromarray(pixels).save(tmp_path / f"turned.{suffix}", exif=exif)
    Image.fromarray(pixels).save(tmp_path / f"plain.{suffix}")
    (tmp_path / "new").mkdir()
    pairs = [
        (str(tmp_path / f"{name}.{suffix}"), tmp_path / "new" / f"{name}.{suffix}") for name in ("turned", "plain")
    ]
    assert place_pictures(pairs, "copy") == ["1 images were turned as their EXIF orientation says, and encoded again"]
    assert pairs[1][1].read_bytes() == (tmp_path / f"plain.{suffix}").read_bytes()
    with Image.open(pairs[0][1]) as copy:
        assert copy.size == (40, 60) and copy.getexif().get(0x0112, 1) == 1 and copy.getexif()[0x010F] == "maker"
        difference = np.abs(np.asarray(copy.convert("RGB"), int) - np.asarray(read_image(pairs[0][0]), int))
    assert difference.max() <= (12 if suffix == "jpg" else 0)


def test_links_lead_to_the_files_and_turned_ones_are_counted(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 5)).save(tmp_path / "a.jpg", exif=exif)
    notes = place_pictures([(str(tmp_path / "a.jpg"), tmp_path / "b.jpg")], "link")
    assert notes == ["1 images have an EXIF orientation, which some readers ignore; --images copy applies it"]
    assert (tmp_path / "b.jpg").is_symlink() and (tmp_path / "b.jpg").samefile(tmp_path / "a.jpg")
    with pytest.raises(ConfigurationError, match=r"digits://.* is no file that can be linked to; use --images copy"):
        place_pictures([("digits://eval/1?seed=0", tmp_path / "c.jpg")], "link")
    assert place_pictures([("nowhere", tmp_path / "d.jpg")], "none") == []
    with pytest.raises(DataError, match=r"cannot read .*gone\.jpg: .*; put it back, or use --images none"):
        place_pictures([(str(tmp_path / "gone.jpg"), tmp_path / "e.jpg")], "copy")
