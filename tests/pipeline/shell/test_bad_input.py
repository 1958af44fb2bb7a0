"""Whole runs over what users and strangers leave in their folders: one row or one line, never more."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.commands.run import run
from stages.errors import ConfigurationError, DataError
from tests.runs import COUNT, files


def png(mode="RGB", size=(20, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 90).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def codes(out: Path) -> dict[str, str]:
    """Error codes by the name of the image."""
    table = pq.read_table(sorted((out / "errors").glob("*.parquet"))) if list((out / "errors").iterdir()) else None
    rows = table.to_pylist() if table else []
    assert all(row["message"] and "\n" not in row["message"] for row in rows)
    return {Path(row["uri"]).name: row["error_code"] for row in rows}


@pytest.mark.timeout(60)
def test_a_folder_of_hostile_files_is_one_row_each(tiny, tmp_path, monkeypatch):
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    good = {
        "good.png": png(),
        "grey.JPG": png("L"),
        "wrong.jpg": png(),
        "été\n'\"<b>.png": png(),
        "1x1.png": png(size=(1, 1)),
    }
    bad = {
        "empty.jpg": (b"", "Empty"),
        "text.png": (b"<html>no image</html>", "NotAnImage"),
        "cut.png": (png(size=(300, 300))[:2000], "Truncated"),
        "eps.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "NotAnImage"),
    }
    for name, data in good.items():
        (root / name).write_bytes(data)
    for name, (data, _) in bad.items():
        (root / name).write_bytes(data)
    os.mkfifo(root / "pipe.jpg")
    (root / "zero.jpg").symlink_to("/dev/zero")
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "dangling.jpg").symlink_to("nowhere.jpg")
    (root / "sub" / "up").symlink_to(root)
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:{os.environ['PATH']}")
    metrics = run(tiny("data.format=imagefolder", f"data.root={root}"), tmp_path / "run")
    found = codes(tmp_path / "run")
    assert {name: found[name] for name in bad} == {name: code for name, (_, code) in bad.items()}
    assert set(found) == {*bad, "pipe.jpg", "zero.jpg", "self.jpg", "dangling.jpg"}
    assert metrics["n_images"] - metrics["n_failed"] == len(good)
    assert not (tmp_path / "ran").exists()


def test_a_run_in_which_everything_fails_still_ends(tiny, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / "a.jpg").write_bytes(b"")
    metrics = run(tiny("data.format=imagefolder", f"data.root={root}"), tmp_path / "run")
    assert metrics["n_failed"] == metrics["n_images"] == 1
    assert (tmp_path / "run" / "report" / "index.html").stat().st_size > 1000


def test_a_mistake_does_not_take_the_directory(tiny, tmp_path):
    with pytest.raises(DataError, match="typo"):
        run(tiny("data.root=/typo"), tmp_path / "run")
    assert run(tiny("data.limit=3"), tmp_path / "run")["n_images"] == 3


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    run(tiny(), out)
    return out


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.parametrize("lost", ["predictions/part-000001.parquet", "metrics.json"])
def test_what_was_removed_from_a_complete_run_is_made_again(finished, copy, tiny, lost):
    (copy / lost).unlink()
    run(tiny(), copy)
    assert files(copy) == files(finished)


def test_a_shortened_manifest_is_noticed(copy, tiny):
    pq.write_table(pq.read_table(copy / "manifest.parquet").slice(1), copy / "manifest.parquet")
    (copy / "_SUCCESS").unlink()
    with pytest.raises(DataError, match=r"manifest\.parquet is not the one that the run began with"):
        run(tiny(), copy)


@pytest.mark.parametrize("name", ["run.json", "config.yaml"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_file_of_a_run_is_named(copy, tiny, name, content):
    (copy / name).write_bytes(content)
    with pytest.raises((DataError, ConfigurationError), match=f"{name} is damaged; restore it or choose another --out"):
        run(tiny(), copy)


def test_a_run_json_that_lost_keys_is_named(copy, tiny):
    (copy / "run.json").write_text('{"images": 23}')
    with pytest.raises(DataError, match=r"run\.json is damaged"):
        run(tiny(), copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [{"id": 1, "file_name": "a.png", "width": 2**40, "height": 9}]}, "out of range"),
        ({"images": 5}, "annotations"),
    ],
)
def test_annotations_of_strangers(tiny, tmp_path, change, message):
    root = tmp_path / "data"
    root.mkdir()
    (root / "a.png").write_bytes(png())
    document = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "class 0"}]} | change
    (root / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=message) as caught:
        run(tiny(f"data.root={root}"), tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_tar_that_is_cut_within_a_header(tiny, tmp_path):
    archive = tmp_path / "ILSVRC2012_img_val.tar"
    with tarfile.open(archive, "w") as tar:
        for number in (1, 2):
            member = tarfile.TarInfo(f"ILSVRC2012_val_{number:08}.JPEG")
            member.size = len(data := png())
            tar.addfile(member, io.BytesIO(data))
            second = tar.offset
    archive.write_bytes(archive.read_bytes()[: second - len(data) - 512])
    with pytest.raises(DataError, match="is cut off; fetch it again"):
        run(tiny("data.format=imagenet", f"data.root={archive}"), tmp_path / "run")


def test_networks_of_strangers(tiny, tmp_path, monkeypatch):
    (tmp_path / "strange.py").write_text(
        "import sys, torch\n"
        "def leaves(): sys.exit(7)\n"
        "def raises(): raise KeyError('boom')\n"
        "class Grey(torch.nn.Module):\n"
        "    def forward(self, x): return x.reshape(len(x), 1, -1) @ torch.zeros(3, 7)\n"
        "def grey(): return Grey()\n"
    )
    (tmp_path / "broken.py").write_text("def (:\n")
    monkeypatch.chdir(tmp_path)
    for spec, message in (
        ("strange:leaves", r"leaves\(\) fails: 7"),
        ("strange:raises", r"raises\(\) fails: 'boom'"),
        ("strange:grey", "model.spec"),
        ("broken:any", "invalid syntax"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            run(tiny(f"model.spec=python:{spec}"), tmp_path / "run")


def test_a_network_of_nothing_but_nan_ends_in_statuses(tiny, tmp_path, monkeypatch):
    (tmp_path / "nothing.py").write_text(
        "import torch\nfrom tests.stages.toys import tiny_network\n"
        "def nan():\n    network = tiny_network()\n    network.module.fc.bias.fill_(float('nan'))\n    return network\n"
    )
    monkeypatch.chdir(tmp_path)
    spec = "model.spec=python:nothing:nan"
    metrics = run(tiny(spec, "explain.methods=[gradcam]", "explain.targets=[label]"), tmp_path / "run")
    statuses = metrics["methods"]["gradcam"]["box_status"]
    assert sum(statuses.values()) == COUNT - 1
    assert np.isnan(pq.read_table(sorted((tmp_path / "run" / "predictions").iterdir()))["prob"].to_numpy()).all()
