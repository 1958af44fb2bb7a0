"""From a traced forward pass to low-resolution maps: one row per image, method and explained class."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from stages.batch import Answer, Batch, Resources, ragged, take
from stages.explain.targets import choose

if TYPE_CHECKING:
    from torch import Tensor

    from stages.explain.registry import Explainer
    from stages.trace.trace import Trace
    from stages.trace.views import Views


class Explain:
    """Applies every method to every target of a batch that :class:`stages.classify.stage.Classify` traced.

    Replaces the image rows by prediction rows, sorted by image, method and rank. Adds ``method`` and ``map``,
    object, ``target_rank`` (R,) int8, ``class_index`` (R,) int32, ``output`` (R,) int64, the network's output whose map
    it is, ``prob`` and ``map_scale`` (R,) float32.
    ``map`` is (h, w) float16, divided by ``map_scale``, its largest absolute value, so that every later number
    follows from what is stored. A map that is not finite keeps its values.

    Args:
        methods: Names of explainers.
        targets: ``label``, the ground-truth label (rank 0), or ``labels``, all that an image has (rank 0 each);
            ``topK``, the K best predictions (1..K); ``present``, those of at least the probability ``present``.
        flip: Average every map with the mirrored image's.
        scales: Average the maps at these shares of the input's size.
        gpus: Share of a GPU that one worker occupies, the same as the classifier's.
        layers: Names of the traced layers that each method explains; all of them for a method that is not listed.
        present: Probability from which on a class is present.
    """

    reads = ("trace", "trace_row", "probs", "outputs", "top_class", "label", "others")
    adds = ("method", "target_rank", "class_index", "output", "prob", "map", "map_scale")

    def __init__(
        self,
        methods: list[str],
        targets: list[str],
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        gpus: float = 0,
        layers: Mapping[str, Sequence[str]] = MappingProxyType({}),
        present: float = 0.5,
    ) -> None:
        self.methods, self.targets, self.present = methods, targets, present
        self.layers = layers
        self.flip, self.scales = flip, scales
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

        from stages.explain.registry import closed_form
        from stages.trace.views import Views

        probs, top_class, label = batch.pop("probs"), batch.pop("top_class"), batch["label"]
        outputs = batch.pop("outputs")
        traced = batch["trace_row"]
        count = len(label)
        # A class that is no target of an image is explained with it, and the row is dropped below.
        classes, ranks, wanted = choose(self.targets, self.present, label, batch.get("others", ()), top_class, probs)
        of_all = np.zeros((len(trace.inputs), len(ranks)), np.int64)
        of_all[traced] = np.take_along_axis(outputs, classes, 1)
        targets = torch.from_numpy(of_all).to(trace.logits.device)
        views = Views(trace, self.flip, self.scales, targets)
        explained, seconds = [], {}
        computed: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray]] = {}
        for name in self.methods:
            started = time.perf_counter()
            names = self.layers.get(name)
            own = trace.at(names)
            method, divided = closed_form(name, own.head is not None, self.scales)
            kind = method.name, *(names or ())
            if kind not in computed:
                computed[kind] = self._explain(views, method, targets, names)
            maps, scales = (one[traced] for one in computed[kind])
            explained.append((maps, scales / own.locations if divided else scales))
            seconds[f"explain/{name}"] = time.perf_counter() - started
        image_rows = np.repeat(np.arange(count), len(self.methods) * len(ranks))
        rank_column = np.tile(ranks, count * len(self.methods))
        class_column = np.tile(classes[:, None], (1, len(self.methods), 1)).reshape(-1).astype(np.int32)
        method_column = np.tile(np.repeat(np.array(self.methods, dtype=object), len(ranks)), count)
        rows = take(batch, image_rows) | {
            "method": method_column,
            "target_rank": rank_column,
            "class_index": class_column,
            "output": outputs[image_rows, class_column],
            "prob": probs[image_rows, class_column].astype(np.float32),
            "map": ragged(one for image in zip(*(maps for maps, _ in explained), strict=True) for one in chain(*image)),
            "map_scale": np.stack([scales for _, scales in explained], 1).reshape(-1),
        }
        kept = np.tile(wanted[:, None], (1, len(self.methods), 1)).reshape(-1)
        return Answer(take(rows, kept), seconds=seconds)

    def _explain(
        self, views: Views, method: Explainer, targets: Tensor, names: Sequence[str] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """One method's maps (N, T, h, w) float16 divided by their scales, and the scales (N, T) float32.

        N is the number of images of the trace.
        """
        import torch

        found = [views.explain(method.function, target, method.fuse, names).float() for target in targets.unbind(1)]
        maps = torch.stack(found, 1).cpu().numpy()
        scales = np.abs(maps).max((2, 3))
        divisor = np.where(np.isfinite(scales) & (scales > 0), scales, 1)
        return (maps / divisor[:, :, None, None]).astype(np.float16), scales


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
