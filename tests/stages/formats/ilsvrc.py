"""The files that a copy of the ILSVRC validation set consists of, for the tests of its reader."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

TENCH, GOLDFISH = "n01440764", "n01443537"


def stem(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}"


def xml(number: int, wnid: str, *boxes: tuple[float, ...], size: tuple[float, float] = (20, 12)) -> bytes:
    objects = "".join(
        f"<object><name>{wnid}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for a, b, c, d in boxes
    )
    width, height = size
    return (
        f"<annotation><filename>{stem(number)}</filename><size><width>{width}</width><height>{height}</height>"
        f"<depth>3</depth></size>{objects}</annotation>"
    ).encode()


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def put_wsol(put, folder: str, zipped: bool = False) -> None:
    texts = {
        "image_ids": [f"val/{stem(1)}.JPEG", f"val/{stem(3)}.JPEG"],
        "class_labels": [f"val/{stem(1)}.JPEG,0", f"val/{stem(3)}.JPEG,1"],
        "image_sizes": [f"val/{stem(1)}.JPEG,20,12", f"val/{stem(3)}.JPEG,20,12"],
        "localization": [
            f"val/{stem(1)}.JPEG,2,3,9,10",
            f"val/{stem(3)}.JPEG,0,0,19,11",
            f"val/{stem(3)}.JPEG,4,5,4,6",
        ],
    }
    for name, lines in texts.items():
        content = "\n".join(lines).encode()
        put(f"{folder}{name}.txt{'.gz' if zipped else ''}", gzip.compress(content) if zipped else content)
