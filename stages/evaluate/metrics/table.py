"""The table of metrics, in the order in which people see them. A new one is a counter and a row here."""

from __future__ import annotations

from typing import Any

from stages.evaluate.metrics.boxes import BOXES
from stages.evaluate.metrics.classification import CLASSIFICATION
from stages.evaluate.metrics.contract import Counter, Metric, by_name
from stages.evaluate.metrics.losses import LOSSES
from stages.evaluate.metrics.pixels import PIXELS
from stages.evaluate.metrics.strata import STRATA
from stages.evaluate.metrics.sweep import SWEEP

METRICS = by_name(
    Metric(
        name="gt_known_loc",
        title="GT-known localization",
        short="GT-known",
        definition="share of images whose box for the true label reaches the IoU (fixed threshold)",
        counter=BOXES,
        levels=True,
        columns="all",
        zero_line=True,
        paired="label",
    ),
    Metric(
        name="top1_loc",
        title="Top-1 localization",
        short="top-1 loc",
        definition="the same with the first prediction's box, and the prediction right",
        counter=BOXES,
        levels=True,
        paired="top1",
    ),
    Metric(
        name="top5_loc",
        title="Top-5 localization",
        short="top-5 loc",
        definition="the same with any of the first five predictions",
        counter=BOXES,
        levels=True,
        paired="top5",
    ),
    Metric(
        name="mean_iou",
        title="Mean IoU",
        short="mean IoU",
        definition="mean IoU of the true label's box",
        counter=BOXES,
        unit="",
        zero_line=True,
        paired="label",
    ),
    Metric(
        name="corloc",
        title="CorLoc",
        definition="the same share within each class, averaged over classes (fixed threshold)",
        counter=STRATA,
        levels=True,
        zero_line=True,
    ),
    Metric(
        name="gt_known_loc_calibrated",
        title="GT-known, calibrated threshold",
        short="calibrated",
        definition="GT-known at the threshold that is best on the images of another run (calibrated)",
        counter=SWEEP,
        levels=True,
        columns="all",
        threshold_from="calibration",
    ),
    Metric(
        name="max_box_acc",
        title="MaxBoxAcc (oracle threshold)",
        short="MaxBoxAcc",
        definition="GT-known at the best threshold, chosen on the scored images (oracle)",
        counter=SWEEP,
        levels=True,
        columns="all",
        zero_line=True,
        threshold_from="oracle",
    ),
    Metric(
        name="max_box_acc_v2",
        title="MaxBoxAccV2 (oracle thresholds)",
        short="MaxBoxAccV2",
        definition="mean over IoU 0.3, 0.5, 0.7 of the best GT-known, each at its own threshold (oracle)",
        counter=SWEEP,
        zero_line=True,
        threshold_from="oracle",
    ),
    Metric(
        name="clsloc_error",
        title="ILSVRC localization error",
        definition="share of images without a right class and box among one or five guesses (ILSVRC's rule)",
        counter=BOXES,
        better="lower",
        columns="none",
    ),
    Metric(
        name="pointing_game",
        title="Pointing game",
        definition="share of maps whose maximum is within 15 pixels of the object, averaged over classes",
        counter=PIXELS,
        zero_line=True,
        threshold_from=None,
    ),
    Metric(
        name="energy_pointing_game",
        title="Energy pointing game",
        definition="share of the map's positive values that lies on the object (its box without masks)",
        counter=PIXELS,
        zero_line=True,
        threshold_from=None,
    ),
    Metric(
        name="pxap",
        title="PxAP",
        definition="average precision of pixels pooled over all images with masks (all thresholds)",
        counter=PIXELS,
        zero_line=True,
        threshold_from=None,
    ),
)
"""Metrics of a method, and of baselines where they have a zero line: keys of entries in ``metrics.json``."""

OF_CLASSES = by_name(
    Metric(
        name="top1",
        title="Top-1 classification",
        short="top-1 classification",
        definition="share of images whose first prediction is the label",
        counter=CLASSIFICATION,
        threshold_from=None,
    ),
    Metric(
        name="top5",
        title="Top-5 classification",
        short="top-5 classification",
        definition="share of images whose label is among the first five predictions",
        counter=CLASSIFICATION,
        threshold_from=None,
    ),
)
"""Metrics of the network's predictions, whatever the method: keys under ``classification``."""

COMPOSITES = {
    "coco": "COCO detection metrics of the predicted classes' boxes",
    "strata": "GT-known by size and number of objects, border contact and class",
    "losses": "images decoded, classified, localized, and what is wrong with the others",
    "zero_line": "the best of whole image, centred Gaussian and random box in each metric",
    "classification": "top-1 and top-5 accuracy",
}
"""Entries of ``metrics.json`` that hold more than one number."""


def counters() -> dict[str, Counter[Any]]:
    """The counters of a method's rows, by name, in the order of their entries in ``metrics.json``."""
    shared: tuple[Counter[Any], ...] = (BOXES, SWEEP, PIXELS, STRATA, LOSSES)
    return {one.name: one for one in (*shared, *(metric.counter for metric in METRICS.values()))}
