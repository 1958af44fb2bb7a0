"""The output of a frozen trunk as a column, so that heads are trained on it without the network."""

from __future__ import annotations

import numpy as np

from stages.batch import Answer, Batch, ImageError, Resources
from stages.trace.trace import Trace


class Features:
    """Adds ``features``, (N, K, h, w) float32: the maps at the layer that the network is cut at.

    Images whose maps are not finite leave the batch.

    Args:
        gpus: Share of a GPU that one worker occupies.
    """

    reads = ("trace", "trace_row")
    adds = ("features",)

    def __init__(self, gpus: float = 0) -> None:
        self.resources = Resources(gpus=gpus)

    def setup(self) -> None:
        """Nothing needs to be prepared."""

    def __call__(self, batch: Batch, trace: Trace) -> Answer:
        """Take the maps of the batch's images from the trace."""
        maps = trace.activations.detach().float().cpu().numpy()[batch["trace_row"]]
        finite = np.isfinite(maps).all((1, 2, 3))
        message = "the network's maps are not finite numbers"
        errors = {row: ImageError("features", "NonFinite", message) for row in np.flatnonzero(~finite).tolist()}
        kept = {name: batch[name] for name in ("image_id", "uri", "machine")}
        return Answer(kept | {"features": maps}, errors)
