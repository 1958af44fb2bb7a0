"""Thousands of damaged files through the real readers: none ends the process that drives a run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from stages.ingest.children import Lost, each
from stages.ingest.depth import find_levels
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.sizes import fill_sizes
from tests.faults.mutants import mutated, pictures
from tests.repetitions import EVERY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SHARE = 1 if EVERY else 4
"""A quarter of them, unless the environment asks for all."""
IMAGES, ANNOTATIONS = 10_000 // SHARE, 100_000 // SHARE


def test_images(tmp_path: Path) -> None:
    good = pictures()
    records = []
    for number in range(IMAGES):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(mutated(good[number % len(good)], number))
        records.append(ImageRecord(number, str(path), path.name))
    found = fill_sizes(Dataset([], records, []))
    assert len(found.records) == IMAGES
    find_levels(found.records)
    answers = list(each("tests.faults.mutants:decoded", [record.uri for record in records]))
    codes = Counter("lost" if isinstance(answer, Lost) else answer for answer in answers)
    print(codes, found.notes)
    assert codes[""] > IMAGES / 10 and codes["Unreadable"] + codes["Truncated"] > IMAGES / 10
    assert codes.keys() <= {
        "",
        "lost",
        "Empty",
        "NotAnImage",
        "Truncated",
        "TooManyPixels",
        "TooManyScans",
        "Unreadable",
    }
    sized = [record for record, answer in zip(found.records, answers, strict=True) if answer == "" and record.width]
    assert len(sized) > 0.95 * codes[""]


def test_annotations(tmp_path: Path) -> None:
    """In processes of their own: here, a dead driver is a number."""
    half = ANNOTATIONS // 2
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.mutants"]
    started = [
        subprocess.Popen([*command, tmp_path / str(start), str(start), str(start + half)], stdout=subprocess.PIPE)
        for start in (0, half)
    ]
    results = Counter()
    for process in started:
        out, _ = process.communicate()
        assert process.returncode == 0, process.returncode
        results.update(json.loads(out))
    print(results)
    assert results["read"] + results["refused"] == ANNOTATIONS
    assert min(results.values()) > ANNOTATIONS / 20
