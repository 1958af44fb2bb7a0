"""How far a run's boxes can be trusted, and a model of it that is fitted on labelled boxes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pipeline.config.keys import named_keys
from pipeline.exports.categories import Categories
from pipeline.scores.quality import MODEL, boxes_with_cues, method_of, quality_model, quality_models
from pipeline.store.review import read_stored
from pipeline.store.rundir import RunDir
from stages.boxes.iou import iou
from stages.errors import DataError
from stages.formats.labels import Box
from stages.quality.cues import CUES
from stages.quality.model import cross_fitted, fit
from stages.quality.scores import judged

RIGHT = 0.5
"""IoU from which on a box is right."""


class _Boxes(NamedTuple):
    """Boxes of labels: image, cues, and whether each is right."""

    ids: np.ndarray
    cues: np.ndarray
    right: np.ndarray


@named_keys()
def quality(run: RunDir, fit_on: RunDir | None = None, method: str | None = None) -> dict[str, Any]:
    """Judge the quality of a run's boxes where it has ground truth, and fit a model for it.

    Args:
        run: A finished run.
        fit_on: A finished run with ground truth, which may be the same; the model that is fitted on its boxes becomes
            that of the run.
        method: Entry of ``explain.methods``; the first where it is None.

    Returns:
        ``model`` (where it was fitted) and ``calibrated``; with ``fit_on``, ``fitted``: :func:`judged` on boxes of that
        run, each by a model that was fitted on others; where the run has ground truth, ``judged``: the same with the
        run's model, unless that has seen these boxes; otherwise ``note``.

    Raises:
        ConfigurationError: A run has no such method.
        DataError: A run is not complete, or ``fit_on`` has no ground truth.
    """
    found: dict[str, Any] = {}
    own = _boxes(run, method)
    seed = run.config().seed
    if fit_on is not None:
        known = own if fit_on.uri == run.uri else _boxes(fit_on, method)
        if not len(known.ids):
            raise DataError(f"{fit_on} has no box of a label with ground truth; fit on a run that has")
        models = fit(known.cues, known.right, f"{len(known.ids):,} boxes of {fit_on.uri}")
        found["fitted"] = judged(cross_fitted(known.cues, known.right, known.ids, seed), known.right, seed)
        run.write(MODEL, models.text().encode())
    model = quality_model(run, method_of(run, method))
    found = {"model": model.fitted_on, "calibrated": model.calibrated} | found
    if fit_on is not None and fit_on.uri == run.uri:
        return found
    if len(own.ids):
        return found | {"judged": judged(quality_models(run).quality(own.cues), own.right, seed)}
    return found | {"note": "the run has no ground truth: quality puts its boxes into an order, and is not judged"}


def _boxes(run: RunDir, method: str | None) -> _Boxes:
    """The boxes of a run whose image has ground truth of its label, or was reviewed, which counts instead."""
    method = method_of(run, method)
    ids, cues, overlaps = [np.zeros(0, np.int64)], [np.zeros((0, len(CUES)))], [np.zeros(0)]
    reviews = read_stored(run)
    categories = Categories(run, range(len(run.classes())))
    for part, found, _ in boxes_with_cues(run, method, [0], ["image_id", "iou", "class_index", "box"]):
        overlap = part["iou"].to_numpy(zero_copy_only=False).copy()
        for row, image in enumerate(part["image_id"].to_pylist()):
            if image in reviews:
                own = categories.index_of[part["class_index"][row].as_py()]
                drawn = [box for name, box in reviews[image].boxes if categories.index_named.get(name) == own]
                overlap[row] = _best(part["box"][row].as_py(), drawn)
        known = np.isfinite(overlap) & np.isfinite(found[:, 0])
        ids.append(part["image_id"].to_numpy()[known])
        cues.append(found[known])
        overlaps.append(overlap[known])
    return _Boxes(np.concatenate(ids), np.concatenate(cues), np.concatenate(overlaps) >= RIGHT)


def _best(box: list[float], drawn: list[Box]) -> float:
    """IoU of a box with the best one that a person drew around an object of its class."""
    return max((float(iou(np.array(box), np.array(own))) for own in drawn), default=0.0)
