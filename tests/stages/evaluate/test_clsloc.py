"""ILSVRC's error rates against a loop that follows the development kit, and its blacklist."""

from __future__ import annotations

import numpy as np
import pytest

from stages.batch import ragged
from stages.boxes.iou import at_least
from stages.boxes.protocols import get_protocol
from stages.errors import DataError
from stages.evaluate.clsloc import digest, read_ids
from stages.evaluate.metrics.contract import Scoring
from stages.evaluate.metrics.counts import compute, update


def test_errors_are_the_devkits() -> None:
    rng = np.random.default_rng(0)
    images, guesses = 60, 5
    label = rng.integers(0, 8, images)
    classes = np.stack([rng.permutation(8)[:guesses] for _ in range(images)])
    overlaps = rng.choice([0.2, 0.49999, 0.5, 0.8], (images, guesses)).astype(np.float32)
    errors = {1: 0, 5: 0}
    for image in range(images):
        for k in errors:
            # eval_clsloc.m: the best guess decides, each is wrong by its class or by its box.
            errors[k] += min(
                max(classes[image, j] != label[image], overlaps[image, j] < 0.5) for j in range(min(k, guesses))
            )
    rows = {
        "image_id": np.repeat(np.arange(images), guesses),
        "method": ragged(["cam"] * images * guesses),
        "target_rank": np.tile(np.arange(1, guesses + 1), images),
        "class_index": classes.ravel(),
        "label": np.repeat(label, guesses),
        "iou": overlaps.ravel(),
        "hits": at_least(overlaps.ravel(), (0.5,)).T,
        "sweep_hits": ragged([None] * images * guesses),
        "sweep_hits_v2": ragged([None] * images * guesses),
    }
    counts = update(rows).methods["cam"]
    for name in ("ilsvrc-clsloc", "cam2016"):
        found = compute(counts, Scoring(get_protocol(name), (0.5,)))
        if name == "cam2016":
            assert "clsloc_error" not in found
            continue
        for k, wrong in errors.items():
            score = found["clsloc_error"][f"top{k}"]
            assert score["value"] == round(wrong / images, 6) and score["n"] == images
            assert score["ci95"][0] <= score["value"] <= score["ci95"][1]
        assert "clsloc_error" not in compute(counts, Scoring(get_protocol(name), (0.3,)))


def test_a_blacklist_is_one_id_a_line(tmp_path) -> None:
    (tmp_path / "list.txt").write_text("36\n50\n\n36\n")
    ids = read_ids(str(tmp_path / "list.txt"))
    assert ids.tolist() == [36, 50] and digest(ids) != digest(ids[:1])
    (tmp_path / "bad.txt").write_text("36\nn01440764\n")
    with pytest.raises(DataError, match=r"'n01440764' in .*bad\.txt is not an image id") as error:
        read_ids(str(tmp_path / "bad.txt"))
    assert error.value.about == "blacklist"
    with pytest.raises(DataError, match="cannot read"):
        read_ids(str(tmp_path / "none.txt"))
