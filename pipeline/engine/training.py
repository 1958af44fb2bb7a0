"""Preparation of a training: the images and their splits, the trunk, and what ``run.json`` says of them."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from dataclasses import asdict, dataclass, replace

from pipeline.config.history import config_hash
from pipeline.config.load import config_text
from pipeline.config.training import TrainConfig
from pipeline.engine.prepare import versions
from pipeline.engine.training_images import digest_of, images_of
from pipeline.store.directory import MANIFEST_FILE
from pipeline.store.info import SCHEMA, Pixels, RunInfo
from pipeline.store.manifest import shard_length
from pipeline.store.training import TrainDir, manifest_bytes
from stages.classes import ClassInfo
from stages.classify.architectures.head_shape import HeadShape
from stages.classify.network import Preprocess
from stages.classify.sources.architecture import architecture_of
from stages.errors import ConfigurationError
from stages.ingest.depth import find_levels
from stages.ingest.levels import Levels
from stages.ingest.records import ImageRecord
from stages.train.splits import SPLITS

log = logging.getLogger("wsl_pipeline")

MOST_PER_PART = 256
"""Most images whose features are stored together: 64 MB where an image has 7 x 7 x 1280 of them."""


@dataclass(frozen=True)
class Inputs:
    """Inputs of a training.

    Attributes:
        config: Its configuration.
        records: The images, labelled by class.
        splits: Name of the split of each.
        images_sha256: Digest of their contents and splits, wherever they lie.
        classes: The classes, in the order of the outputs.
        exclusive: Whether every image shows one class.
        arch: Architecture of the trunk.
        layer: Its last layer.
        preprocess: Its preprocessing, at the side of its input.
        weights_sha256: Digest of its weights.
        shape: What the head is made for.
        levels: Black and white of images with more than 8 bits.
        notes: Oddities of the data, one line each.
    """

    config: TrainConfig
    records: list[ImageRecord]
    splits: list[str]
    images_sha256: str
    classes: list[ClassInfo]
    exclusive: bool
    arch: str
    layer: str
    preprocess: Preprocess
    weights_sha256: str
    shape: HeadShape
    levels: Levels
    notes: list[str]

    @property
    def counts(self) -> dict[str, int]:
        """Number of images by split."""
        found = Counter(self.splits)
        return {name: found[name] for name in SPLITS}


def survey(config: TrainConfig, levels: Levels | None = None) -> Inputs:
    """Read the annotations, deal out the images and load the trunk; nothing is written.

    Args:
        config: The configuration.
        levels: Black and white of the images with more than 8 bits, where they are decided.

    Raises:
        UserError: Something is missing or does not fit.
    """
    images = images_of(config)
    notes = list(images.notes)
    if levels is None:
        depth = config.data.depth
        levels, lines = find_levels(images.records, None if depth == "auto" else depth)
        notes += [f"data.depth: {line}" for line in lines]
    if images.exclusive and any(len(record.shown) > 1 for record in images.records):
        notes.append("some images show several classes: only the first counts; model.outputs=sigmoid learns all")
    arch = architecture_of(config.model.spec)
    if arch is None:
        raise ConfigurationError(
            f"model.spec: a trained model names the network that it was built from, and {config.model.spec} is known "
            "here alone; take torchvision:NAME@WEIGHTS, timm:NAME, lite0 to lite2, or file:PATH?arch=NAME"
        )
    layer, preprocess, digest, shape = _trunk(config, len(images.classes))
    return Inputs(
        config=config,
        records=images.records,
        splits=images.splits,
        images_sha256=digest_of(images),
        classes=images.classes,
        exclusive=images.exclusive,
        arch=arch,
        layer=layer,
        preprocess=preprocess,
        weights_sha256=digest,
        shape=shape,
        levels=levels,
        notes=notes,
    )


def examine(directory: TrainDir, found: Inputs) -> tuple[RunInfo, bytes | None]:
    """The ``run.json`` of a training, and the bytes of its manifest where it was not begun yet; nothing is written.

    Raises:
        UserError: An annotation cannot be stored, or something has changed since the training was begun.
    """
    manifest = manifest_bytes(found.records, found.splits)
    digest = hashlib.sha256(manifest).hexdigest()
    if not directory.begun:
        return _first_info(found, digest), manifest
    info = directory.info()
    directory.check_manifest()
    for before, now, what in (
        (info.weights_sha256, found.weights_sha256, "model.spec: the weights have"),
        (info.manifest_sha256, digest, f"data: the images or annotations ({info.images} then) have"),
        (info.precision, found.config.runtime.precision, "runtime.precision has"),
    ):
        if before != now:
            raise ConfigurationError(f"{what} changed since {directory} was begun; choose another --out")
    return info, None


def begin(directory: TrainDir, found: Inputs, info: RunInfo, manifest: bytes) -> None:
    """Write the files that a training needs before its first features; the manifest last."""
    for note in found.notes:
        log.warning("%s", note)
    directory.write("config.yaml", config_text(found.config))
    info.config_sha256 = directory.written["config.yaml"]
    directory.write_info(info)
    directory.write(MANIFEST_FILE, manifest)


def _first_info(found: Inputs, digest: str) -> RunInfo:
    runtime = found.config.runtime
    return RunInfo(
        schema=SCHEMA,
        of=TrainDir.of,
        config_hash=config_hash(found.config),
        manifest_sha256=digest,
        weights_sha256=found.weights_sha256,
        images=len(found.records),
        labelled=len(found.records),
        boxes=sum(len(record.boxes) for record in found.records),
        dataset_classes={one.name: at for at, one in enumerate(found.classes)},
        shard_size=min(shard_length(len(found.records), runtime.shard_size), MOST_PER_PART),
        precision=runtime.precision,
        layer=found.layer,
        outputs="softmax" if found.exclusive else "sigmoid",
        preprocess=Pixels(**asdict(found.preprocess)),
        levels=dict(found.levels),
        notes=found.notes,
        versions=versions(),
    )


def _trunk(config: TrainConfig, classes: int) -> tuple[str, Preprocess, str, HeadShape]:
    """The last layer of the trunk, its preprocessing, the digest of its weights, and the shape of its maps.

    Raises:
        UserError: There is no such network or layer, or it gives no maps.
    """
    import torch

    from stages.classify.architectures.headed import MAPS, trunk_of
    from stages.classify.sources import load_network

    model = config.model
    network = load_network(model.spec)
    size = model.size or network.preprocess.size
    layer = network.resolve_layer(model.layer, size)
    trunk = trunk_of(network.module, layer)
    try:
        with torch.inference_mode():
            maps = trunk(torch.zeros(2, 3, size, size))[MAPS]
    except Exception as error:  # A network may raise anything.
        message = f"{model.spec} fails on images of {size} pixels: {type(error).__name__}: {error}"
        raise ConfigurationError(f"model.spec: {' '.join(message.split())}") from None
    if not isinstance(maps, torch.Tensor) or maps.ndim != 4 or min(maps.shape[2:]) < 2:
        raise ConfigurationError(f"model.layer: {layer} gives no map (N, K, h, w); name a convolutional layer")
    if maps.shape[2] != maps.shape[3]:
        raise ConfigurationError(f"model.layer: {layer} gives maps that are not square")
    shape = HeadShape(maps.shape[1], maps.shape[2], classes, model.channels, model.kernel)
    return layer, replace(network.preprocess, size=size), network.weights_sha256, shape
