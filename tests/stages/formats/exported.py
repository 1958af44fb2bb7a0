"""Four images that find most mistakes of exports: a sub-folder, dots and accents, a turned photograph, no object."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from stages.classes import ClassInfo
from stages.formats.labels import Label, Labelled, Split
from stages.formats.table import FORMATS
from stages.ingest.records import ImageRecord

CLASSES = [ClassInfo("ant"), ClassInfo("bee & wasp"), ClassInfo("crow's nest <b>")]


def label(image: int, index: int, box: tuple[float, float, float, float], score: float | None) -> Label:
    return Label(image, index, box, score, None, "cam", "pseudo")


IMAGES = [
    Labelled(
        ImageRecord(1, "", "sub/été 1.jpg", 0, 40, 30),
        [label(1, 0, (4, 3, 20, 15), 0.9), label(1, 1, (0, 0, 40, 30), 0.25)],
    ),
    Labelled(ImageRecord(2, "", "b.v1.jpg", 2, 33, 21), [label(2, 2, (0.5, 0.25, 10.75, 9.5), 0.5)]),
    Labelled(ImageRecord(3, "", "turned.jpg", 1, 30, 40), [label(3, 1, (10, 20, 30, 40), 0.75)]),
    Labelled(ImageRecord(4, "", "none.jpg", -1, 16, 16), []),
]
FLAT = [Labelled(ImageRecord(1, "", "été 1.jpg", 0, 40, 30), IMAGES[0].labels), *IMAGES[1:]]


def written(format: str, images: list[Labelled] = IMAGES, name: str | None = None) -> dict[str, bytes]:
    """The files of a format, by name."""
    row = FORMATS[format]
    split = Split(row.undivided if name is None else name, lambda: images)
    return {name: b"".join(pieces) for name, pieces in row.writer()([split], CLASSES, "made & tested")}


def write(folder: Path, format: str, images: list[Labelled] = IMAGES, name: str | None = None) -> Path:
    """The same on a disk, with the images: the third one's pixels lie on their side."""
    row = FORMATS[format]
    for file, content in written(format, images, name).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    if row.images is not None:
        for image, _ in images:
            path = folder / row.images.format(split=name or row.undivided).lstrip("/") / image.file_name
            path.parent.mkdir(parents=True, exist_ok=True)
            turned = image.image_id == 3
            size = (image.height, image.width) if turned else (image.width, image.height)
            exif = Image.Exif()
            if turned:
                exif[0x0112] = 6
            Image.new("RGB", size, "green").save(path, exif=exif)
    return folder
