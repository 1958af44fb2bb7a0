"""Names that are no text, numbers without end and files that are none: one line each, or one entry left out."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from stages.batch import ragged
from stages.errors import ConfigurationError, DataError
from stages.evaluate.clsloc import read_ids
from stages.formats import read_dataset
from stages.formats.heat_maps import LoadMaps
from tests.runs import wsl_here

LATIN = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize("name", [LATIN, "a\0b", "a\ud800b"])
def test_a_name_that_is_not_utf8_is_one_line(tiny, tiny_data, tmp_path, name):
    done = wsl_here("run", tiny_data / "tiny.yaml", "data.limit=3", "--out", f"{tmp_path}/{name}")
    assert done.returncode == 2 and done.stderr.startswith("error: --out: ") and done.stderr.count("\n") == 1
    for key in ("data.root", "evaluate.blacklist"):
        with pytest.raises(ConfigurationError, match=f"{key}: it is not UTF-8; rename"):
            tiny(f"{key}={tmp_path}/{name}")


@pytest.mark.parametrize("name", ["\ud800.png", "a\0.png"])
def test_an_entry_whose_name_is_no_text_is_left_out(tiny_data, tmp_path, name):
    content = json.loads((tiny_data / "data" / "annotations.json").read_text())
    content["images"][0]["file_name"] = name
    (tmp_path / "images").symlink_to(tiny_data / "data" / "images")
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    found = read_dataset("coco", str(tmp_path))
    assert len(found.records) == len(content["images"]) - 1
    assert any("images left out" in line and "is not a path" in line for line in found.notes)


def test_a_number_of_5000_digits_costs_no_other_entry(tiny, tiny_data, tmp_path):
    text = (tiny_data / "data" / "annotations.json").read_text().replace('"id": 1,', f'"id": {"9" * 5000},', 1)
    (tmp_path / "images").symlink_to(tiny_data / "data" / "images")
    (tmp_path / "annotations.json").write_text(text)
    found = read_dataset("coco", str(tmp_path))
    assert len(found.records) == text.count("file_name")
    assert any("entry with id 1: image_id 1 is not in the file" in line for line in found.notes)
    with pytest.raises(ConfigurationError, match="seed: not valid YAML") as caught:
        tiny(f"seed={'9' * 5000}")
    assert "sys.set_int" not in str(caught.value)


@pytest.mark.timeout(30)
def test_a_pipe_or_a_device_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "1.npy")
    (tmp_path / "2.npy").symlink_to("/dev/zero")
    answer = LoadMaps(tmp_path)({"map_name": ragged(["1.npy", "2.npy"]), "image_id": np.array([1, 2])})
    assert [error.code for error in answer.errors.values()] == ["Unreadable"] * 2
    for name in ("/dev/zero", str(tmp_path / "1.npy")):
        with pytest.raises(DataError, match="not a regular file"):
            read_ids(name)
