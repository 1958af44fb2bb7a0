"""Thousands of damaged files through the real readers: none ends the process that drives a run."""

from __future__ import annotations

import json
import os
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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SHARE = 1 if os.environ.get("WSL_PIPELINE_ALL_FAULTS") else 4
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
    """In a process of its own: here, a dead driver is a number."""
    command = [sys.executable, "-m", "tests.faults.mutants", tmp_path, "0", str(ANNOTATIONS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    results = json.loads(done.stdout)
    print(results)
    assert results["read"] + results["refused"] == ANNOTATIONS
    assert min(results.values()) > ANNOTATIONS / 20
