from __future__ import annotations

import json
import shlex

import pytest
from PIL import Image

from pipeline.config.load import load_config
from pipeline.config.suggest import command_for
from stages.errors import ConfigurationError
from stages.formats import read_dataset


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my pics/cat/a.jpg", "my pics/cat/b.jpg", "it's #1/c.tga", "plain/d"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    (tmp_path / "list.txt").write_text("my pics/cat/a.jpg\n")
    (tmp_path / "photo").mkdir()
    (tmp_path / "photo/e.png").write_bytes((tmp_path / "plain/d").read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("my pics", 2),
        ("my pics/", 2),
        ("./my pics/cat", 2),
        ("my pics/cat/a.jpg", 1),
        ("it's #1", 1),
        ("it's #1/c.tga", 1),
        ("plain/d", 1),
        ("my pics/*/*.jpg", 2),
        ("list.txt", 1),
        ("photo", 1),
        (".", 4),
    ],
)
def test_the_command_reads_what_was_named(pictures, name, images):
    with pytest.raises(ConfigurationError) as caught:
        load_config(name, ["box.threshold=0.3"])
    message = str(caught.value)
    assert message.startswith(f"{name} is no configuration; to read it: wsl-pipeline run imagefolder ")
    *words, last = shlex.split(message.partition("to read it: ")[2])
    assert words[:3] == ["wsl-pipeline", "run", "imagefolder"] and last == "box.threshold=0.3" and len(words) == 4
    assert len(read_dataset("imagefolder", words[3].removeprefix("data.root=")).records) == images


def test_pictures_that_a_shell_listed(pictures):
    assert command_for("my pics/cat/a.jpg", ["my pics/cat/b.jpg", "seed=1"]) == (
        "wsl-pipeline run imagefolder 'data.root=my pics/cat/*.jpg' seed=1"
    )
    assert command_for("photo/e.png", ["my pics/cat/a.jpg"]) == (
        f"wsl-pipeline run imagefolder 'data.root={pictures}/**/*'"
    )


@pytest.mark.parametrize(
    ("names", "configuration"),
    [
        (["annotations/instances_val2017.json", "val2017/1.jpg"], "coco"),
        (["valid/_annotations.coco.json"], "coco"),
        (["ILSVRC2012_img_val.tar"], "imagenet-val"),
        (["n01440764/ILSVRC2012_val_00000293.JPEG"], "imagenet-val"),
        (["cat/a.jpg", "metadata.jsonl"], "imagefolder"),
        (["data/train-00000-of-00001.parquet"], "parquet"),
        (["classes.txt", "train/000000.tar"], "webdataset"),
        (["Annotations/a.xml", "JPEGImages/a.jpg"], "voc"),
        (["VOCdevkit/VOC2007/JPEGImages/a.jpg"], "voc"),
        (["data.yaml", "train/images/a.jpg"], "yolo"),
        (["images/a.jpg", "labels/a.txt"], "yolo"),
        (["images/a.jpg", "images/b.jpg"], "imagefolder"),
    ],
)
def test_layouts_of_other_formats(names, configuration, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert command_for(str(tmp_path), []) == f"wsl-pipeline run {configuration} data.root={tmp_path}"


def test_a_run_and_its_files(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({}))
    assert command_for(str(tmp_path), []) == f"wsl-pipeline run {tmp_path}/config.yaml --out {tmp_path}"


def test_what_is_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("x")
    assert command_for("s3://bucket/a b", []) == "wsl-pipeline run imagefolder 'data.root=s3://bucket/a b'"
    for name in ("demmo", "notes.md", "http://host/x", "not/there", "x\0y"):
        assert command_for(name, []) is None
    with pytest.raises(ConfigurationError, match=r"^no configuration file not/there, and no folder or image"):
        load_config("not/there", [])
