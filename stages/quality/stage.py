"""The quality of every box, as a column."""

from __future__ import annotations

import numpy as np

from stages.batch import Batch, Resources
from stages.boxes.components import Key, keys_of_maps
from stages.boxes.protocols import Protocol
from stages.quality.cues import cues_of
from stages.quality.model import shipped


class Quality:
    """Rates every box by the package's models: a rank, not a probability.

    Adds ``quality`` (R,) float32 in [0, 1], NaN where there is no box. A further component has the quality of its map's
    first box times its ``peak``, which is dropped. Reads ``map_by_scale``, too, where the batch has it.
    """

    reads = ("image_id", "method", "class_index", "prob", "map", "map_scale", "box_status", "peak")
    adds = ("quality",)
    resources = Resources(cpus=1)

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol

    def setup(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Rate every row; those that share a map share its cues."""
        found: dict[Key, np.ndarray | None] = {}
        quality = np.full(len(batch["prob"]), np.nan, np.float32)
        cues, rows = [], []
        by_scale = batch.get("map_by_scale", [()] * len(quality))
        for row, key in enumerate(keys_of_maps(batch)):
            if batch["box_status"][row] not in ("ok", "constant_map"):
                continue
            if key not in found:
                map = batch["map"][row].astype(np.float32) * batch["map_scale"][row]
                found[key] = cues_of(map, float(batch["prob"][row]), self.protocol, by_scale[row])
            own = found[key]
            if own is not None:
                cues.append(own)
                rows.append(row)
        if rows:
            quality[rows] = shipped().quality(np.stack(cues)) * batch["peak"][rows]
        kept = {name: column for name, column in batch.items() if name != "peak"}
        return {**kept, "quality": quality}
