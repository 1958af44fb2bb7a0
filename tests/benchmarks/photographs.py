"""Many photographs out of few: links to the sample's images under new names, with their boxes."""

from __future__ import annotations

import csv
import os
from pathlib import Path

_IMAGES = Path("ILSVRC/Data/CLS-LOC/val")


def repeat_sample(sample: Path, folder: Path, count: int) -> Path:
    """A Kaggle-style folder of ``count`` images that repeats the sample's.

    Args:
        sample: A Kaggle-style folder, of whose images some may be missing.
        folder: Where to make the new one.
        count: Images.
    """
    root = folder / f"photographs-{count}"
    (root / _IMAGES).mkdir(parents=True)
    with open(sample / "LOC_val_solution.csv", newline="") as file:
        entries = [one for one in csv.DictReader(file) if (sample / _IMAGES / f"{one['ImageId']}.JPEG").is_file()]
    with open(root / "LOC_val_solution.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ImageId", "PredictionString"])
        for number in range(1, count + 1):
            entry = entries[number % len(entries)]
            name = f"ILSVRC2012_val_{number:08}"
            os.symlink((sample / _IMAGES / f"{entry['ImageId']}.JPEG").resolve(), root / _IMAGES / f"{name}.JPEG")
            writer.writerow([name, entry["PredictionString"]])
    return root
