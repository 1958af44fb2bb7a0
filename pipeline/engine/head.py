"""The second phase of a training with a frozen trunk: a head, from stored features to a model that describes itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.engine.examples import examples_of
from pipeline.engine.training import Inputs
from pipeline.store.info import RunInfo
from pipeline.store.training import TrainDir
from stages.boxes.iou import at_least, best_iou
from stages.classify.architectures.headed import Headed, make_head, trunk_of
from stages.classify.sources.described import Description, to_bytes
from stages.errors import ConfigurationError
from stages.evaluate.statistics.bootstrap import mean, proportion, proportions
from stages.ingest.records import ImageRecord
from stages.train.boxes import displayed_boxes
from stages.train.head import Curve, Examples, Settings, State, outputs_of, seed_of, train_head
from stages.train.splits import SPLITS, TEST, TRAIN, VALIDATION
from stages.train.tasks import Task
from stages.train.tasks.classify import Classify
from stages.train.tasks.localize import Localize

log = logging.getLogger("wsl_pipeline")

TOP = 5
DELTAS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Trained:
    """What a training comes to.

    Attributes:
        model: Content of ``model.pt``.
        metrics: Content of ``metrics.json``.
        curves: All values of the curves.
        predictions: (id, label, most probable class, its probability, whether the image shows it) of each test image.
    """

    model: bytes
    metrics: dict[str, Any]
    curves: list[Curve]
    predictions: list[tuple[int, int, int, float, bool]]


def train_on_features(directory: TrainDir, found: Inputs, info: RunInfo) -> Trained:
    """Train the head, from the last checkpoint on, and measure it on the test images.

    Args:
        directory: The training, with all its features.
        found: Its inputs.
        info: Its ``run.json``.

    Raises:
        DataError: A split has no image left.
        ConfigurationError: The loss is not finite, or a checkpoint is that of another training; all are kept.
    """
    examples, images, failed = examples_of(directory, found, info)
    head, task, settings = _first_head(found), _task(found), _settings(found)
    origin = info.origin()
    state, best = _last_states(directory, origin)
    if state is not None:
        log.info("going on after epoch %d", state.epoch)
    for after in train_head(head, task, examples[TRAIN], examples[VALIDATION], settings, state):
        directory.save(after.epoch, after.best, after.to_bytes(origin))
        state = after
        best = after if after.best == after.epoch else best
    assert state is not None and best is not None, "there is one epoch at least, and the first is the best so far"
    head.load_state_dict(best.head)
    outputs = outputs_of(head, task, examples[TEST].features)
    metrics = _metrics(found, head, examples, state, outputs["logits"])
    metrics |= {"n_images": info.images, "n_failed": failed}
    if "boxes" in outputs:
        metrics["methods"] = {"box": _box_scores(found, images[TEST], outputs["boxes"].numpy())}
    predictions = _predictions(found, images[TEST], examples[TEST].targets["classes"], outputs["logits"])
    return Trained(_model_bytes(found, head), metrics, state.curves, predictions)


def _task(found: Inputs) -> Task:
    classify = Classify(found.exclusive)
    return Localize(classify, found.config.optimizer.alpha) if found.config.model.box else classify


def _box_scores(found: Inputs, images: Sequence[ImageRecord], boxes: np.ndarray) -> dict[str, Any]:
    """GT-known and the mean IoU of boxes, of the images with a box of their label."""
    pixels, fit = found.preprocess, found.config.model.fit
    shown = displayed_boxes(boxes, images, pixels.size, fit, pixels.crop_ratio)
    truth = [record.boxes[record.box_labels == record.label] for record in images]
    overlaps = best_iou(shown, np.concatenate(truth), np.array([len(one) for one in truth]), "continuous")
    overlaps = overlaps[~np.isnan(overlaps)]
    if not len(overlaps):
        return {}
    seed = found.config.seed
    hits = at_least(overlaps, DELTAS).sum(1)
    return {"gt_known_loc": proportions(hits, len(overlaps), DELTAS, seed), "mean_iou": mean(overlaps, seed)}


def _predictions(
    found: Inputs, images: Sequence[ImageRecord], targets: Tensor, logits: Tensor
) -> list[tuple[int, int, int, float, bool]]:
    probabilities = logits.softmax(1) if found.exclusive else logits.sigmoid()
    best = logits.argmax(1)
    columns = zip(
        [record.image_id for record in images],
        [record.label for record in images],
        best.tolist(),
        probabilities.gather(1, best[:, None])[:, 0].tolist(),
        (targets.gather(1, best[:, None])[:, 0] > 0).tolist(),
        strict=True,
    )
    return list(columns)


def _last_states(directory: TrainDir, origin: str) -> tuple[State | None, State | None]:
    """The latest state and the best one; None twice where no checkpoint has both."""
    for epoch in directory.epochs():
        state = _state(directory, epoch, origin)
        best = _state(directory, state.best, origin) if state else None
        if state and best:
            return state, best
    return None, None


def _state(directory: TrainDir, epoch: int, origin: str) -> State | None:
    """The state of a checkpoint, if it is there and whole.

    Raises:
        ConfigurationError: It belongs to another training.
    """
    data = directory.checkpoint(epoch)
    if data is None:
        return None
    try:
        found, state = State.of_bytes(data)
    except ValueError as error:
        directory.set_aside(epoch, str(error))
        return None
    if found != origin:
        raise ConfigurationError(f"{directory}: the checkpoint of epoch {epoch} is of another training; remove it")
    return state


def _settings(found: Inputs) -> Settings:
    optimizer = found.config.optimizer
    return Settings(
        epochs=optimizer.epochs,
        patience=optimizer.patience,
        batch_size=optimizer.batch_size,
        learning_rate=optimizer.learning_rate,
        weight_decay=optimizer.weight_decay,
        seed=found.config.seed,
        flip=optimizer.flip,
    )


def _first_head(found: Inputs) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(found.config.seed, 0))
        return make_head(found.config.model.head, found.shape, found.config.model.box)


def _model_bytes(found: Inputs, head: nn.Module) -> bytes:
    """The trunk and the head as one file."""
    from stages.classify.sources import load_network

    model, data = found.config.model, found.config.data
    trunk = trunk_of(load_network(model.spec).module, found.layer)
    description = Description(
        arch=found.arch,
        layer=found.layer,
        head=model.head,
        boxed=model.box,
        shape=found.shape,
        classes=tuple(found.classes),
        outputs="softmax" if found.exclusive else "sigmoid",
        preprocess=found.preprocess,
        fit=model.fit,
        trained_on={
            "format": data.format,
            "images": found.counts,
            "images_sha256": found.images_sha256,
            "trunk_sha256": found.weights_sha256,
            "optimizer": found.config.optimizer.model_dump(),
            "seed": found.config.seed,
        },
    )
    return to_bytes(description, Headed(trunk, head))


def _metrics(
    found: Inputs, head: nn.Module, examples: dict[str, Examples], state: State, logits: Tensor
) -> dict[str, Any]:
    """The scores on the test images, and where they come from."""
    test = examples[TEST]
    order = logits.argsort(1, descending=True)
    shown = test.targets["classes"]
    right = shown.gather(1, order).numpy() > 0
    seed, count = found.config.seed, len(test)
    classification = {"top1": proportion(int(right[:, 0].sum()), count, seed)}
    if len(found.classes) > TOP:
        classification["top5"] = proportion(int(right[:, :TOP].any(1).sum()), count, seed)
    common = int(examples[TRAIN].targets["classes"].sum(0).argmax())
    guessed = proportion(int(shown[:, common].sum()), count, seed)
    names = {metric: state.value(state.best, VALIDATION, metric) for metric in ("loss", "accuracy")}
    return {
        "schema": 1,
        "protocol": "",
        "protocol_fingerprint": "",
        "classification": classification,
        "methods": {},
        "baselines": {"most_frequent_class": {"top1": guessed}},
        "training": {
            "images": {name: len(examples[name]) for name in SPLITS},
            "epochs": state.epoch,
            "best_epoch": state.best,
            "train": {"loss": state.value(state.best, TRAIN, "loss")},
            "validation": names,
            "parameters": sum(one.numel() for one in head.parameters()),
        },
    }
