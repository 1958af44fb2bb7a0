"""Differences between runs, or between the methods of one, image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.config.keys import named_keys
from pipeline.config.recipe import FullRecipe
from pipeline.store.rundir import RunDir
from stages.boxes.iou import at_least
from stages.boxes.protocols import Protocol
from stages.errors import ConfigurationError, DataError
from stages.evaluate.statistics.paired import mean_difference, share_difference

_COLUMNS = ["image_id", "method", "target_rank", "class_index", "iou"]
_GROUND_TRUTH = ["image_id", "label", "boxes", "box_labels"]


@dataclass(frozen=True)
class _Run:
    """A complete run.

    Attributes:
        place: As the caller named it.
        directory: Its files.
        recipe: That it was made by, with the blacklist of that time.
        fingerprint: Of its rules, as its metrics have it.
    """

    place: str
    directory: RunDir
    recipe: FullRecipe
    fingerprint: str


@dataclass(frozen=True)
class _System:
    """One method of one run on the N images of the manifest, NaN where an image has no score.

    Attributes:
        name: For people.
        label_iou: (N,) overlap of the true class's box.
        first_iou: (N,) overlap of the first prediction's box, -1 where the prediction is wrong.
        five_iou: (N,) the same of the best of the first five, of images that have five.
    """

    name: str
    label_iou: np.ndarray
    first_iou: np.ndarray
    five_iou: np.ndarray


@named_keys()
def compare(places: Sequence[str | Path]) -> dict[str, Any]:
    """Compare every method of every run with every other one on the images that both were scored on.

    Args:
        places: Local paths or uris of complete runs over the same images by the same protocol; one run's
            methods are compared with each other.

    Returns:
        ``protocol``, its ``protocol_fingerprint``, ``systems`` and ``pairs``: for each pair ``a``, ``b``, the
        images that only one of the two has a score for, and ``metrics`` with the values of both, their
        difference b - a, its interval over images and whether it is noise.

    Raises:
        UserError: A run is not complete, or the runs cannot be compared.
    """
    runs = [_open(str(place)) for place in places]
    for uri, times in Counter(run.directory.uri for run in runs).items():
        if times > 1:
            raise ConfigurationError(f"{uri} is named twice; name every run once")
    for run in runs[1:]:
        _check_same_rules(runs[0], run)
        _check_same_images(runs[0], run)
    systems = [one for run, name in zip(runs, _names(runs), strict=True) for one in _systems(run, name)]
    if len(systems) < 2:
        raise ConfigurationError(f"{places[0]} has one method and is one run: nothing to compare; name another run")
    first = runs[0].recipe
    deltas = tuple(delta for delta in first.deltas if all(delta in one.recipe.deltas for one in runs))
    return {
        "protocol": first.protocol.name,
        "protocol_fingerprint": runs[0].fingerprint,
        "systems": [one.name for one in systems],
        "pairs": [_pair(a, b, first.protocol, deltas, first.seed) for a, b in combinations(systems, 2)],
    }


def _open(place: str) -> _Run:
    directory = RunDir(place)
    recipe = directory.recipe()
    if not directory.complete:
        raise DataError(f"{place} is not complete; run its command again, then compare it")
    return _Run(place, directory, recipe, directory.read_json("metrics.json")["protocol_fingerprint"])


def _names(runs: list[_Run]) -> list[str]:
    """What tells the runs apart: nothing for one, their folders' names, or the whole paths."""
    if len(runs) == 1:
        return [""]
    short = [run.directory.uri.rstrip("/").rpartition("/")[2] for run in runs]
    return [f"{name}/" for name in (short if len(set(short)) == len(short) else [run.place for run in runs])]


def _check_same_rules(one: _Run, other: _Run) -> None:
    a, b = ({"fingerprint": run.fingerprint} | asdict(run.recipe.protocol) for run in (one, other))
    if one.recipe.protocol.frame == "resized":
        a, b = a | {"model.size": one.recipe.size}, b | {"model.size": other.recipe.size}
    differing = {key for key in a if key != "name" and a[key] != b[key]}
    if differing > {"fingerprint"}:
        differing.remove("fingerprint")  # The fields say more.
    if differing:
        fields = [f"{'' if '.' in key else 'box.'}{key} ({a[key]}, {b[key]})" for key in a if key in differing]
        raise ConfigurationError(
            f"{one.place} and {other.place} were scored by different rules: {', '.join(fields)}; "
            "relocalize one by the rules of the other"
        )


def _check_same_images(one: _Run, other: _Run) -> None:
    a, b = (pq.read_table(run.directory.manifest, columns=_GROUND_TRUTH) for run in (one, other))
    if a.equals(b):
        return
    ids, others = (set(table["image_id"].to_pylist()) for table in (a, b))
    if ids != others:
        first = min(ids ^ others)
        raise DataError(
            f"{one.place} and {other.place} hold different images: {len(ids - others)} are only in the first and "
            f"{len(others - ids)} only in the second, such as image {first}; compare runs over the same images"
        )
    raise DataError(
        f"{one.place} and {other.place} hold the same images with other labels or boxes; run one of them again"
    )


def _systems(run: _Run, prefix: str) -> list[_System]:
    manifest = pq.read_table(run.directory.manifest, columns=["image_id", "label"])
    ids, labels = manifest["image_id"].to_numpy(), manifest["label"].to_numpy()
    overlaps = {method: np.full((3, len(ids)), np.nan, np.float32) for method in run.recipe.methods}
    for part in run.directory.predictions(_COLUMNS):
        methods = np.array(part["method"].to_pylist(), dtype=object)
        ranks, classes = part["target_rank"].to_numpy(), part["class_index"].to_numpy()
        places = np.searchsorted(ids, part["image_id"].to_numpy())
        iou = part["iou"].to_numpy(zero_copy_only=False).astype(np.float32)
        right = np.where((classes != labels[places]) & ~np.isnan(iou), np.float32(-1), iou)
        for method, (of_label, of_first, of_five) in overlaps.items():
            known, first, last = ((methods == method) & (ranks == rank) for rank in (0, 1, 5))
            of_label[places[known]] = iou[known]
            of_first[places[first]] = right[first]
            five = (methods == method) & (ranks >= 1) & (ranks <= 5) & np.isin(places, places[last])
            np.fmax.at(of_five, places[five], right[five])
    for one in overlaps.values():
        one[:, labels < 0] = np.nan
    return [_System(prefix + method, *one) for method, one in overlaps.items()]


def _pair(a: _System, b: _System, protocol: Protocol, deltas: tuple[float, ...], seed: int) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    unpaired = 0
    for name, comparator, values in (
        ("gt_known_loc", protocol.iou_comparator, (a.label_iou, b.label_iou)),
        ("top1_loc", protocol.topk_iou_comparator, (a.first_iou, b.first_iou)),
        ("top5_loc", protocol.topk_iou_comparator, (a.five_iou, b.five_iou)),
    ):
        scored = ~np.isnan(values)
        if scored.any(1).all():  # Else one of the two has no such score at all.
            unpaired = max(unpaired, int((scored[0] != scored[1]).sum()))
        first, second = (one[scored.all(0)] for one in values)
        if not len(first):
            continue
        hits = at_least(first, deltas, comparator), at_least(second, deltas, comparator)
        metrics[name] = {
            f"{delta:g}": _values(one, other) | share_difference(one, other, seed)
            for delta, one, other in zip(deltas, *hits, strict=True)
        }
        if name == "gt_known_loc":
            metrics["mean_iou"] = _values(first, second) | mean_difference(first, second, seed)
    return {"a": a.name, "b": b.name, "unpaired": unpaired, "metrics": metrics}


def _values(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    return {"a": round(float(np.mean(a, dtype=np.float64)), 6), "b": round(float(np.mean(b, dtype=np.float64)), 6)}
