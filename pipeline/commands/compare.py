"""Paired differences between runs, or between the methods of one run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.keys import named_keys
from pipeline.config.recipe import FullRecipe
from pipeline.store.rundir import RunDir
from stages.batch import Batch, take
from stages.boxes.iou import at_least
from stages.boxes.protocols import Protocol
from stages.errors import ConfigurationError, DataError
from stages.evaluate.guesses import DECIDING, overlaps
from stages.evaluate.metrics.table import METRICS
from stages.evaluate.statistics.paired import mean_difference, share_difference
from stages.explain.targets import LABELS

log = logging.getLogger("wsl_pipeline")

_COLUMNS = ["image_id", "method", "target_rank", "class_index", "iou"]
_GROUND_TRUTH = ["image_id", "label", "boxes", "box_labels"]


@dataclass(frozen=True)
class _Run:
    """A complete run.

    Attributes:
        place: The path or uri that the caller gave.
        directory: The run's files.
        recipe: The recipe that made it, with the blacklist of that time.
        fingerprint: Fingerprint of its rules, as its metrics have it.
    """

    place: str
    directory: RunDir
    recipe: FullRecipe
    fingerprint: str


@dataclass(frozen=True)
class _System:
    """One method of one run on the N images of the manifest, NaN where an image has no score.

    Attributes:
        name: Display name.
        overlaps: float32 arrays, one for each of :data:`stages.evaluate.guesses.DECIDING`: (N,) for the images, (P,)
            for the pairs of an image and one of its labels.
    """

    name: str
    overlaps: dict[str, np.ndarray]


JUDGING = (
    *("frame", "iou", "far_edge", "iou_comparator", "topk_iou_comparator", "empty", "official", "blacklist"),
    "model.size",
)
"""Rules by which a box is judged; the others say how it is made."""


@named_keys()
def compare(places: Sequence[str | Path], force: bool = False) -> dict[str, Any]:
    """Compare every method of every run with every other one on the images that both were scored on.

    Args:
        places: Local paths or uris of complete runs over the same images by the same protocol; one run's
            methods are compared with each other.
        force: Whether the runs may make their boxes by different rules, as whole recipes do; how a box is judged must
            be the same in any case.

    Returns:
        ``protocol`` and ``protocol_fingerprint`` of the first run, ``systems`` and ``pairs``: for each pair ``a``,
        ``b``, the number of images that only one of the two has a score for, and ``metrics`` with both values, their
        difference b - a, its interval over images and whether it is noise. Where the networks ran on machines of
        different kinds, ``machines``: the number of parts by kind, by run.

    Raises:
        UserError: A run is not complete, or the runs cannot be compared.
    """
    if not places:
        raise ConfigurationError("name a run to compare, or several")
    runs = [_open(str(place)) for place in places]
    for uri, times in Counter(run.directory.uri for run in runs).items():
        if times > 1:
            raise ConfigurationError(f"{uri} is named twice; name every run once")
    for run in runs[1:]:
        _check_same_rules(runs[0], run, force)
        _check_same_images(runs[0], run)
    systems = [one for run, name in zip(runs, _names(runs), strict=True) for one in _systems(run, name)]
    machines = {run.place: dict(sorted(Counter(run.directory.machines.values()).items())) for run in runs}
    if len(systems) < 2:
        raise ConfigurationError(f"{places[0]} has one method and is one run: nothing to compare; name another run")
    first = runs[0].recipe
    deltas = tuple(delta for delta in first.deltas if all(delta in one.recipe.deltas for one in runs))
    found = {
        "protocol": first.protocol.name,
        "protocol_fingerprint": runs[0].fingerprint,
        "systems": [one.name for one in systems],
        "pairs": [_pair(a, b, first.protocol, deltas, first.seed) for a, b in combinations(systems, 2)],
    }
    if len(set().union(*machines.values())) < 2:
        return found
    log.warning(
        "the maps were computed on different kinds of machine, which round differently: %s",
        "; ".join(f"{place} on {' and '.join(kinds)}" for place, kinds in machines.items() if kinds),
    )
    return found | {"machines": machines}


def _open(place: str) -> _Run:
    directory = RunDir(place)
    recipe = directory.recipe()
    if not directory.complete:
        raise DataError(f"{place} is not complete; run its command again, then compare it")
    return _Run(place, directory, recipe, directory.read_json("metrics.json")["protocol_fingerprint"])


def _names(runs: list[_Run]) -> list[str]:
    """Prefixes that tell the runs apart: empty for one run, their folders' names, or the whole paths."""
    if len(runs) == 1:
        return [""]
    short = [run.directory.uri.rstrip("/").rpartition("/")[2] for run in runs]
    return [f"{name}/" for name in (short if len(set(short)) == len(short) else [run.place for run in runs])]


def _check_same_rules(one: _Run, other: _Run, force: bool) -> None:
    a, b = ({"fingerprint": run.fingerprint} | asdict(run.recipe.protocol) for run in (one, other))
    if one.recipe.protocol.frame == "resized":
        a, b = a | {"model.size": one.recipe.frame_side}, b | {"model.size": other.recipe.frame_side}
    differing = {key for key in a if key != "name" and a[key] != b[key]}
    if force:
        differing &= set(JUDGING)
    if differing > {"fingerprint"}:
        differing.remove("fingerprint")  # The fields are more specific.
    if differing:
        fields = [f"{'' if '.' in key else 'box.'}{key} ({a[key]}, {b[key]})" for key in a if key in differing]
        raise ConfigurationError(
            f"{one.place} and {other.place} were scored by different rules: {', '.join(fields)}; "
            "relocalize one by the rules of the other"
            + ("" if differing & set(JUDGING) else ", or compare them as whole recipes with --force")
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
    manifest = pq.read_table(run.directory.manifest, columns=["image_id", "label", "box_labels"])
    ids, labels = manifest["image_id"].to_numpy(), manifest["label"].to_numpy()
    boxed = np.repeat(np.arange(len(ids)), pc.list_value_length(manifest["box_labels"]).to_numpy())
    classes = np.concatenate([labels, pc.list_flatten(manifest["box_labels"]).to_numpy()]).astype(np.int64)
    step = classes.max(initial=0) + 1
    pairs = np.unique((np.concatenate([np.arange(len(ids)), boxed]) * step + classes)[classes >= 0])
    sizes = {kind: len(pairs) if kind == "label" else len(ids) for kind in DECIDING}
    systems = {
        method: _System(prefix + method, {kind: np.full(size, np.nan, np.float32) for kind, size in sizes.items()})
        for method in run.recipe.methods
    }
    several = LABELS in run.recipe.config.explain.targets
    for part in run.directory.predictions(_COLUMNS):
        methods = np.array(part["method"].to_pylist(), dtype=object)
        rows: Batch = {name: part[name].to_numpy() for name in ("image_id", "target_rank", "class_index")}
        rows["iou"] = part["iou"].to_numpy(zero_copy_only=False).astype(np.float32)
        image = np.searchsorted(ids, rows["image_id"])
        rows["label"] = labels[image]
        if several:
            rows["label"] = np.where(rows["target_rank"] == 0, rows["class_index"], rows["label"])
        pair = image * step + rows["label"]
        rows["pair"] = np.searchsorted(pairs, pair)
        scored = (rows["label"] >= 0) & np.isin(pair, pairs)
        for method, system in systems.items():
            own = take(rows, (methods == method) & scored)
            for kind, (images, found) in overlaps(own).items():
                where = own["pair"][own["target_rank"] == 0] if kind == "label" else np.searchsorted(ids, images)
                system.overlaps[kind][where] = found
    return list(systems.values())


def _pair(a: _System, b: _System, protocol: Protocol, deltas: tuple[float, ...], seed: int) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    unpaired = 0
    for kind in DECIDING:
        comparator = protocol.iou_comparator if kind == "label" else protocol.topk_iou_comparator
        values = a.overlaps[kind], b.overlaps[kind]
        scored = ~np.isnan(values)
        if scored.any(1).all():  # Otherwise one of the two has no such score at all.
            unpaired = max(unpaired, int((scored[0] != scored[1]).sum()))
        first, second = (one[scored.all(0)] for one in values)
        if not len(first):
            continue
        hits = at_least(first, deltas, comparator), at_least(second, deltas, comparator)
        for metric in METRICS.values():
            if metric.paired != kind:
                continue
            if metric.levels:
                metrics[metric.name] = {
                    f"{delta:g}": _values(one, other) | share_difference(one, other, seed)
                    for delta, one, other in zip(deltas, *hits, strict=True)
                }
            else:
                metrics[metric.name] = _values(first, second) | mean_difference(first, second, seed)
    return {"a": a.name, "b": b.name, "unpaired": unpaired, "metrics": metrics}


def _values(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    return {"a": round(float(np.mean(a, dtype=np.float64)), 6), "b": round(float(np.mean(b, dtype=np.float64)), 6)}
