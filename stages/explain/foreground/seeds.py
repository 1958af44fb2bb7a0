"""The cells that the student learns from, chosen in a run's own forward passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from stages.batch import Batch, Resources, ragged
from stages.explain.foreground.student import seeds
from stages.explain.several_scales import fused
from stages.explain.targets import choose

if TYPE_CHECKING:
    from stages.trace.trace import Trace


class Seeds:
    """Chooses cells of every image by the map of the first of its targets.

    Adds ``cells`` (n, K) float32, features of the largest scale, and ``foreground`` (n,) bool, both object. Other
    columns than ``image_id`` and ``uri`` go.

    Args:
        targets: As those of :class:`stages.explain.stage.Explain`, and so are the others.
        flip: Average every map with the mirrored image's.
        scales: Shares of the input's size.
        gpus: Share of a GPU that one worker occupies.
        layer: Name of the explained layer.
        present: Probability from which on a class is present.
        quantile: Share of the cells that become 0 where scales are fused.
    """

    reads = ("trace", "trace_row", "probs", "outputs", "top_class", "label", "others")
    adds = ("cells", "foreground")

    def __init__(
        self,
        targets: list[str],
        flip: bool,
        scales: Sequence[float],
        gpus: float,
        layer: str,
        present: float,
        quantile: float,
    ) -> None:
        self.targets, self.flip, self.scales = targets, flip, scales
        self.layer, self.present, self.quantile = layer, present, quantile
        self.resources = Resources(cpus=1, gpus=gpus)

    def setup(self) -> None:
        """Do nothing: the classifier holds the network."""

    def __call__(self, batch: Batch, trace: Trace) -> Batch:
        """Choose the cells of one batch.

        Args:
            batch: Images, each with its place in the trace.
            trace: Trace that is explained as a whole.
        """
        import torch

        from stages.explain.maps import Maps

        label, traced = batch["label"], batch["trace_row"]
        others: Sequence[Mapping[int, object]] = batch.get("others", [MappingProxyType({})] * len(label))
        chosen = choose(self.targets, self.present, label, others, batch["top_class"], batch["probs"])
        first = chosen.kept.argmax(1)  # An image without any has none of its cells chosen, below.
        wanted: list[bool] = np.any(chosen.kept, axis=1).tolist()
        classes = np.take_along_axis(chosen.classes, first[:, None], 1)
        of_all = np.zeros((len(trace.inputs), 1), np.int64)
        of_all[traced] = np.take_along_axis(batch["outputs"], classes, 1)
        maps = Maps(trace, self.flip, self.scales, torch.from_numpy(of_all).to(trace.logits.device))
        by_scale = maps.class_activation([self.layer])
        features = maps.features([self.layer])
        shape = features.shape[2], features.shape[3]
        cells, foreground = [], []
        for row, image in enumerate(traced):
            map = fused([one[image, 0] for one in by_scale], self.quantile)
            usable = wanted[row] and bool(np.isfinite(map).all())
            places, targets = seeds(map if usable else np.full_like(map, 0.2), shape)
            at = torch.from_numpy(places).to(features.device)
            cells.append(features[image].flatten(1)[:, at].T.float().cpu().numpy())
            foreground.append(targets == 1)
        found = {name: batch[name] for name in ("image_id", "uri")}
        return found | {"cells": ragged(cells), "foreground": ragged(foreground)}


class FiniteCells:
    """Leaves out cells with a feature that is not finite."""

    reads = ("cells", "foreground")
    adds = ()
    resources = Resources(cpus=1)

    def setup(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Check the cells of one batch."""
        finite = [np.isfinite(one).all(1) for one in batch["cells"]]
        for name in ("cells", "foreground"):
            batch[name] = ragged(one[usable] for one, usable in zip(batch[name], finite, strict=True))
        return batch
