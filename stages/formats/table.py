"""The table of dataset formats: their readers, writers and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, Literal, get_args, get_origin, get_type_hints

from stages.classes import ClassInfo
from stages.errors import ConfigurationError, unknown
from stages.formats import (
    coco,
    csv,
    cub,
    digits,
    imagefolder,
    imagenet,
    imagenet_train,
    openimages,
    parquet,
    photos,
    voc,
    webdataset,
    yolo,
)
from stages.formats.labels import Files, Split
from stages.formats.source import Source
from stages.ingest.records import Frame

Reader = Callable[[str, Any], Source]
"""Function from a root ("" where the format needs none) and the format's options to the dataset."""

Writer = Callable[[Sequence[Split], Sequence[ClassInfo], str], Files]
"""Function from the parts of a dataset, its classes and a description of the data to files."""


@dataclass(frozen=True)
class NoOptions:
    """Options of a format that has none."""


@dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
        title: Description of the format, in one line.
        options: Dataclass of its reader's options, with a default for each field.
        read: Module with a function ``read`` that is a :data:`Reader`, imported when it is used; None where the
            format is only written.
        write: Module with a function ``write`` that is a :data:`Writer`; None where the format is only read.
        images: Folder of the images beside the files of the writer, in which ``{split}`` is the name of the part; None
            where the files need no images.
        undivided: Name of the only part of a dataset that is not divided.
        loses: Sentences on what the files cannot hold, and on what readers make of them.
        frame: Frame of the boxes of an image whose stated size does not tell, because it is not stated or both frames
            have it; None where the reader brings them to the displayed image itself.
        needs_root: Whether it is read from a folder or archive; otherwise its images come with a package.
    """

    title: str
    options: type[Any] = NoOptions
    read: str | None = None
    write: str | None = None
    images: str | None = None
    undivided: str = ""
    loses: str = ""
    frame: Frame | None = "displayed"
    needs_root: bool = True

    def reader(self) -> Reader:
        """The function that reads the format."""
        assert self.read is not None, self.title
        reader: Reader = import_module(self.read).read
        return reader

    def writer(self) -> Writer:
        """The function that writes the format."""
        assert self.write is not None, self.title
        writer: Writer = import_module(self.write).write
        return writer


FORMATS: dict[str, Format] = {
    "coco": Format(
        "An own dataset with boxes: images and COCO annotations, in any of the usual layouts.",
        coco.Options,
        read="stages.formats.coco.read",
        write="stages.formats.coco.write",
        images="images",
        loses="Coordinates have two decimals. torchvision ignores the EXIF orientation of photographs.",
    ),
    "coco-results": Format(
        "COCO results: boxes with scores, to be compared with a ground truth of the same images.",
        write="stages.formats.coco_results.write",
        loses="Images without a box do not occur, classes only by their number, from 1 in the order of classes.txt.",
    ),
    "csv": Format(
        "A table of images with their labels, or of boxes: a row for each, and one for an image without any.",
        csv.Options,
        read="stages.formats.csv.read",
        write="stages.formats.csv.write",
        images="images",
    ),
    "cub": Format(
        "CUB-200-2011 as published, or by the lists of wsolevaluation, which also have its second validation set.",
        cub.Options,
        read="stages.formats.cub.read",
        frame="stored",
    ),
    "cvat": Format(
        "CVAT for images 1.1: XML for its import of annotations.",
        write="stages.formats.cvat.write",
        images="images",
        loses="Coordinates have two decimals; FiftyOne rounds them to whole pixels. The score is an attribute.",
    ),
    "digits": Format(
        "The demo's dataset: handwritten digits on larger canvases, with exact boxes.",
        digits.Options,
        read="stages.formats.digits.read",
        frame=None,
        needs_root=False,
    ),
    "fiftyone": Format(
        "FiftyOneImageDetectionDataset: labels.json beside the images.",
        write="stages.formats.fiftyone.write",
        images="{split}/data",
        loses="Images are named without their extension. A sample without objects has no detections.",
    ),
    "hf": Format(
        "Hugging Face imagefolder: images with metadata.parquet, as datasets.load_dataset reads it.",
        write="stages.formats.hf.write",
        images="{split}",
        undivided="train",
        loses="bbox is x, y, width, height in pixels, which nothing in the files says.",
    ),
    "imagefolder": Format(
        "Class folders, a flat folder with or without a table of labels, an image, a pattern, a list (labels only).",
        imagefolder.Options,
        read="stages.formats.imagefolder.read",
    ),
    "imagenet": Format(
        "The ILSVRC2012 validation set as people have it: a tar, a flat folder, class folders, Kaggle's tree.",
        imagenet.Options,
        read="stages.formats.imagenet.read",
        frame="stored",
    ),
    "imagenet-train": Format(
        "The ILSVRC2012 training set: a tar of class tars, class tars or class folders; boxes where there are any.",
        imagenet_train.Options,
        read="stages.formats.imagenet_train.read",
        frame="stored",
    ),
    "labelstudio": Format(
        "Label Studio: tasks with predictions to accept or correct, and the labelling interface.",
        write="stages.formats.labelstudio.write",
        images="images",
        loses="Label Studio's own exports in COCO, VOC and YOLO lose scores and parts of boxes: take its JSON back.",
    ),
    "openimages": Format(
        "OpenImages30k as wsolevaluation lists it: masks of objects, and regions that are not scored.",
        openimages.Options,
        read="stages.formats.openimages.read",
        frame="stored",
    ),
    "parquet": Format(
        "Hugging Face image datasets: Parquet files with the images in them, or images beside a metadata table.",
        parquet.Options,
        read="stages.formats.parquet.read",
    ),
    "photos": Format(
        "A handful of photographs that scikit-image carries, with boxes drawn by hand.",
        photos.Options,
        read="stages.formats.photos.read",
        frame=None,
        needs_root=False,
    ),
    "voc": Format(
        "Pascal VOC: an XML file for each image, whole pixels counted from 1, both edges inside.",
        voc.Options,
        read="stages.formats.voc.read",
        write="stages.formats.voc.write",
        images="JPEGImages",
        loses="Coordinates are whole pixels, rounded outwards. FiftyOne and datumaro do not subtract the 1 with which "
        "pixels are counted, so their boxes begin a pixel further right and below. supervision reads no sub-folders. "
        "The lists of ImageSets cannot hold names with line breaks, or with blanks at their ends.",
    ),
    "webdataset": Format(
        "WebDataset: tar shards on a disk or in a store, in which neighbouring files of one stem are a sample.",
        webdataset.Options,
        read="stages.formats.webdataset.read",
    ),
    "yolo": Format(
        "YOLO: a text file for each image, and data.yaml, as ultralytics trains on.",
        yolo.Options,
        read="stages.formats.yolo.read",
        frame=None,
        write="stages.formats.yolo.write",
        images="images/{split}",
        undivided="train",
        loses="Scores are in labels_conf/, since training allows five columns only. An undivided dataset is its own "
        "validation set, since data.yaml must name one. supervision and datumaro read no sub-folders.",
    ),
}


def readable() -> dict[str, Format]:
    """The formats that can be read."""
    return {name: one for name, one in FORMATS.items() if one.read}


def writable() -> dict[str, Format]:
    """The formats that can be written."""
    return {name: one for name, one in FORMATS.items() if one.write}


def defaults(format: str) -> dict[str, Any]:
    """The names of a readable format's options, and their default values.

    Raises:
        ConfigurationError: Unknown format.

    >>> defaults("digits"), defaults("photos")
    ({'split': 'eval'}, {})
    """
    options = _row(format).options
    return {one.name: one.default for one in fields(options)}


def choices(format: str) -> dict[str, tuple[Any, ...]]:
    """The allowed values of those options of a readable format that have a fixed set of them.

    Raises:
        ConfigurationError: Unknown format.

    >>> choices("digits"), choices("photos")
    ({'split': ('eval', 'train')}, {})
    """
    hints = get_type_hints(_row(format).options)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


def options_of(format: str, given: Mapping[str, object]) -> Any:
    """A format's options with the given values, an instance of its row's ``options``.

    Args:
        format: Name of a readable format.
        given: Values by name; the others keep their defaults.

    Raises:
        ConfigurationError: Unknown format, an option that it does not have, or a value that is not allowed.
    """
    row, known, allowed = _row(format), defaults(format), choices(format)
    for name, value in given.items():
        if name not in known:
            listed = f"its options are {', '.join(known)}" if known else "it has none"
            raise ConfigurationError(f"the format {format} has no option {name}; {listed}", about=name)
        if name in allowed and value not in allowed[name]:
            listed = " or ".join(map(str, allowed[name]))
            raise ConfigurationError(f"the format {format} has no {name} {value!r}; choose {listed}", about=name)
    return row.options(**given)


def check_root(format: str, root: str | None) -> None:
    """See that a format that is read from somewhere is told from where.

    Args:
        format: The name of a readable one.
        root: Local path or uri; None where nothing was said.

    Raises:
        ConfigurationError: Unknown format, no root where the format needs one, or one where it reads none.
    """
    needed = _row(format).needs_root
    if needed and root is None:
        raise ConfigurationError("it is not set; name the folder, archive or uri of the dataset", about="root")
    if root is not None and not needed:
        raise ConfigurationError(f"the images of {format} come with a package, not from {root}", about="root")


def _row(format: str) -> Format:
    if format not in readable():
        raise unknown("format", format, list(readable()), about="format")
    return FORMATS[format]
