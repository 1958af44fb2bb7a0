from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from stages.errors import ConfigurationError, DataError, StorageError
from stages.formats import read_dataset
from stages.ingest import children
from stages.ingest.records import Dataset
from stages.ingest.sizes import fill_sizes
from stages.ingest.uris import read_bytes, read_file
from tests.objectstore import BUCKET, serving, upload

Members = dict[str, object] | list[tuple[str, object]]
Pack = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path, encode) -> Pack:
    """Write a tar: JSON of what is neither text nor bytes, and the standard image for None."""

    def write(name: str, members: Members) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tar:
            for member, content in members.items() if isinstance(members, dict) else members:
                data = encode() if content is None else content
                data = data.encode() if isinstance(data, str) else data
                data = data if isinstance(data, bytes) else json.dumps(data).encode()
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    return write


def read(root: object, **options: object) -> Dataset:
    return read_dataset("webdataset", str(root), **options)


def labels(data: Dataset) -> dict[str, str]:
    return {one.file_name: data.classes[one.label].name if one.label >= 0 else "" for one in data.records}


def test_neighbours_are_samples_and_read_in_place(pack, tmp_path, encode):
    webp = encode("WEBP")
    pack("b-000001.tar.gz", {"été 2.jpg": None, "été 2.cls": "0"})
    pack(
        "b-000000.tar",
        {"sub/été 1.webp": webp, "sub/été 1.cls": "2\n", "x.y/a.JPG": None, "x.y/a.Cls": "0", "__key__.jpg": None}
        | {"._a.jpg": b"x", "README": "text"},
    )
    data = read(tmp_path)
    assert [(one.image_id, one.file_name, one.label) for one in data.records] == [
        (1, "sub/été 1.webp", 2),
        (2, "x.y/a.jpg", 0),
        (3, "été 2.jpg", 0),
    ]
    assert read_bytes(data.records[0].uri) == webp and read_bytes(data.records[2].uri) == encode()
    assert [info.name for info in data.classes] == ["0", "1", "2"]
    assert "3 members are no part of a sample: left out, such as: __key__.jpg" in data.notes
    assert [one.width for one in fill_sizes(data).records] == [20, 20, 20]


@pytest.mark.parametrize("pattern", ["a-{000..001}.tar", "a-{000,001}.tar", "a-*.tar", "{a,b}-00{0..1}.tar"])
def test_shards_of_a_pattern(pack, tmp_path, pattern):
    for name in ("a-000", "a-001", "c-002"):
        pack(f"{name}.tar", {f"{name}.png": None})
    data = read(tmp_path / pattern)
    assert [one.file_name for one in data.records] == ["a-000.png", "a-001.png"]
    absent = [note for note in data.notes if "not there" in note]
    assert absent == (
        ["2 tar shards of {a,b}-00{0..1}.tar are not there: left out, such as: b-000.tar"] if "b" in pattern else []
    )
    assert [one.file_name for one in read(tmp_path / "c-002.tar").records] == ["c-002.png"]


def test_parts_by_names_of_shards_or_of_folders(pack, tmp_path):
    for name in ("one/x-train-000", "one/x-val-000", "one/x-val-001", "two/train/000", "two/test/000"):
        pack(f"{name}.tar", {f"{name}.png": None})
    data = read(tmp_path / "one")
    assert [one.file_name for one in data.records] == ["one/x-val-000.png", "one/x-val-001.png"]
    assert data.notes == ["the part x-val is taken; data.split takes x-train"]
    assert [one.file_name for one in read(tmp_path / "one", split="train").records] == ["one/x-train-000.png"]
    assert [one.file_name for one in read(tmp_path / "two").records] == ["two/test/000.png"]
    assert [one.file_name for one in read(tmp_path / "two", split="train").records] == ["two/train/000.png"]
    with pytest.raises(ConfigurationError, match=r"has no part 'dev'; it has train, test|it has test, train"):
        read(tmp_path / "two", split="dev")
    with pytest.raises(ConfigurationError, match="leave this key out") as caught:
        read(tmp_path / "two/test/000.tar", split="train")
    assert caught.value.about == "split"


def test_what_does_not_fit_is_counted(pack, tmp_path):
    """Members apart from their sample, repeated extensions, unreadable JSON, classes that there are not."""
    pack("a.tar", {"1.jpg": None, "2.jpg": None, "2.cls": "1", "1.cls": "0"})
    pack(
        "b.tar",
        {"3.jpg": None, "3.JPG": b"other", "3.cls": "7", "4.jpg": None, "4.json": b"{", "5.jpg": None, "5.cls": "0"}
        | {"5.json": {"label": 1}, "6.jpg": None, "6.cls": "-1", "7.cls": "", "7.jpg": None},
    )
    pack("c.tar", {"8.jpg": None, "caf\udce9.jpg": None, "/9.jpg": None, "../9.jpg": None})
    (tmp_path / "classes.txt").write_text("\ufeffcat\r\ndog\r\n", encoding="utf-8")
    data = read(tmp_path)
    assert labels(data) == dict(
        zip([f"{number}.jpg" for number in range(1, 9)], ["", "dog", "", "", "cat", "", "", ""], strict=True)
    )
    assert set(data.notes) == {
        "1 samples have the key of an earlier one, from which others part them, such as: 1",
        "1 members repeat an extension of their sample: the first is taken, such as: 3.JPG",
        "1 JSON members cannot be read: their images have nothing from them, such as: 4.json",
        "1 samples have another class in .json than in .cls, which decides, such as: 5.cls",
        "1 members say no class, such as: 7.cls",
        "1 samples have no image: left out, such as: 1 in a",
        "1 labels are none of the classes: left out, such as: [7] of 3.jpg",
        "6 images have no label",
        "3 members left out: links, or names that lead outside or are not in UTF-8, such as: 'caf\\udce9.jpg'",
    }


def test_a_damaged_shard_costs_what_follows_in_it(pack, tmp_path):
    pack("a.tar", {"1.png": None, "2.png": None})
    path = pack("b.tar", {"3.png": None, "4.png": bytes(9000), "5.png": None})
    path.write_bytes(path.read_bytes()[:5000])
    (tmp_path / "c.tar").write_bytes(b"no tar" * 200)
    pack("d.tar", {"6.png": None})
    data = read(tmp_path)
    assert [one.file_name for one in data.records][:3] == ["1.png", "2.png", "3.png"]
    assert data.records[-1].file_name == "6.png" and "5.png" not in labels(data)
    (note,) = [note for note in data.notes if "shards cannot be read" in note]
    assert note.startswith("2 shards cannot be read, or not to their end: what follows is left out, such as: ")
    with pytest.raises(DataError, match=r"no images in the shards of .*c\.tar \(1 shards cannot be read"):
        read(tmp_path / "c.tar")


def test_names_come_from_the_keys_unless_shards_share_them(pack, tmp_path):
    pack("a-0.tar", {"1.jpg": None, "2.jpg": None, "2.json": {"file_name": "/mnt/../sub/é.jpg"}})
    pack("a-1.tar", [("1.jpg", None), ("3.jpg", None), ("1.jpg", None)])
    assert [one.file_name for one in read(tmp_path).records] == [
        "a-0/1.jpg",
        "mnt/sub/é.jpg",
        "a-1/1#3.jpg",
        "3.jpg",
        "a-1/1#5.jpg",
    ]


def test_dots_in_names(pack):
    """Fields of one image, as webdataset sees them; images of their own, where each has its own class."""
    path = pack("a.tar", {"b.v1.jpg": None, "b.v1.cls": "1", "c.left.png": None, "c.jpg": None, "c.cls": "0"})
    assert [(one.file_name, one.label) for one in read(path).records] == [("b.v1.jpg", 1), ("c.jpg", 0)]
    assert "1 samples have several images: one is taken, such as: c.jpg" in read(path).notes
    path = pack("b.tar", {"d.v1.jpg": None, "d.v1.cls": "1", "d.v2.jpg": None, "d.v2.cls": "0"})
    assert [(one.file_name, one.label) for one in read(path).records] == [("d.v1.jpg", 1), ("d.v2.jpg", 0)]


@pytest.mark.parametrize(
    "content",
    [
        {"boxes": [[4, 3, 20, 11], [0, 0, 9, 9]], "labels": ["ant", "bee"]},
        {"bbox": [[4, 3, 16, 8], [0, 0, 9, 9]], "category": ["ant", "bee"]},
        {"objects": {"bbox": [[4, 3, 16, 8], [0, 0, 9, 9]], "category": ["ant", "bee"]}},
        {"annotations": [{"bbox": [4, 3, 16, 8], "category": "ant"}, {"bbox": [0, 0, 9, 9], "category": "bee"}]},
    ],
)
def test_boxes_in_json(pack, content):
    data = read(pack("a.tar", {"1.jpg": None, "1.json": content}))
    (record,) = data.records
    assert record.boxes.tolist() == [[4, 3, 20, 11], [0, 0, 9, 9]] and record.box_labels.tolist() == [0, 1]
    assert (record.label, record.shown, labels(data)) == (0, (0, 1), {"1.jpg": "ant"})


def test_conventions_of_boxes(pack):
    path = pack("a.tar", {"1.jpg": None, "1.json": {"label": 0, "boxes": [0.25, 0.5, 0.5, 0.25]}})
    with pytest.raises(DataError, match=r"a\.tar calls boxes do not seem to be xyxy in pixels; choose") as caught:
        read(path)
    assert caught.value.about == "box_format"
    data = fill_sizes(read(path, box_format="relative-xywh"))
    assert data.records[0].boxes.tolist() == [[5, 6, 15, 9]] and data.records[0].box_labels.tolist() == [0]
    many = {"width": 20, "height": 12, "bbox": [[8, 4, 19, 11], [9, 6, 20, 12], [10, 5, 18, 12]]}
    path = pack("b.tar", {"1.jpg": None, "1.json": {"label": 0, **many}})
    with pytest.raises(DataError, match=r"calls bbox do not seem to be xywh in pixels; choose xyxy"):
        read(path)
    assert read(path, box_format="xyxy").records[0].boxes.tolist()[1] == [9, 6, 20, 12]
    odd = {"label": "a", "boxes": [[1, 2, 3], [1, 2, 9, 9], [5, 5, 2, 2], [0, 0, 99, 5]]}
    data = fill_sizes(read(pack("c.tar", {"1.jpg": None, "1.json": odd})))
    assert data.records[0].boxes.tolist() == [[1, 2, 9, 9], [0, 0, 20, 5]]
    assert "1 boxes left out: they are not four finite numbers, such as: 1.json" in data.notes
    assert "1 boxes dropped: empty, inverted or outside their image" in data.notes


def test_several_labels_names_and_lines_of_text(pack, tmp_path):
    data = read(pack("a.tar", {"1.jpg": None, "1.json": {"labels": ["b", "a"]}, "2.jpg": None, "2.cls": "a"}))
    assert [info.name for info in data.classes] == ["a", "b"]
    assert [one.shown for one in data.records] == [(1, 0), (0,)]
    data = read(pack("b.tar", {"1.jpg": None, "1.txt": "great white shark\n", "2.jpg": None, "2.txt": "bee"}))
    assert labels(data) == {"1.jpg": "great white shark", "2.jpg": "bee"}
    captions = {
        f"{at}.{kind}": None if kind == "jpg" else f"a photo of {at} bees" for at in "12" for kind in ("jpg", "txt")
    }
    data = read(pack("c.tar", captions))
    assert labels(data) == {"1.jpg": "", "2.jpg": ""}
    assert data.notes == ["the texts of .txt are captions: they give no labels"]


@pytest.mark.parametrize(
    "content",
    [
        ["cat", "dog"],
        {"0": "cat", "1": "dog"},
        {"dog": 1, "cat": 0},
        [{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}],
    ],
)
def test_names_of_classes_beside_the_shards(pack, tmp_path, content):
    path = pack("a.tar", {"1.jpg": None, "1.cls": "1", "2.jpg": None, "2.cls": "Cat"})
    (tmp_path / "classes.json").write_text(json.dumps(content))
    assert labels(read(path)) == {"1.jpg": "dog", "2.jpg": "cat"} == labels(read(tmp_path))


def test_a_turned_photograph(pack, encode):
    turned = Image.Exif()
    turned[0x0112] = 6
    path = pack("a.tar", {"1.jpg": encode("JPEG", exif=turned), "1.json": {"label": 0, "boxes": [[2, 3, 12, 20]]}})
    (record,) = fill_sizes(read(path)).records
    assert (record.width, record.height, record.boxes.tolist()) == (12, 20, [[2, 3, 12, 20]])


def test_a_small_archive_of_a_large_text_is_not_kept(pack):
    path = pack("a.tar.gz", {"1.jpg": None, "1.json": bytes(5 << 20), "1.cls": "0"})
    data = read(path)
    assert data.records[0].label == 0 and any("more bytes than any text" in note for note in data.notes)
    assert path.stat().st_size < 1 << 20


@pytest.mark.slow
def test_shards_in_a_store_are_read_as_they_come(pack, tmp_path, encode):
    """Not with a request for each member."""
    folder = tmp_path / "shards"
    large = encode("PNG", Image.effect_noise((300, 300), 90))
    pack("large/0.tar", {"large.png": large})
    for shard in range(2):
        members = [(f"{at}.{kind}", None if kind == "png" else "1") for at in range(50) for kind in ("png", "cls")]
        pack(f"shards/é-{shard:03}.tar", members)
    (folder / "classes.txt").write_text("cat\ndog\n")
    with serving() as store:
        upload(folder, "set")
        upload(tmp_path / "large", "large")
        store.requests.clear()
        data = read(f"s3://{BUCKET}/set/é-{{000..001}}.tar")
        asked = [request for request in store.requests if request[0] == "GET"]
        assert (
            len(data.records) == 100 and data.classes[1].name == "dog" and data.records[99].file_name == "é-001/49.png"
        )
        assert len(asked) < 20
        store.requests.clear()
        assert read_bytes(data.records[60].uri) == encode()
        assert len([request for request in store.requests if request[0] == "GET"]) == 1
        (record,) = read(f"s3://{BUCKET}/large").records
        store.requests.clear()
        assert read_file(record.uri) == large and len(large) > 1 << 16
        assert len([request for request in store.requests if request[0] == "GET"]) == 1
        children._end_all()  # Those that wait were started with another environment.
        assert [one.width for one in fill_sizes(data).records] == [20] * 100
        assert [one.uri for one in read(f"s3://{BUCKET}/set").records] == [one.uri for one in data.records]
        store.fail = lambda method, path: 403 if path.endswith("001.tar") else None
        with pytest.raises(StorageError):
            read(f"s3://{BUCKET}/set")


def test_the_four_images_are_those_of_their_coco_layout(layouts):
    data = fill_sizes(read(layouts / "tiny" / "wds"))
    coco = fill_sizes(read_dataset("coco", str(layouts / "tiny" / "coco"), split="default"))
    for one, other in zip(data.records, coco.records, strict=True):
        assert one.file_name == other.file_name.removeprefix("images/default/")
        assert (one.width, one.height, one.boxes.tolist()) == (other.width, other.height, other.boxes.tolist())
    assert [one.label for one in data.records] == [0, 2, 1, 0]  # Every sample has a .cls.


def test_real_shards(layouts):
    data = fill_sizes(read(layouts / "webdataset" / "raccoon-{000000..000001}.tar"))
    assert [one.label for one in data.records] == [0, 1] * 6
    assert data.records[2].boxes.tolist() == [[1, 1, 720, 476]] and data.records[2].file_name == "train/raccoon-3.jpg"
