"""Reader of WebDataset shards, on a disk or in a store; nothing is unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import basename

import numpy as np

from stages.errors import DataError
from stages.formats.coco.box_format import BoxFormat, edges, is_relative, other_formats
from stages.formats.coco.images import clean
from stages.formats.samples import Label, Sample, to_source
from stages.formats.shards import Shard, find_shards
from stages.formats.source import Notes, Source
from stages.formats.webdataset import Options
from stages.formats.webdataset.class_files import class_names
from stages.formats.webdataset.facts import Facts, are_classes, facts_of
from stages.formats.webdataset.tars import groups_of, images_of
from stages.printable import is_storable

SUFFIXES = (".tar", ".tar.gz", ".tgz")


def read(root: str, options: Options) -> Source:
    """Read tar shards whose samples have an image and ``.cls``, ``.json`` or ``.txt`` beside it, or the image alone.

    Samples are numbered from 1 in the order of the shards. Classes are the names of ``classes.txt`` or ``classes.json``
    beside the shards; without them numbers are indices as they stand. An image is called by the ``file_name`` of its
    JSON, or else by its key, with the shard before it where shards share keys.

    Args:
        root: Local path or uri of a folder of shards, one shard, or a pattern such as ``a-{000000..000011}.tar``.
        options: The part to read, and the convention of its boxes.

    Raises:
        ConfigurationError: There is no such part.
        DataError: There are no shards, no image is in them, or boxes follow another convention.
    """
    notes = Notes()
    shards = find_shards(root, SUFFIXES, options.split, "tar shards", notes)
    names = class_names(root, shards, notes)
    samples, facts = _samples(shards, notes)
    if not samples:
        why = "; ".join(notes.lines()) or "they are empty"
        raise DataError(f"no images in the shards of {root} ({why})", about="root")
    _add_lines(samples, facts, notes)
    box_format = _box_format(samples, facts, options.box_format, basename(shards[0].uri), notes)
    labelled = any(isinstance(label, int) for one in samples for label in one.labels)
    notes.say("no classes.txt beside the shards: classes are called by their numbers" if labelled and not names else "")
    return to_source(samples, names, box_format, notes)


def _samples(shards: Sequence[Shard], notes: Notes) -> tuple[list[Sample], list[Facts]]:
    """The images of all shards, and what is said about each."""
    samples: list[Sample] = []
    facts: list[Facts] = []
    for group in groups_of(shards, notes):
        for extension, members in images_of(group, notes):
            found = facts_of(members, notes)
            number, key = len(samples) + 1, f"{group.shard.name}/{group.key}"
            names = [f"{group.key}{extension}", f"{key}{extension}", f"{key}#{number}{extension}"]
            if found.file_name and is_storable(found.file_name):
                names.insert(0, "/".join(clean(found.file_name)))
            size = found.size if found.boxes else (0, 0)
            uri = group.members[extension].uri
            samples.append(Sample(number, uri, tuple(names), found.labels, found.boxes, found.owners, size))
            facts.append(found)
    return samples, facts


def _add_lines(samples: Sequence[Sample], facts: Sequence[Facts], notes: Notes) -> None:
    """Take the lines of ``.txt`` for classes, where nothing else gives any and they are no captions."""
    lines = [one.line for one in facts if one.line]
    if not lines or any(one.labels for one in samples):
        return
    if not are_classes(set(lines), len(lines)):
        notes.say("the texts of .txt are captions: they give no labels")
        return
    notes.say("the labels are the texts of .txt")
    for sample, found in zip(samples, facts, strict=True):
        sample.labels = list[Label]([found.line] if found.line else [])


def _box_format(
    samples: Sequence[Sample], facts: Sequence[Facts], asked: BoxFormat, name: str, notes: Notes
) -> BoxFormat:
    """The convention of all boxes, which ``auto`` makes edges.

    Raises:
        DataError: ``auto``, and the boxes show another convention.
    """
    if asked != "auto":
        return asked
    for called, convention in (("boxes", "xyxy"), ("bbox", "xywh")):
        pairs = zip(samples, facts, strict=True)
        own = [one for one, found in pairs if one.boxes and found.edges == (called == "boxes")]
        values = np.array([values for one in own for values in one.boxes], np.float64).reshape(-1, 4)
        sizes = np.array([one.size for one in own for _ in one.boxes], np.float64).reshape(-1, 2)
        guesses = other_formats(values, sizes)
        if guesses and (called == "bbox" or is_relative(guesses[0])):
            raise DataError(
                f"the boxes that {name} calls {called} do not seem to be {convention} in pixels; "
                f"choose {' or '.join(guesses)}, or {convention} to take them as they are",
                about="box_format",
            )
        if own:
            notes.say(f"{called} are {convention} in pixels; data.box_format sets another convention")
        if called == "bbox":
            for one in own:
                one.boxes = edges(np.array(one.boxes), np.ones((len(one.boxes), 2)), "xywh").tolist()
    return "xyxy"
