"""The images of a training as its head sees them: stored features, and what it shall give for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.engine.training import Inputs
from pipeline.store.info import RunInfo
from pipeline.store.training import TrainDir, read_splits
from stages.errors import DataError
from stages.ingest.records import ImageRecord
from stages.train.boxes import learnt_boxes
from stages.train.head import Examples
from stages.train.splits import SPLITS, TRAIN

log = logging.getLogger("wsl_pipeline")


def examples_of(
    directory: TrainDir, found: Inputs, info: RunInfo
) -> tuple[dict[str, Examples], dict[str, list[ImageRecord]], int]:
    """The features and targets of each split, its images, and the number of images that failed.

    Raises:
        DataError: A split has no image left, a class none to train on, or no image has a box to learn.
    """
    ids, splits, _ = read_splits(directory)
    records = {record.image_id: record for record in found.records}
    # It sees their mean alone, a share of the memory.
    pooled = found.config.model.head == "gap" and not found.config.model.box
    features: dict[str, list[Tensor]] = {name: [] for name in SPLITS}
    images: dict[str, list[ImageRecord]] = {name: [] for name in SPLITS}
    failed = 0
    for of_part, values, missing in directory.features(info):
        failed += missing
        at = np.searchsorted(ids, of_part)
        # As the trunk gives them: means over another layout differ in the last bit.
        tensors = torch.tensor(values).to(memory_format=torch.channels_last)
        tensors = nn.functional.adaptive_avg_pool2d(tensors, 1) if pooled else tensors
        for name in SPLITS:
            own = splits[at] == name
            features[name].append(tensors[torch.from_numpy(own)])
            images[name] += [records[one] for one in of_part[own].tolist()]
    for name in SPLITS:
        if not images[name]:
            raise DataError(f"data: no image of the {name} split can be used: {directory.where('errors')} says why")
    examples = {name: Examples(torch.cat(features.pop(name)), _targets(images[name], found)) for name in SPLITS}
    _check(examples[TRAIN], found, directory)
    return examples, images, failed


def _targets(records: Sequence[ImageRecord], found: Inputs) -> dict[str, Tensor]:
    classes = torch.zeros(len(records), len(found.classes))
    for row, record in enumerate(records):
        classes[row, [record.label] if found.exclusive else list(record.shown)] = 1.0
    if not found.config.model.box:
        return {"classes": classes}
    pixels = found.preprocess
    boxes, boxed = learnt_boxes(records, pixels.size, found.config.model.fit, pixels.crop_ratio)
    return {"classes": classes, "boxes": torch.from_numpy(boxes), "boxed": torch.from_numpy(boxed).float()}


def _check(train: Examples, found: Inputs, directory: TrainDir) -> None:
    if bare := (train.targets["classes"].sum(0) == 0).nonzero().flatten().tolist():
        raise DataError(
            f"data: no image to train on that could be read shows {found.classes[bare[0]].name}: "
            f"{directory.where('errors')} says why"
        )
    boxed = train.targets.get("boxed")
    if boxed is None:
        return
    if not boxed.any():
        raise DataError("data: no image to train on has a box of its class; add some, or set model.box=false")
    if without := int((boxed == 0).sum()):
        log.warning("%d of %d images to train on have no box of their class: they teach it alone", without, len(boxed))
