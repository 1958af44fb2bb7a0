"""COCO average precision of a thousand classes, fifty thousand images and five detections each."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """\
import time
import numpy as np
from pipeline.engine.machine import peak_memory
from stages.evaluate.coco_ap import Boxes, box_average_precision

rng = np.random.default_rng(0)
images, classes = np.arange(1, 50_001), rng.integers(1, 1001, 50_000)
boxes = np.column_stack([rng.uniform(0, 200, (50_000, 2)), rng.uniform(20, 250, (50_000, 2))]).round(2)
second = rng.random(50_000) < 0.6  # ImageNet has 80,477 boxes in 50,000 images
truth = Boxes(np.r_[images, images[second]], np.r_[classes, classes[second]], np.r_[boxes, boxes[second] + 30])
guesses = rng.integers(1, 1001, (50_000, 5))
guesses[:, 0] = np.where(rng.random(50_000) < 0.7, classes, guesses[:, 0])
noisy = np.repeat(boxes, 5, axis=0) + rng.normal(0, 15, (250_000, 4)).clip(-19, None)
found = Boxes(np.repeat(images, 5), guesses.reshape(-1), noisy.round(2), score=rng.random(250_000).round(6))
started = time.perf_counter()
box_average_precision(truth, found)
print(time.perf_counter() - started, peak_memory())
"""


@pytest.mark.benchmark
def test_a_thousand_classes_take_less_than_a_minute_and_a_gigabyte() -> None:
    pytest.importorskip("faster_coco_eval")
    done = subprocess.run([sys.executable, "-c", _SCRIPT], check=True, capture_output=True, text=True)
    seconds, memory = map(float, done.stdout.split())
    print(f"\nCOCO AP, 1,000 classes x 50,000 images x 5 detections: {seconds:.1f} s, {memory:.0f} MiB")
    assert seconds < 60 and memory < 1000
