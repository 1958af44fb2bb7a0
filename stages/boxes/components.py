"""Connected components of a mask, the chosen one, and its box."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from stages.batch import Batch, Resources, ragged, take
from stages.boxes.all_thresholds import sweep_boxes, sweep_contours
from stages.boxes.frame import scored_empty, scored_in_frame
from stages.boxes.instances import further_components
from stages.boxes.largest import largest_pixels
from stages.boxes.protocols import Protocol
from stages.boxes.size_rule import shrunk
from stages.ingest.geometry import to_displayed

MOST = 127
"""Most components of a map: they are counted in 8 bits."""

Key = tuple[int, str, int, bytes]
"""Image, method and class of a map, and its values: ``explain.contrast`` gives a label another than a prediction."""


def keys_of_maps(batch: Batch) -> Iterator[Key]:
    """The key of each row's map: rows of one key share it. A further component's is that of the map before it."""
    columns = (batch[name] for name in ("image_id", "method", "class_index", "map"))
    key: Key = (0, "", 0, b"")
    for image, method, index, map in zip(*columns, strict=True):
        if map.size:
            key = image, method, index, map.tobytes()
        yield key


def contour_boxes(mask: np.ndarray) -> np.ndarray:
    """Boxes of all contours of a mask, including those of holes and of components inside holes.

    The contours are 8-connected. The first box is that of the contour that encloses the largest
    polygon, first in OpenCV's order among equals; the others follow in OpenCV's order.

    Args:
        mask: (h, w) bool.

    Returns:
        (n, 4) float32 xyxy, half-open pixel edges.
    """
    contours = list(cv2.findContours(mask.view(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0])
    if not contours:
        return np.zeros((0, 4), np.float32)
    contours.insert(0, contours.pop(int(np.argmax([cv2.contourArea(contour) for contour in contours]))))
    boxes = np.array([cv2.boundingRect(contour) for contour in contours], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def component_box(mask: np.ndarray, protocol: Protocol, heat: np.ndarray | None = None) -> np.ndarray | None:
    """Box of the component that the protocol chooses.

    Args:
        mask: (h, w) bool.
        protocol: Rules; ``component`` and ``connectivity`` apply.
        heat: (h, w) float32 that the mask was cut from; ``peak`` looks for its maximum.

    Returns:
        (4,) float32 xyxy, half-open pixel edges; None where the mask is empty.
    """
    if protocol.component == "largest_pixels":
        return largest_pixels(mask, protocol.connectivity)
    if protocol.component == "largest_contour":
        boxes = contour_boxes(mask)
        return boxes[0] if len(boxes) else None
    if not mask.any():
        return None
    # Within the mask the values keep the peak in place; outside nothing is above 0.
    values = mask.astype(np.float32)
    if protocol.component == "peak" and heat is not None:
        values[np.unravel_index(heat.argmax(), heat.shape)] = 2
    box: np.ndarray = sweep_boxes(values, np.zeros(1), protocol.connectivity, protocol.component)[0]
    return box


def sweep(heat: np.ndarray, protocol: Protocol) -> tuple[np.ndarray, np.ndarray | None]:
    """Boxes at every threshold of the protocol's sweep.

    Args:
        heat: (size, size) float32 from :func:`stages.boxes.threshold.heat`.
        protocol: Rules; ``component``, ``v2_component`` and ``connectivity`` apply.

    Returns:
        The chosen component's boxes, (T, 4) float32, half-open pixel edges, zeros where there is none;
        and, under ``v2_component: all_contours``, all of them as (M, 5): index of the threshold, xyxy.
    """
    cutoffs = protocol.cutoffs(protocol.sweep_thresholds())
    chosen = sweep_boxes(heat, cutoffs, protocol.connectivity, protocol.component)
    if protocol.v2_component == "chosen":
        return chosen, None
    found = sweep_contours(heat, cutoffs)
    # A threshold without any contour is scored as well: as an empty map.
    nothing = np.setdiff1d(np.arange(len(cutoffs)), found[:, 0])
    empty = np.pad(nothing[:, None].astype(np.float32), ((0, 0), (0, 4)))
    found = np.concatenate([found, empty])
    return chosen, found[np.argsort(found[:, 0], kind="stable")]


class Components:
    """The box of each mask's chosen component, and the boxes of the threshold sweep.

    Adds ``box`` (R, 4) float32 in displayed pixels, zeros where the mask is empty; ``scored_box``
    (R, 4) float32, the same in the frame and convention that the protocol scores in; and, for rows of
    the ground-truth label that have ground-truth boxes, ``sweep_box`` (T, 4) and ``sweep_all`` (M, 5)
    (index of the threshold, xyxy) in the scoring frame, else None. Drops ``heat`` and ``mask``.

    With ``every``, the rows of further components follow that of the first, with a map of no pixels. ``component``
    (R,) int8 counts them, from 0, and ``peak`` (R,) float32 is the maximum of the component as a share of the map's,
    1 for the first.

    Rows of one image, method and class share one map and are computed once; a label's row may have one of its own.
    """

    reads = (
        *("image_id", "method", "target_rank", "class_index", "label", "boxes"),
        *("map", "heat", "mask", "transform", "width", "height"),
    )
    adds = ("box", "scored_box", "sweep_box", "sweep_all", "component", "peak")
    resources = Resources(cpus=1)

    def __init__(self, protocol: Protocol, size: int, sweep: bool = True, every: bool = False) -> None:
        """Prepare the stage.

        Args:
            protocol: The rules.
            size: Side of the network's input frame.
            sweep: Whether to compute the boxes at all thresholds.
            every: Whether further components have rows of their own.
        """
        self.protocol = protocol
        self.size = size
        self.sweep = sweep
        self.every = every

    def setup(self) -> None:
        """Compile the numba functions, or load them from the cache."""
        largest_pixels(np.zeros((2, 2), bool), self.protocol.connectivity)
        sweep(np.zeros((2, 2), np.float32), self.protocol)

    def __call__(self, batch: Batch) -> Batch:
        """Find the boxes of every row."""
        swept, everything = self._sweeps(batch)
        rows, in_frame, component, peak = self._found(batch)
        kept = take({name: column for name, column in batch.items() if name not in ("heat", "mask")}, rows)
        box, scored = self._boxes(kept, in_frame)
        swept, everything = swept[rows], everything[rows]
        for row in np.flatnonzero(component):
            kept["map"][row], swept[row], everything[row] = np.zeros((0, 0), np.float16), None, None
            for name in {"map_by_scale", "map_foreground"} & kept.keys():
                kept[name][row] = ()
        return {
            **kept,
            **{"box": box, "scored_box": scored, "sweep_box": swept, "sweep_all": everything},
            **{"component": component, "peak": peak},
        }

    def _found(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The row of each component's map, its box in the frame, zeros where there is none, its number and its peak."""
        seen: dict[Key, list[tuple[np.ndarray, float]]] = {}
        rows, boxes, component, peak = [], [], [], []
        for row, key in enumerate(keys_of_maps(batch)):
            if key not in seen:
                mask, heat = batch["mask"][row], batch["heat"][row]
                first = component_box(mask, self.protocol, heat)
                seen[key] = [(np.zeros(4, np.float32) if first is None else first, 1.0)]
                if self.every and first is not None:
                    seen[key] += further_components(mask, heat, first, self.protocol)
            for number, (box, share) in enumerate(seen[key][:MOST]):
                rows.append(row)
                boxes.append(box)
                component.append(number)
                peak.append(share)
        in_frame = shrunk(np.array(boxes, np.float32).reshape(-1, 4), self.size, self.protocol.shrink)
        return np.array(rows, np.int64), in_frame, np.array(component, np.int8), np.array(peak, np.float32)

    def _boxes(self, batch: Batch, in_frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes in displayed pixels, and in the frame and convention that the protocol scores in."""
        empty = ~(in_frame[:, 2] > in_frame[:, 0])
        box = to_displayed(in_frame, batch["transform"], batch["width"], batch["height"])
        box[empty] = 0
        scored = box.copy()
        if self.protocol.frame == "resized":
            scored = scored_in_frame(in_frame, self.protocol, self.size)
        scored[empty] = scored_empty(self.protocol)
        return box, scored

    def _sweeps(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        known = np.array([len(boxes) > 0 for boxes in batch["boxes"]], bool) & (batch["label"] >= 0)
        rows = np.flatnonzero(known & (batch["target_rank"] == 0)).tolist() if self.sweep else []
        chosen, everything = ragged([None] * len(known)), ragged([None] * len(known))
        for row in rows:
            boxes, others = sweep(batch["heat"][row], self.protocol)
            chosen[row] = self._scored(boxes, batch, row)
            if others is not None:
                everything[row] = np.column_stack([others[:, 0], self._scored(others[:, 1:], batch, row)])
        return chosen, everything

    def _scored(self, boxes: np.ndarray, batch: Batch, row: int) -> np.ndarray:
        """Boxes of one image's frame, zeros where empty, by the size rule and in the scoring frame."""
        boxes = shrunk(boxes, self.size, self.protocol.shrink)
        empty = ~(boxes[:, 2] > boxes[:, 0])
        if self.protocol.frame == "original":
            scored = to_displayed(boxes, *(batch[name][row] for name in ("transform", "width", "height")))
        else:
            scored = scored_in_frame(boxes, self.protocol, self.size)
        scored[empty] = scored_empty(self.protocol)
        return scored
