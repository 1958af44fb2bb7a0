"""A tiny dataset, the command line as a process, and what of a run must not depend on how it went."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

COUNT = 23
BROKEN = 11
"""The image that is no image."""

_CONFIG = """\
data: {format: coco, root: data}
model: {spec: "python:tests.stages.toys:tiny_network"}
explain: {methods: [cam, gradcam]}
runtime: {executor: inline, shard_size: 5, batch_size: 3, max_failures: 0.5}
"""


def write_tiny(folder: Path) -> None:
    """``data/`` with 23 images and COCO boxes, and ``tiny.yaml``, the configuration of a run over it."""
    (folder / "data" / "images").mkdir(parents=True)
    generator = np.random.default_rng(5)
    images, annotations = [], []
    for number in range(1, COUNT + 1):
        width, height = (int(side) for side in generator.integers(20, 90, 2))
        x0, y0 = int(generator.integers(0, width // 2)), int(generator.integers(0, height // 2))
        w, h = int(generator.integers(8, width - x0 + 1)), int(generator.integers(8, height - y0 + 1))
        pixels = generator.integers(0, 80, (height, width, 3), dtype=np.uint8)
        label = number % 7
        pixels[y0 : y0 + h, x0 : x0 + w, label % 3] += 150
        name = f"images/bild {number} é.png"
        Image.fromarray(pixels).save(folder / "data" / name)
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations.append({"id": number, "image_id": number, "category_id": label + 1, "bbox": [x0, y0, w, h]})
    (folder / "data" / images[BROKEN - 1]["file_name"]).write_bytes(b"no image at all")
    categories = [{"id": index + 1, "name": f"class {index}"} for index in range(7)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "data" / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "tiny.yaml").write_text(_CONFIG, encoding="utf-8")


def files(run: Path) -> dict[str, bytes]:
    """Every file of a run that must not depend on how it was carried out."""
    differing = {"run.json", "config.yaml"}  # times, and the runtime section
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in differing and path.parent.name != "logs"
    }


def values(part: bytes) -> bytes:
    """A part without what made it: parts of runs over other files are equal in nothing else."""
    return re.sub(rb"(wsl_pipeline\.(?:origin|sha256)..)[0-9a-f]{64}", rb"\1", part, flags=re.DOTALL)


def commits(run: Path) -> dict[Path, int]:
    """The committed parts with the times of their commits."""
    return {path: path.stat().st_mtime_ns for path in (run / "predictions").glob("part-*.parquet")}


def start(
    *arguments: object, prelude: str = "", environment: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """``wsl-pipeline`` with these arguments as a process group of its own.

    As the installed command, it does not begin with the current folder on its path.

    Args:
        *arguments: Of the command line.
        prelude: Python to run in the process first.
        environment: Variables beside this process's.
        **options: Of ``subprocess.Popen``.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    code = f"{prelude}\nfrom pipeline.shell.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        start_new_session=True,
        text=True,
        **options,
    )


def wsl(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The same, waited for, with its output."""
    process = start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def wsl_here(*arguments: object, cwd: Path | str = ".") -> subprocess.CompletedProcess[str]:
    """The command in this process, which has imported what it needs: for what is said and the exit code."""
    from pipeline.shell.cli import main

    out, err, words = io.StringIO(), io.StringIO(), ["wsl-pipeline", *map(str, arguments)]
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        warnings.catch_warnings(),
        chdir(cwd),
        patch.object(sys, "argv", words),
        patch.object(os, "_exit", _leave),
    ):
        try:
            main()
            code = 0
        except _LeftError as left:
            code = left.args[0]
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


class _LeftError(BaseException):
    """The command has left its process."""


def _leave(code: int) -> None:
    raise _LeftError(code)
