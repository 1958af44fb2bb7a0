from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.config.keys import key_of
from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.formats.coco.box_format import BoxFormat
from stages.ingest import children
from stages.ingest.records import Dataset
from stages.ingest.sizes import fill_sizes
from stages.ingest.uris import read_bytes
from tests.objectstore import BUCKET, serving, upload
from tests.stages.formats import exported

Table = Callable[..., Path]

IMAGE = {"_type": "Image"}
NAMED = {"_type": "ClassLabel", "names": ["cat", "dog", "emu"]}
BBOX = {"feature": {"feature": {"dtype": "float64", "_type": "Value"}, "length": 4, "_type": "List"}, "_type": "List"}


@pytest.fixture
def table(tmp_path: Path, encode) -> Table:
    """Write a table; an image that is a text is its path, and has the standard bytes."""

    def write(name: str, features: dict[str, Any] | None = None, rows: int = 2, **columns: list[Any]) -> Path:
        for column in ("image", "other"):
            if column in columns:
                columns[column] = [
                    {"bytes": encode(), "path": cell} if isinstance(cell, str) else cell for cell in columns[column]
                ]
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        said = {} if features is None else {"huggingface": json.dumps({"info": {"features": features}})}
        made = pa.table(columns)
        pq.write_table(made.replace_schema_metadata(said), path, row_group_size=rows)
        return path

    return write


def read(root: object, **options: object) -> Dataset:
    return read_dataset("parquet", str(root), **options)


def labels(data: Dataset) -> list[str]:
    return [data.classes[one.label].name if one.label >= 0 else "" for one in data.records]


def test_shards_are_read_in_place_and_in_order(table, tmp_path, encode):
    features = {"image": IMAGE, "label": NAMED}
    for shard, at in (("00001", 3), ("00000", 0)):
        images = [f"sub/é {at + row}.png" for row in range(3)]
        table(f"data/train-{shard}-of-00002-a09b74b3ef9c3b56.parquet", features, image=images, label=[0, 2, 1])
    table("data/test-00000-of-00001.parquet", features, image=["t.png"], label=[-1])
    data = read(tmp_path, split="train")
    assert [(one.image_id, one.file_name) for one in data.records] == [(at + 1, f"sub/é {at}.png") for at in range(6)]
    assert labels(data) == ["cat", "emu", "dog"] * 2 and [info.name for info in data.classes] == NAMED["names"]
    assert {read_bytes(one.uri) for one in data.records} == {encode()}
    data = read(tmp_path)
    assert labels(data) == [""] and len(data.classes) == 3
    assert data.notes == ["the part test is taken; data.split takes train", "1 images have no label"]
    assert [one.width for one in fill_sizes(data).records] == [20]


def test_paths_that_are_missing_or_shared(table, tmp_path, encode):
    cells = ["a.png", {"bytes": encode(), "path": None}, "a.png", {"bytes": encode(), "path": "../c:\\x.v1.png"}]
    table("train-00000-of-00001.parquet", image=cells)
    names = [one.file_name for one in read(tmp_path).records]
    assert names == [
        "train-00000-of-00001#0.png",
        "train-00000-of-00001#1",
        "train-00000-of-00001#2.png",
        "c:/x.v1.png",
    ]


def test_rows_without_an_image_are_counted(table, encode):
    """Whether the row is null, or its bytes are; a path alone would lead to another machine."""
    cells = ["a.png", None, {"bytes": None, "path": "/etc/passwd"}, "d.png", None, "f.png"]
    data = read(table("a.parquet", image=cells, label=[0, 0, 1, 1, 2, 2]))
    assert [(one.image_id, one.file_name, one.label) for one in data.records] == [
        (1, "a.png", 0),
        (4, "d.png", 1),
        (6, "f.png", 2),
    ]
    assert data.notes == ["3 rows have no image: left out, such as: row 2"]
    assert all(read_bytes(one.uri) == encode() for one in data.records)
    data = read(table("b.parquet", image=pa.array([encode(), None, encode()], pa.binary())))
    assert [one.file_name for one in data.records] == ["b#0", "b#2"] and data.classes == []


@pytest.mark.parametrize(
    ("column", "values", "feature", "expected"),
    [
        ("label", [1, 0, 9], NAMED, ["dog", "cat", ""]),
        ("label", [3, 0, 1], None, ["3", "0", "1"]),
        ("label", ["b", "a", None], None, ["b", "a", ""]),
        ("species", ["10", "9", "10"], None, ["10", "9", "10"]),
        ("labels", [[2, 0], [], [1]], {"feature": NAMED, "_type": "Sequence"}, ["emu", "", "dog"]),
        ("labels", [[2, 0], None, [1]], [NAMED], ["emu", "", "dog"]),
        ("tags", [[2, 0], [1], [1]], {"feature": NAMED, "_type": "LargeList"}, ["emu", "dog", "dog"]),
        ("cls", [1, 1, 0], None, ["1", "1", "0"]),
        ("kind", [1, 1, 0], NAMED, ["dog", "dog", "cat"]),
    ],
)
def test_labels(table, column, values, feature, expected):
    path = table("a.parquet", feature and {"image": IMAGE, column: feature}, image=["a", "b", "c"], **{column: values})
    data = read(path)
    assert labels(data) == expected
    if isinstance(values[0], list):
        assert [one.shown for one in data.records] == [
            (2, 0),
            *((one.label,) * (one.label >= 0) for one in data.records[1:]),
        ]
    assert (f"the labels are those of {column}" in data.notes) == (column not in ("label", "labels"))


def test_numbers_without_names_are_indices(table):
    data = read(table("a.parquet", image=["a", "b", "c"], label=[3, 10**9, -1]))
    assert [info.name for info in data.classes] == ["0", "1", "2", "3"] and [one.label for one in data.records] == [
        3,
        -1,
        -1,
    ]
    assert "1 labels are none of the classes: left out, such as: [1000000000] of b" in data.notes


OBJECTS = [
    ([{"bbox": [[4.0, 3, 16, 8], [0, 0, 20, 12]], "category": [0, 2]}, {"bbox": [], "category": []}],
     {"bbox": BBOX, "category": {"feature": NAMED, "_type": "List"}}),
    ([{"bbox": [[4.0, 3, 16, 8], [0, 0, 20, 12]], "category": [0, 2]}, None],
     {"feature": {"bbox": BBOX, "category": NAMED}, "_type": "Sequence"}),
    ([[{"bbox": [4.0, 3, 16, 8], "category": 0}, {"bbox": [0.0, 0, 20, 12], "category": 2}], []],
     [{"bbox": BBOX["feature"], "category": NAMED}]),
    ([[{"bbox": [4.0, 3, 16, 8], "label": "cat"}, {"bbox": [0.0, 0, 20, 12], "label": "emu"}], []], None),
]  # fmt: skip


@pytest.mark.parametrize(("objects", "feature"), OBJECTS)
def test_objects_in_every_form(table, objects, feature):
    features = feature and {"image": IMAGE, "objects": feature}
    path = table("a.parquet", features, image=["a.png", "b.png"], objects=objects, image_id=[7, 5])
    data = read(path, bbox_format="xywh")
    assert [one.image_id for one in data.records] == [5, 7] and labels(data) == ["", "emu"]
    boxes = data.records[1]
    assert boxes.boxes.tolist() == [[4, 3, 20, 11], [0, 0, 20, 12]]
    assert [data.classes[at].name for at in boxes.box_labels] == ["cat", "emu"]
    with pytest.raises(
        ConfigurationError, match=r"nothing in a\.parquet says what the four numbers of objects\.bbox"
    ) as caught:
        read(path)
    assert key_of(str(caught.value.about)) == "data.bbox_format" and all(
        name in str(caught.value) for name in get_args(BoxFormat)[1:]
    )
    with pytest.raises(ConfigurationError, match="has no bbox_format 'xyhw'"):
        read(path, bbox_format="xyhw")


def test_boxes_in_a_column_of_their_own_and_relative_to_their_image(table):
    columns = {"image": ["a.png", "b.png"], "labels": [[1, 0], [1]]}
    path = table(
        "a.parquet",
        {"image": IMAGE, "labels": [NAMED]},
        bbox=[[[0.25, 0.5, 0.5, 1.0], [0.0, 0, 9, 9]], None],
        **columns,
    )
    data = read(path, bbox_format="relative-xyxy")
    assert data.records[0].boxes.tolist() == [[5, 6, 10, 12], [0, 0, 20, 12]]
    assert data.records[0].box_labels.tolist() == [1, 0] and labels(data) == ["dog", "dog"]
    path = table("b.parquet", bbox=[[[1.0, 2.0], [1.0, 2.0, float("nan"), 4.0]], [[1.0, 2, 3, 4]]], image=["a", "b"])
    data = read(path, bbox_format="xywh")
    assert [one.boxes.tolist() for one in data.records] == [[], [[1, 2, 4, 6]]]
    assert "2 boxes left out: they are not four finite numbers, such as: a" in data.notes


def test_several_columns_of_images_or_of_classes(table):
    features = {"other": IMAGE, "image": IMAGE, "coarse_label": NAMED, "label": NAMED}
    path = table("a.parquet", features, other=["x.png"], image=["a.png"], coarse_label=[0], label=[2])
    data = read(path)
    assert [one.file_name for one in data.records] == ["a.png"] and labels(data) == ["emu"]
    assert data.notes == ["the images are those of image, not of other"]


def test_shards_that_number_their_classes_differently(table, tmp_path):
    for at, names in enumerate((["cat", "dog"], ["dog", "emu", "cat"])):
        features = {"image": IMAGE, "label": {"_type": "ClassLabel", "names": names}}
        table(f"x-{at:05}-of-00002.parquet", features, image=[f"{at}.png"], label=[0])
    data = read(tmp_path)
    assert [info.name for info in data.classes] == ["cat", "dog", "emu"] and labels(data) == ["cat", "dog"]


def test_one_bad_table_costs_itself(table, tmp_path):
    table("a.parquet", image=["a.png"])
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no table")
    table("c.parquet", text=["no image"])
    data = read(tmp_path)
    assert len(data.records) == 1 and len(data.notes) == 2
    assert data.notes[0].startswith(
        "1 tables cannot be read, or not to their end: the rest is left out, such as: b.parquet:"
    )
    assert data.notes[1] == "1 tables have no column of images: left out, such as: c.parquet"
    with pytest.raises(DataError, match=r"no images in the tables of .*c\.parquet \(1 tables have no column of images"):
        read(tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"no tables under .*empty \(\.parquet\)"):
        (tmp_path / "empty").mkdir()
        read(tmp_path / "empty")


def test_a_turned_photograph(table, encode):
    turned = Image.Exif()
    turned[0x0112] = 6
    cell = {"bytes": encode("JPEG", exif=turned), "path": "a.jpg"}
    path = table("a.parquet", image=[cell], objects=[{"bbox": [[2.0, 3, 10, 17]], "category": [0]}])
    (record,) = fill_sizes(read(path, bbox_format="xywh")).records
    assert (record.width, record.height, record.boxes.tolist()) == (12, 20, [[2, 3, 12, 20]])


def test_images_are_not_read_to_find_them(table, tmp_path, monkeypatch):
    from stages.formats.parquet import rows

    cells = [{"bytes": np.random.default_rng(row).bytes(100_000), "path": f"{row}.png"} for row in range(20)]
    path = table("a.parquet", rows=10, image=[None, *cells], label=list(range(21)))
    before = pa.total_allocated_bytes()
    monkeypatch.setattr(rows, "_FEW", None)  # with which the images would be read
    assert len(read(path).records) == 20 and pa.total_allocated_bytes() - before < 1 << 20


@pytest.mark.parametrize("parts", [[None], ["val", "train"]])
def test_an_export_is_read_back(tmp_path, parts):
    for name in parts:
        exported.write(tmp_path, "hf", name=name)
    data = fill_sizes(read(tmp_path))
    below = f"{parts[0] or 'train'}/"
    assert [one.file_name.removeprefix(below) for one in data.records] == [one.file_name for one, _ in exported.IMAGES]
    assert data.classes == exported.CLASSES
    for one, (image, given) in zip(data.records, exported.IMAGES, strict=True):
        assert (one.image_id, one.width, one.height) == (image.image_id, image.width, image.height)
        assert one.box_labels.tolist() == [label.class_index for label in given]
        np.testing.assert_allclose(one.boxes, np.array([label.box for label in given]).reshape(-1, 4), atol=0.005)


def test_rows_and_images_that_lack_each_other(put, tmp_path):
    lines = [{"file_name": name, "label": name[0]} for name in ("a.png", "gone.png", "../b.png", "a.png")]
    put("set/metadata.jsonl", "\n".join(["no json", *map(json.dumps, lines)]).encode())
    for name in ("b.png", "set/a.png", "set/c.png"):
        put(name)
    data = read(tmp_path / "set")
    assert [(one.file_name, one.label) for one in data.records] == [("a.png", 0)]
    assert data.notes == [
        "1 lines of metadata.jsonl are not JSON objects: left out, such as: no json",
        "1 rows of metadata.jsonl name an image for the second time: left out, such as: a.png",
        "2 rows of metadata.jsonl name no image that is there: left out, such as: gone.png",
        "1 images have no row in metadata.jsonl: left out, such as: c.png",
    ]


def test_the_four_images_are_those_of_their_coco_layout(layouts):
    data = fill_sizes(read(layouts / "tiny" / "hf", bbox_format="xywh"))
    coco = fill_sizes(read_dataset("coco", str(layouts / "tiny" / "coco"), split="default"))
    for one, other in zip(data.records, coco.records, strict=True):
        assert one.file_name.removeprefix("train/") == other.file_name.removeprefix("images/default/")
        for name in ("image_id", "label", "width", "height"):
            assert getattr(one, name) == getattr(other, name)
        assert one.boxes.tolist() == other.boxes.tolist() and one.box_labels.tolist() == other.box_labels.tolist()


def test_real_tables(layouts):
    data = fill_sizes(read(layouts / "hf-parquet"))
    assert [info.name for info in data.classes] == ["cat", "raccoon"] and [one.label for one in data.records] == [
        0,
        1,
    ] * 6
    assert (data.records[0].file_name, data.records[0].width, data.records[0].height) == ("raccoon-1.jpg", 650, 417)
    data = fill_sizes(read(layouts / "peer-written" / "hf.parquet"))
    assert [(one.file_name, one.label, one.width, one.height) for one in data.records] == [
        ("b.v1.jpg", 2, 33, 21),
        ("exif6.jpg", 1, 30, 40),
    ]
    assert data.notes == ["1 rows have no image: left out, such as: row 3"]


@pytest.mark.slow
def test_tables_in_a_store(table, tmp_path, encode):
    """Labels are read without the images, and a group once for all its images."""
    images = [encode("PNG", Image.effect_noise((200, 300 + row % 2), 90)) for row in range(20)] * 10
    cells = [{"bytes": data + bytes([row]), "path": None} for row, data in enumerate(images)]
    size = table("set/train-00000-of-00001.parquet", rows=50, image=cells, label=list(range(200))).stat().st_size
    with serving() as store:
        upload(tmp_path / "set", "set")
        store.requests.clear()
        data = read(f"s3://{BUCKET}/set")
        assert [one.label for one in data.records] == list(range(200)) and size > 1 << 20
        read_requests = len(store.requests)
        store.requests.clear()
        assert [read_bytes(one.uri) for one in data.records] == [cell["bytes"] for cell in cells]
        assert read_requests < 30 and len(store.requests) < 30
        children._end_all()  # Those that wait were started with another environment.
        assert [one.height for one in fill_sizes(data).records] == [300, 301] * 100
