"""Preparation of a training: the images and their splits, the trunk, and what ``run.json`` says of them."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

import numpy as np

from pipeline.config.history import config_hash
from pipeline.config.load import config_text
from pipeline.config.training import TrainConfig
from pipeline.engine.prepare import versions
from pipeline.store.directory import MANIFEST_FILE
from pipeline.store.info import SCHEMA, Pixels, RunInfo
from pipeline.store.manifest import select, shard_length
from pipeline.store.training import TrainDir, manifest_bytes
from stages.classes import ClassInfo, comparable
from stages.classify.architectures.headed import HeadShape
from stages.classify.network import Preprocess
from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.formats.table import defaults
from stages.ingest.depth import find_levels
from stages.ingest.levels import Levels
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.sizes import fill_sizes
from stages.ingest.uris import read_file
from stages.train.splits import SPLITS, TEST, TRAIN, VALIDATION, deal_out, leaked

log = logging.getLogger("wsl_pipeline")

MOST_PER_PART = 256
"""Most images whose features are stored together: 64 MB where an image has 7 x 7 x 1280 of them."""
_TOLD = 5


@dataclass(frozen=True)
class Plan:
    """Inputs of a training.

    Attributes:
        config: Its configuration.
        records: The images, labelled by class.
        splits: Name of the split of each.
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
    def size(self) -> int:
        """Side of the trunk's input in pixels."""
        return self.preprocess.size

    @property
    def counts(self) -> dict[str, int]:
        """Number of images by split."""
        found = Counter(self.splits)
        return {name: found[name] for name in SPLITS}


def survey(config: TrainConfig, levels: Levels | None = None) -> Plan:
    """Read the annotations, deal out the images and load the trunk; nothing is written.

    Args:
        config: The configuration.
        levels: Black and white of the images with more than 8 bits, where they are decided.

    Raises:
        UserError: Something is missing or does not fit.
    """
    records, splits, classes, notes = _images(config)
    if levels is None:
        depth = config.data.depth
        levels, lines = find_levels(records, None if depth == "auto" else depth)
        notes += [f"data.depth: {line}" for line in lines]
    several = any(len(record.shown) > 1 for record in records)
    exclusive = config.model.outputs == "softmax" or (config.model.outputs == "auto" and not several)
    if exclusive and several:
        notes.append("some images show several classes: only the first counts; model.outputs=sigmoid learns all")
    arch = _architecture(config.model.spec)
    layer, preprocess, digest, shape = _trunk(config, len(classes))
    return Plan(
        *(config, records, splits, classes, exclusive, arch, layer, preprocess, digest, shape, levels, notes),
    )


def examine(directory: TrainDir, found: Plan) -> tuple[RunInfo, bytes | None]:
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


def begin(directory: TrainDir, found: Plan, info: RunInfo, manifest: bytes) -> None:
    """Write the files that a training needs before its first features; the manifest last."""
    for note in found.notes:
        log.warning("%s", note)
    directory.write("config.yaml", config_text(found.config))
    info.config_sha256 = directory.written["config.yaml"]
    directory.write_info(info)
    directory.write(MANIFEST_FILE, manifest)


def _first_info(found: Plan, digest: str) -> RunInfo:
    runtime = found.config.runtime
    return RunInfo(
        schema=SCHEMA,
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
        preprocess=Pixels(**asdict(found.preprocess)),
        levels=dict(found.levels),
        notes=found.notes,
        versions=versions(),
    )


def _images(config: TrainConfig) -> tuple[list[ImageRecord], list[str], list[ClassInfo], list[str]]:
    """The labelled images with their splits, the classes, and notes."""
    data, seed = config.data, config.seed
    named = {name: part for name, part in _parts(config).items() if isinstance(part, str)}
    shares = {name: part for name, part in _parts(config).items() if not isinstance(part, str)}
    first = _read(config, data.split)
    classes, notes = list(first.classes), list(first.notes)
    if not classes:
        raise DataError("data: its images have no labels, and a head learns from them")
    if len(classes) < 2:
        raise DataError(f"data: all images are of one class, {classes[0].name}; a head tells several apart")
    own = select(first.records, data.sample, data.limit, seed)
    records, splits = own, [""] * len(own)
    for name, split in named.items():
        other = _read(config, split)
        notes += [f"{name}: {note}" for note in other.notes]
        found = _in_order_of(classes, other, name, split)
        records = records + select(found, data.sample, data.limit, seed)
        splits += [name] * (len(records) - len(splits))
    without = [row for row, record in enumerate(records) if record.label < 0]
    if without:
        notes.append(f"{len(without):,} of {len(records):,} images have no label: left out")
        kept = [row for row, record in enumerate(records) if record.label >= 0]
        records, splits = [records[row] for row in kept], [splits[row] for row in kept]
    if len({record.image_id for record in records}) < len(records):
        records = [replace(record, image_id=number) for number, record in enumerate(records, start=1)]
    contents = _contents(records)
    dealt = [row for row, split in enumerate(splits) if not split]
    labels = np.array([records[row].label for row in dealt])
    for row, split in zip(dealt, deal_out(labels, [contents[row] for row in dealt], shares, seed), strict=True):
        splits[row] = split
    notes += _contradictions(records, contents, classes)
    if out := leaked(splits, contents):
        example = f"{records[out[0]].file_name} of {splits[out[0]]}"
        notes.append(f"{len(out):,} images are in a later split as well: left out, such as {example}")
        kept = sorted(set(range(len(records))) - set(out))
        records, splits = [records[row] for row in kept], [splits[row] for row in kept]
    _check_counts(records, splits, classes, config)
    order = np.argsort([record.image_id for record in records], kind="stable").tolist()
    return [records[row] for row in order], [splits[row] for row in order], classes, notes


def _parts(config: TrainConfig) -> dict[str, float | str]:
    return {VALIDATION: config.data.validation, TEST: config.data.test}


def _read(config: TrainConfig, split: str) -> Dataset:
    """The images of a split with their sizes, which are then displayed ones.

    Where images are not divided into splits, all of them are those of ``train``.
    """
    data = config.data
    own = defaults(data.format)
    options = data.options | ({"split": split} if "split" in own else {})
    try:
        found = read_dataset(data.format, data.root, data.annotation_limit, **options)
    except ConfigurationError as error:
        if error.about != "split" or split != TRAIN:
            raise
        try:
            found = read_dataset(data.format, data.root, data.annotation_limit, **options | {"split": own["split"]})
        except ConfigurationError:
            raise error from None
    return fill_sizes(found)


def _in_order_of(classes: list[ClassInfo], other: Dataset, name: str, split: str) -> list[ImageRecord]:
    """The images of another split, labelled by the classes of the training split."""
    places = {comparable(one.name): at for at, one in enumerate(classes)}
    known = np.array([places.get(comparable(one.name), -1) for one in other.classes] + [-1], np.int32)
    strange = [one.name for one, at in zip(other.classes, known.tolist(), strict=False) if at < 0]
    if strange:
        raise DataError(f"data.{name}: {split} has classes that are not trained: {', '.join(strange[:_TOLD])}")
    return [
        replace(
            record,
            label=int(known[record.label]),
            labels=tuple(known[list(record.labels)].tolist()),
            box_labels=known[record.box_labels],
        )
        for record in other.records
    ]


def _contents(records: list[ImageRecord]) -> list[str]:
    """SHA-256 of each image's file; its uri where it cannot be read, which costs that image later."""

    def content(record: ImageRecord) -> str:
        try:
            return hashlib.sha256(read_file(record.uri)).hexdigest()
        except OSError:
            return record.uri

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(content, records))


def _contradictions(records: list[ImageRecord], contents: list[str], classes: list[ClassInfo]) -> list[str]:
    """A note where one picture stands under several classes."""
    labels: dict[str, dict[int, str]] = {}
    for record, content in zip(records, contents, strict=True):
        labels.setdefault(content, {}).setdefault(record.label, record.file_name)
    odd = [found for found in labels.values() if len(found) > 1]
    if not odd:
        return []
    example = " and ".join(f"{name} ({classes[label].name})" for label, name in odd[0].items())
    return [f"{len(odd):,} pictures stand under several classes, such as {example}"]


def _check_counts(records: list[ImageRecord], splits: list[str], classes: list[ClassInfo], config: TrainConfig) -> None:
    """Check that every class can be learnt, and that something is left to decide and to measure by.

    Raises:
        DataError: A class has no image to train on, or a split has none.
    """
    trained = Counter(record.label for record, split in zip(records, splits, strict=True) if split == TRAIN)
    bare = [one.name for at, one in enumerate(classes) if not trained[at]]
    if bare:
        more = f" and {len(bare) - _TOLD} more" if len(bare) > _TOLD else ""
        raise DataError(f"data: no image to train on shows {', '.join(bare[:_TOLD])}{more}; add some, or leave it out")
    for name in (VALIDATION, TEST):
        if name not in splits:
            raise DataError(
                f"data.{name}: {_parts(config)[name]} leaves no image; every class needs one for training, and one more"
            )


def _architecture(spec: str) -> str:
    """The name by which a trained file can say how its trunk is built.

    Raises:
        ConfigurationError: There is none.
    """
    library, _, rest = spec.partition(":")
    if library in ("torchvision", "timm"):
        return f"{library}:{rest.partition('@')[0]}"
    if library.startswith("lite"):
        return library
    if library == "file":
        from stages.classify.sources.file_spec import parse

        if arch := parse(rest).architecture:
            return arch
    raise ConfigurationError(
        f"model.spec: a trained model names the network that it was built from, and {spec} is known here alone; take "
        "torchvision:NAME@WEIGHTS, timm:NAME, lite0 to lite2, or file:PATH?arch=NAME"
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
    with torch.inference_mode():
        maps = trunk(torch.zeros(2, 3, size, size))[MAPS]
    if not isinstance(maps, torch.Tensor) or maps.ndim != 4 or min(maps.shape[2:]) < 2:
        raise ConfigurationError(f"model.layer: {layer} gives no map (N, K, h, w); name a convolutional layer")
    if maps.shape[2] != maps.shape[3]:
        raise ConfigurationError(f"model.layer: {layer} gives maps that are not square")
    shape = HeadShape(maps.shape[1], maps.shape[2], classes, model.channels, model.kernel)
    return layer, replace(network.preprocess, size=size), network.weights_sha256, shape
