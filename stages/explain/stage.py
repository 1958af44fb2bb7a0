"""From a traced forward pass to low-resolution maps: one row per image, method and explained class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stages.batch import Batch, Resources, ragged, take

if TYPE_CHECKING:
    from stages.explain.trace import Trace

LABEL = "label"


class Explain:
    """Applies every method to every target of a batch that :class:`Classify` traced.

    Args:
        methods: Names of explainers.
        targets: ``label`` and ``topK``: the ground-truth label (rank 0), the K best predictions (1..K).
        gpus: Share of a GPU that one worker occupies, the same as the classifier's.
    """

    reads = ("trace", "probs", "top_class", "label")
    adds = ("method", "target_rank", "class_index", "prob", "map", "map_scale")

    def __init__(self, methods: list[str], targets: list[str], gpus: float = 0) -> None:
        self.methods = methods
        self.with_label = LABEL in targets
        self.top_k = max((int(name.removeprefix("top")) for name in targets if name != LABEL), default=0)
        self.resources = Resources(cpus=1, gpus=gpus)

    def setup(self) -> None:
        """Nothing to prepare: methods are functions."""

    def __call__(self, batch: Batch) -> Batch:
        """Replace the image rows by prediction rows, sorted by image, method and rank.

        ``map`` is divided by ``map_scale``, its largest absolute value, and rounded to float16, so that
        every later number follows from what is stored. A map that is not finite keeps its values.
        """
        import torch

        from stages.explain.registry import get_explainer

        trace: Trace = batch.pop("trace")
        probs = batch.pop("probs")
        top_class, label = batch.pop("top_class"), batch["label"]
        count = len(label)
        ranks = ([0] if self.with_label else []) + list(range(1, min(self.top_k, top_class.shape[1]) + 1))
        # An image without a label is explained for class 0 like the others and the row dropped below.
        classes = np.stack([np.maximum(label, 0) if rank == 0 else top_class[:, rank - 1] for rank in ranks], 1)
        targets = torch.from_numpy(classes.astype(np.int64)).to(trace.logits.device)
        maps = [
            get_explainer(name, trace.head is not None).function(trace, targets[:, rank]).detach().float()
            for name in self.methods
            for rank in range(len(ranks))
        ]
        height, width = maps[0].shape[1:]
        stacked = torch.stack(maps, 1).cpu().numpy().reshape(-1, height, width)
        image_rows = np.repeat(np.arange(count), len(maps))
        rank_column = np.tile(np.array(ranks, dtype=np.int8), count * len(self.methods))
        class_column = np.tile(classes[:, None], (1, len(self.methods), 1)).reshape(-1).astype(np.int32)
        method_column = np.tile(np.repeat(np.array(self.methods, dtype=object), len(ranks)), count)
        scale = np.abs(stacked).max((1, 2))
        divisor = np.where(np.isfinite(scale) & (scale > 0), scale, 1)[:, None, None]
        rows = take(batch, image_rows) | {
            "method": method_column,
            "target_rank": rank_column,
            "class_index": class_column,
            "prob": probs[image_rows, class_column].astype(np.float32),
            "map": ragged((stacked / divisor).astype(np.float16)),
            "map_scale": scale.astype(np.float32),
        }
        return take(rows, (rank_column > 0) | (label[image_rows] >= 0))
