"""From a traced forward pass to low-resolution maps: one row per image, method and explained class."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from stages.batch import Answer, Batch, Resources, ragged, take
from stages.explain.method_layers import method_of
from stages.explain.several_scales import Combination, divided, fused
from stages.explain.table import FITTED, FOREGROUND, FOREGROUND_CAM
from stages.explain.targets import choose, contrasted

if TYPE_CHECKING:
    from stages.explain.foreground.student import Student
    from stages.explain.maps import Maps
    from stages.trace.trace import Trace


class Explain:
    """Applies every method to every target of a batch that :class:`stages.classify.stage.Classify` traced.

    Replaces the image rows by prediction rows, sorted by image, method and rank. Adds ``method``, ``map``,
    ``map_by_scale`` and ``map_foreground``, object, ``target_rank`` (R,) int8, ``class_index`` (R,) int32, ``output``
    (R,) int64, the network's output whose map it is, ``prob`` and ``map_scale`` (R,) float32.
    ``map`` is (h, w) float16, divided by ``map_scale``, its largest absolute value, so that every later number
    follows from what is stored. A map that is not finite keeps its values.
    ``map_by_scale`` lists what ``map`` was made from, where that is more than one map or another: (h, w) float16 maps,
    divided by the largest absolute value of all of them. ``map_foreground`` lists the (h, w) float16 foreground that is
    in ``map``, if any.

    Args:
        methods: Names of explainers.
        targets: ``label``, the ground-truth label (rank 0), or ``labels``, all that an image has (rank 0 each);
            ``topK``, the K best predictions (1..K); ``present``, those of at least the probability ``present``.
        flip: Average every map with the mirrored image's.
        scales: Take the maps at these shares of the input's size together.
        gpus: Share of a GPU that one worker occupies, the same as the classifier's.
        layers: Names of the traced layers that each method explains; all of them for a method that is not listed.
        present: Probability from which on a class is present.
        fused_below: Share of the cells that become 0 where scales are fused (see
            :func:`stages.explain.several_scales.fused`); None for the mean of their maps.
        student: The fitted student of the methods that need one.
        combination: How ``foreground-cam`` is made.
        contrast: Share of the mean map of an image's other labels that is taken off the map of each label. This is
            Finer-CAM (Zhang et al. 2025), with those labels in place of the classes of the nearest scores.
    """

    reads = ("trace", "trace_row", "probs", "outputs", "top_class", "label", "others")
    adds = (
        *("method", "target_rank", "class_index", "output", "prob"),
        *("map", "map_scale", "map_by_scale", "map_foreground"),
    )

    def __init__(
        self,
        methods: list[str],
        targets: list[str],
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        gpus: float = 0,
        layers: Mapping[str, Sequence[str]] = MappingProxyType({}),
        present: float = 0.5,
        fused_below: float | None = None,
        student: Student | None = None,
        combination: Combination = Combination(),  # noqa: B008  (it is frozen)
        contrast: float = 0.0,
    ) -> None:
        self.methods, self.targets, self.present = methods, targets, present
        self.layers = layers
        self.flip, self.scales = flip, scales
        self.fused_below, self.student, self.combination = fused_below, student, combination
        self.contrast = contrast
        self.resources = Resources(cpus=1, gpus=gpus)

    def setup(self) -> None:
        """Do nothing: methods are functions."""

    def __call__(self, batch: Batch, trace: Trace) -> Answer:
        """Explain one batch.

        Args:
            batch: Images, each with its place in the trace; those that have left since it was made are missing.
            trace: Trace that is explained as a whole, so that no map depends on which images have left.
        """
        import torch

        from stages.explain.maps import Maps

        probs, top_class, label = batch.pop("probs"), batch.pop("top_class"), batch["label"]
        outputs = batch.pop("outputs")
        traced = batch["trace_row"]
        count = len(label)
        # A class that is no target of an image is explained with it, and the row is dropped below.
        classes, ranks, wanted = choose(self.targets, self.present, label, batch.get("others", ()), top_class, probs)
        of_all = np.zeros((len(trace.inputs), len(ranks)), np.int64)
        of_all[traced] = np.take_along_axis(outputs, classes, 1)
        targets = torch.from_numpy(of_all).to(trace.logits.device)
        mixed = None
        if self.contrast:
            mixed = np.tile(np.eye(len(ranks), dtype=np.float32), (len(trace.inputs), 1, 1))
            mixed[traced] = contrasted(wanted & (ranks == 0), self.contrast)
        maps = Maps(trace, self.flip, self.scales, targets, mixed)
        found: list[list[list[_Row]]] = []
        seconds = {}
        for name in self.methods:
            started = time.perf_counter()
            found.append([self._rows(name, maps, image, len(ranks)) for image in traced])
            seconds[f"explain/{name}"] = time.perf_counter() - started
        image_rows = np.repeat(np.arange(count), len(self.methods) * len(ranks))
        rank_column = np.tile(ranks, count * len(self.methods))
        class_column = np.tile(classes[:, None], (1, len(self.methods), 1)).reshape(-1).astype(np.int32)
        method_column = np.tile(np.repeat(np.array(self.methods, dtype=object), len(ranks)), count)
        explained = [row for image in zip(*found, strict=True) for row in chain(*image)]
        rows = take(batch, image_rows) | {
            "method": method_column,
            "target_rank": rank_column,
            "class_index": class_column,
            "output": outputs[image_rows, class_column],
            "prob": probs[image_rows, class_column].astype(np.float32),
            "map": ragged(row.map for row in explained),
            "map_scale": np.array([row.scale for row in explained], np.float32),
            "map_by_scale": ragged(row.by_scale for row in explained),
            "map_foreground": ragged(row.foreground for row in explained),
        }
        kept = np.tile(wanted[:, None], (1, len(self.methods), 1)).reshape(-1)
        return Answer(take(rows, kept), seconds=seconds)

    def _rows(self, name: str, maps: Maps, image: int, targets: int) -> list[_Row]:
        """One image's rows of one method, one per target."""
        method, names = method_of(name), self.layers.get(name)
        foreground: list[np.ndarray] = []
        if method in FITTED:
            assert self.student is not None, f"{name} without its student"
            foreground = [maps.linear(self.student.weights, self.student.bias, names)[image]]
        if method == FOREGROUND:
            return [_Row(*divided(foreground[0].astype(np.float32)))] * targets
        if method == FOREGROUND_CAM:
            several = [[one[image, target] for one in maps.class_activation(names)] for target in range(targets)]
            return [_Row(*divided(self.combination(foreground, parts)), parts, foreground) for parts in several]
        means, scales, by_scale = maps.of(name, names)
        rows = []
        for target in range(targets):
            parts = [one[image, target] for one in by_scale]
            if self.fused_below is not None:
                rows.append(_Row(*divided(fused(parts, self.fused_below)), parts))
            else:
                rows.append(_Row(means[image, target], scales[image, target], parts if len(parts) > 1 else ()))
        return rows


@dataclass(frozen=True)
class _Row:
    """What of a prediction row the method gives, see :class:`Explain`."""

    map: np.ndarray
    scale: np.ndarray
    by_scale: Sequence[np.ndarray] = ()
    foreground: Sequence[np.ndarray] = ()


def raw_map(stored: np.ndarray, scale: float) -> np.ndarray:
    """The map that a method gave, up to the rounding of the stored map.

    Args:
        stored: (h, w) float16, a row of ``map``.
        scale: The row's ``map_scale``.

    Returns:
        (h, w) float32: before ReLU, normalisation and resizing.

    >>> raw_map(np.array([[0.5, 1.0]], np.float16), 4.0)
    array([[2., 4.]], dtype=float32)
    """
    values = stored.astype(np.float32)
    return values * np.float32(scale) if np.isfinite(scale) else values
