"""Damaged copies of good files, the same for the same number."""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from stages.errors import UserError
from stages.formats import read_dataset
from stages.ingest.decode import DecodeError, read_image
from tests.stages.formats.ilsvrc import TENCH, put_wsol, stem, xml
from tests.stages.ingest.bombs import icon, png, scans
from tests.stages.ingest.deep import png16, tiff

_NUMBERS = (b"\0", b"\x7f", b"\x80", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0")
_WORDS = (b"-1", b"0", b"1e999", b"9" * 400, b"NaN", b"null", b"[[[", b"}}", b'"', b",", b"\\u", b"<", b"&x;", b"\0")


def mutated(data: bytes, number: int) -> bytes:
    """A file with some of its bytes changed, cut, repeated, moved or replaced by numbers and words that matter."""
    chance = random.Random(number)
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        # Half of the changes near the beginning, where the header is.
        at = chance.randrange(max(1, min(len(found), chance.choice((100, len(found))))) if found else 1)
        length = chance.choice((1, 2, 4, 30))
        match chance.randrange(7):
            case 0:
                found[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                found[at : at + 1] = bytes([(found[at] if at < len(found) else 0) ^ 1 << chance.randrange(8)])
            case 2:
                new = chance.choice(_NUMBERS)
                found[at : at + len(new)] = new
            case 3:
                found[at : at + length] = chance.choice(_WORDS)
            case 4:
                del found[at : at + length]
            case 5:
                found[at:at] = found[at : at + length] * chance.choice((1, 3, 200))
            case 6:
                del found[chance.randrange(1 + len(found)) :]
    return bytes(found)


def pictures() -> list[bytes]:
    """Small images of every kind that is read in another way."""
    noise = np.random.default_rng(0)
    image = Image.fromarray(noise.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6

    def encoded(format: str, one: Image.Image = image, **options: object) -> bytes:
        buffer = io.BytesIO()
        one.save(buffer, format, **options)
        return buffer.getvalue()

    deep = noise.integers(0, 65536, (24, 32, 3)).astype(np.uint16)
    return [
        *(encoded(name, exif=exif) for name in ("JPEG", "PNG", "WEBP", "TIFF", "MPO")),
        *(encoded(name) for name in ("BMP", "GIF", "ICO", "JPEG2000", "PCX", "PPM", "QOI", "SGI")),
        *(encoded(name) for name in ("TGA", "DDS", "AVIF")),
        encoded("JPEG", progressive=True),
        encoded("JPEG", image.convert("CMYK")),
        encoded("PNG", image.quantize(16)),
        encoded("WEBP", lossless=True),
        *(encoded("TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
        encoded("GIF", save_all=True, append_images=[image.rotate(90)]),
        *(png16(deep), png16(deep[..., 0], sbit=12), tiff(deep), tiff(deep.astype(np.float32)), tiff(deep[..., 0])),
        *(icon(png(32, 24, real=True)), scans(20)),
    ]


def decoded(uri: str) -> str:
    """The code of an image's error, or nothing, for :func:`stages.ingest.children.each`."""
    try:
        read_image(uri)
    except DecodeError as error:
        return error.code
    except MemoryError:
        return "MemoryError"
    return ""


def _coco() -> bytes:
    rle = {"size": [24, 32], "counts": "`00P1K5K"}
    polygon = [[1, 1, 20, 1, 20, 20, 1, 20.5]]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 12], "segmentation": polygon, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 2, "bbox": [0, 0, 5, 5], "segmentation": rle, "iscrowd": 1},
        {"id": 3, "image_id": 2, "category_id": 2, "bbox": [3, 3, 5, 5], "segmentation": rle | {"counts": [700, 68]}},
    ]
    images = [{"id": n, "file_name": f"{stem(n)}.JPEG", "width": 32, "height": 24} for n in (1, 2)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "d\u00f6g"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode()


def _tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo(f"val/{stem(1)}.xml")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


_IMAGES = f"file,label\n{stem(1)}.JPEG,cat\n{stem(2)}.JPEG,d\u00f6g\n".encode()
_XML = xml(1, TENCH, (2, 3, 9, 10), (1, 1, 5, 5))
ANNOTATIONS: list[tuple[str, str, bytes, Callable[[bytes], bytes]]] = [
    ("coco", "annotations.json", _coco(), bytes),
    ("coco", "annotations.json", _coco(), bytes),
    ("coco", "one.json.gz", _coco(), gzip.compress),
    ("coco", "one.json.gz", gzip.compress(_coco()), bytes),
    ("imagefolder", "labels.csv", _IMAGES, bytes),
    ("imagefolder", "labels.jsonl", b'{"file": "%s.JPEG", "label": "cat"}\n' % stem(1).encode(), bytes),
    ("imagenet", "LOC_val_solution.csv", f"ImageId,PredictionString\n{stem(1)},{TENCH} 1 2 9 9\n".encode(), bytes),
    ("imagenet", f"Annotations/{stem(1)}.xml", _XML, bytes),
    ("imagenet", "ILSVRC2012_bbox_val_v3.tgz", _XML, _tar),
    ("imagenet", "ILSVRC2012_bbox_val_v3.tgz", _tar(_XML), bytes),
    ("imagenet", "val.txt", f"{stem(1)}.JPEG 65\n{stem(2)}.JPEG 970\n".encode(), bytes),
    ("imagenet", "wsol", b"", bytes),
]
"""Format, name and content of an annotation file, and what packs it once it is damaged."""


def read_annotations(folder: Path, numbers: range) -> dict[str, int]:
    """Read a dataset with one damaged annotation file for each number; returns how many were read and refused."""
    results = {"read": 0, "refused": 0}
    texts: dict[str, bytes] = {}
    put_wsol(lambda name, content: texts.setdefault(name, content), "")
    for kind in {format for format, *_ in ANNOTATIONS}:
        for number in (1, 2):
            path = folder / kind / f"{stem(number)}.JPEG"
            path.parent.mkdir(exist_ok=True, parents=True)
            Image.new("RGB", (32, 24)).save(path, "JPEG")
    (folder / "imagenet" / "Annotations").mkdir()
    for number in numbers:
        format, name, content, pack = ANNOTATIONS[number % len(ANNOTATIONS)]
        written = dict(texts) if name == "wsol" else {name: content}
        chosen = sorted(written)[number % len(written)]
        written[chosen] = pack(mutated(written[chosen], number))
        paths = {folder / format / one: data for one, data in written.items()}
        for path, data in paths.items():
            path.write_bytes(data)
        try:
            read_dataset(format, str(folder / format))
            results["read"] += 1
        except UserError as error:
            assert "\n" not in str(error), (number, error)
            results["refused"] += 1
        for path in paths:
            path.unlink()
    return results


if __name__ == "__main__":
    print(json.dumps(read_annotations(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3])))))
