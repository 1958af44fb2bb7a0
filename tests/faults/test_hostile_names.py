"""Names that act on a terminal or reverse what is read are escaped on every way out; the data keep them."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.classes import ClassInfo
from stages.classify.network import Network
from stages.printable import printable
from tests.runs import wsl_here
from tests.stages.toys import tiny_network

EVIL = "cat\x1b[2J\x07\u202egnp"
OTHER = "dog\r\u2066\u2028"
ACTING = ("\x1b", "\x07", "\u202e", "\u2066", "\r", "\u2028")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evil") / "data"
    for name in (EVIL, OTHER):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.full((24, 24, 3), len(name), np.uint8)).save(folder / name / f"{name}.png")
        (folder / name / f"broken {name}.png").write_bytes(b"no image")
    return folder


def network() -> Network:
    """A tiny network of those classes."""
    found = tiny_network()
    found.classes = [ClassInfo(name) for name in (EVIL, OTHER, *(f"class {number}" for number in range(5)))]
    return found


@pytest.mark.slow
def test_nothing_that_is_shown_acts(tiny_data, root, tmp_path):
    out = tmp_path / "run"
    arguments = (
        "data.format=imagefolder",
        f"data.root={root}",
        "model.spec=python:tests.faults.test_hostile_names:network",
    )
    done = wsl_here("run", tiny_data / "tiny.yaml", *arguments, "--executor", "inline", "--out", out)
    assert done.returncode == 0, done.stderr
    shown = [done, *(wsl_here(*words) for words in (("status", out), ("report", out), ("report", root / EVIL)))]
    shown += [wsl_here("run", tiny_data / "tiny.yaml", f"data.root={tmp_path / EVIL}", f"box.{EVIL}=1")]
    texts = [one.stdout + one.stderr for one in shown]
    texts += [path.read_text() for path in [out / "report" / "index.html", *(out / "logs").iterdir()]]
    for text in texts:
        assert not [one for one in ACTING if one in text]
    assert "\\x1b[2J\\x07\\u202e" in (out / "report" / "index.html").read_text(), "it can still be read"
    names = pq.read_table(out / "manifest.parquet")["file_name"].to_pylist()
    assert f"{EVIL}/{EVIL}.png" in names


@pytest.mark.parametrize("text", ["été 图片 א", "a\u200db", "a\u200cb", "a\tb\nc"])
def test_what_only_appears_stays(text):
    assert printable(text) == text


def test_every_character_that_acts_is_escaped():
    for number in range(0x110000):
        category = unicodedata.category(chr(number))
        if category in {"Cc", "Cf", "Cs", "Zl", "Zp"} and chr(number) not in "\n\t\u200c\u200d":
            assert printable(chr(number)).isascii()
