"""The images of a training: read, dealt out to its splits, and checked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from pipeline.config.training import TrainConfig
from pipeline.store.manifest import relabel, select
from stages.classes import ClassInfo
from stages.classify.match_classes import match_classes
from stages.errors import ConfigurationError, DataError
from stages.formats import read_dataset
from stages.formats.parts import UndividedError
from stages.formats.table import defaults
from stages.ingest.records import Dataset, ImageRecord
from stages.ingest.sizes import fill_sizes
from stages.ingest.uris import read_file
from stages.train.splits import TEST, TRAIN, VALIDATION, deal_out, leaked

_TOLD = 5


@dataclass
class Images:
    """The images of a training, while they are chosen.

    Attributes:
        records: The images.
        splits: The split of each; empty where it is not dealt out yet.
        contents: A digest of each image's content.
        classes: The classes.
        notes: Oddities, one line each.
        exclusive: Whether an image counts for its first class alone.
    """

    records: list[ImageRecord]
    splits: list[str]
    contents: list[str]
    classes: list[ClassInfo]
    notes: list[str]
    exclusive: bool = True

    def keep(self, rows: Iterable[int]) -> None:
        """Leave all other images out."""
        kept = list(rows)
        self.records = [self.records[row] for row in kept]
        self.splits = [self.splits[row] for row in kept]
        self.contents = [self.contents[row] for row in kept] if self.contents else []


def images_of(config: TrainConfig) -> Images:
    """The labelled images with their splits."""
    parts = {VALIDATION: config.data.validation, TEST: config.data.test}
    found = _all_images(config, {name: part for name, part in parts.items() if isinstance(part, str)})
    several = any(len(record.shown) > 1 for record in found.records)
    found.exclusive = config.model.outputs == "softmax" or (config.model.outputs == "auto" and not several)
    if len({record.image_id for record in found.records}) < len(found.records):
        found.records = [replace(record, image_id=number) for number, record in enumerate(found.records, start=1)]
    found.contents = _contents(found.records)
    dealt = [row for row, split in enumerate(found.splits) if not split]
    labels = np.array(_strata([found.records[row] for row in dealt], found.exclusive))
    shares = {name: part for name, part in parts.items() if not isinstance(part, str)}
    chosen = deal_out(labels, [found.contents[row] for row in dealt], shares, config.seed)
    for row, split in zip(dealt, chosen, strict=True):
        found.splits[row] = split
    found.notes += _contradictions(found)
    if out := leaked(found.splits, found.contents):
        example = f"{found.records[out[0]].file_name} of {found.splits[out[0]]}"
        found.notes.append(f"{len(out):,} images are in a later split as well: left out, such as {example}")
        found.keep(sorted(set(range(len(found.records))) - set(out)))
    _check_counts(found, parts)
    found.keep(np.argsort([record.image_id for record in found.records], kind="stable").tolist())
    return found


def _strata(records: Sequence[ImageRecord], exclusive: bool) -> list[int]:
    """The class by which each image is dealt out: its label, or the rarest of all that it shows."""
    if exclusive:
        return [record.label for record in records]
    counts = Counter(label for record in records for label in record.shown)
    return [min(record.shown, key=lambda label: (counts[label], label)) for record in records]


def _all_images(config: TrainConfig, named: Mapping[str, str]) -> Images:
    """The labelled images of the split that is trained on, and of others that have names.

    Args:
        config: The configuration.
        named: Name of the dataset's split by what it is for.
    """
    data, seed = config.data, config.seed
    first = _shown_alone(_read(config, data.split))
    if not first.classes:
        raise DataError("data: its images have no labels, and a head learns from them")
    if len(first.classes) < 2:
        raise DataError(f"data: all images are of one class, {first.classes[0].name}; a head tells several apart")
    own = select(first.records, data.sample, data.limit, seed)
    found = Images(own, [""] * len(own), [], list(first.classes), list(first.notes))
    for name, split in named.items():
        other = _read(config, split, about=name)
        if {one.uri for one in other.records} == {one.uri for one in first.records}:
            raise ConfigurationError(f"data.{name}: {split} is all that is trained on; write a share, such as 0.2")
        found.notes += [f"{name}: {note}" for note in other.notes]
        more = _by_classes(found.classes, other, name, split)
        found.records = found.records + select(more, data.sample, data.limit, seed)
        found.splits += [name] * (len(found.records) - len(found.splits))
    labelled = [row for row, record in enumerate(found.records) if record.label >= 0]
    if without := len(found.records) - len(labelled):
        found.notes.append(f"{without:,} of {len(found.records):,} images have no label: left out")
        found.keep(labelled)
    return found


def _read(config: TrainConfig, split: str, about: str = "split") -> Dataset:
    """The images of a split with their sizes, which are then displayed ones.

    Args:
        config: The configuration.
        split: Name of the split; ``train`` stands for all images where they are not divided.
        about: What the split is for.
    """
    data, own = config.data, defaults(config.data.format)
    if "split" not in own and about != "split":
        raise ConfigurationError(f"data.{about}: {data.format} has no splits; write a share, such as 0.2")
    options = data.options | ({"split": split} if "split" in own else {})
    try:
        found = read_dataset(data.format, data.root, data.annotation_limit, **options)
    except UndividedError as error:
        if split != TRAIN or about != "split":
            raise _about(error, about) from None
        options |= {"split": own["split"]}
        found = read_dataset(data.format, data.root, data.annotation_limit, **options)
    except ConfigurationError as error:
        raise _about(error, about) from None
    return fill_sizes(found)


def _about(error: ConfigurationError, about: str) -> ConfigurationError:
    """The error, about the key that named the split."""
    if error.about == "split" and about != "split":
        return ConfigurationError(f"data.{about}: {error}")
    return error


def _shown_alone(dataset: Dataset) -> Dataset:
    """The dataset without the classes that none of its images shows."""
    shown = sorted({label for record in dataset.records for label in record.shown})
    without = len(dataset.classes) - len(shown)
    if not without:
        return dataset
    places = np.full(len(dataset.classes), -1, np.int32)
    places[shown] = np.arange(len(shown))
    example = next(one.name for one, place in zip(dataset.classes, places.tolist(), strict=True) if place < 0)
    note = f"{without:,} classes are on no image: left out, such as {example}"
    classes = [dataset.classes[at] for at in shown]
    records = relabel(dataset.records, places)
    return replace(dataset, classes=classes, records=records, notes=[*dataset.notes, note])


def _by_classes(classes: list[ClassInfo], other: Dataset, name: str, split: str) -> list[ImageRecord]:
    """The images of another split, labelled by the classes of the one that is trained on."""
    match = match_classes(other.classes, classes, len(classes))
    shown = {label for record in other.records for label in record.shown}
    strange = [other.classes[at].name for at, label in enumerate(match.labels) if label < 0 and at in shown]
    if strange:
        raise DataError(f"data.{name}: {split} has classes that are not trained: {', '.join(strange[:_TOLD])}")
    return relabel(other.records, np.array(match.labels, np.int32))


def _contents(records: list[ImageRecord]) -> list[str]:
    """SHA-256 of each image's file; its uri where it cannot be read, which costs that image later."""

    def content(record: ImageRecord) -> str:
        try:
            return hashlib.sha256(read_file(record.uri)).hexdigest()
        except OSError:
            return record.uri

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(content, records))


def digest_of(images: Images) -> str:
    """A digest of the contents, splits and classes, whatever the order and the place of the files."""
    lines = zip(images.contents, images.splits, (record.shown for record in images.records), strict=True)
    return hashlib.sha256("\n".join(sorted(map(str, lines))).encode()).hexdigest()


def _contradictions(images: Images) -> list[str]:
    """A note where one picture stands under several classes."""
    labels: dict[str, dict[int, str]] = {}
    for record, content in zip(images.records, images.contents, strict=True):
        labels.setdefault(content, {}).setdefault(record.label, record.file_name)
    odd = [found for found in labels.values() if len(found) > 1]
    if not odd:
        return []
    example = " and ".join(f"{name} ({images.classes[label].name})" for label, name in odd[0].items())
    return [f"{len(odd):,} pictures stand under several classes, such as {example}"]


def _check_counts(images: Images, parts: Mapping[str, float | str]) -> None:
    """Check that every class can be learnt, and that something is left to decide and to measure by.

    Raises:
        DataError: A class has no image to train on, or a split has none.
    """
    trained = Counter[int]()
    for record, split in zip(images.records, images.splits, strict=True):
        if split == TRAIN:
            trained.update([record.label] if images.exclusive else record.shown)
    bare = [one.name for at, one in enumerate(images.classes) if not trained[at]]
    if bare:
        more = f" and {len(bare) - _TOLD} more" if len(bare) > _TOLD else ""
        raise DataError(f"data: no image to train on shows {', '.join(bare[:_TOLD])}{more}; add some, or leave it out")
    for name, part in parts.items():
        if name not in images.splits:
            raise DataError(f"data.{name}: {part} leaves no image; every class needs one for training, and one more")
