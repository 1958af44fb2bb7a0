"""What a text such as ``PATH?arch=torchvision:resnet18&num_classes=10&mean=0.5&std=0.5`` says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from stages.classify.network import Preprocess
from stages.errors import ConfigurationError, unknown

WRITTEN = "write file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt"
OPTIONS = ("arch", "num_classes", "classes", "weights", "mean", "std", "size", "crop", "interpolation")


@dataclass(frozen=True)
class FileSpec:
    """A checkpoint and how it is used.

    Attributes:
        path: The file, relative or not.
        architecture: Name of the network without weights; empty where the file is to say it.
        num_classes: Number of its outputs; None where not given.
        classes: File of its class names; empty where not given.
        weights: Which of several weights are taken; empty where not given.
        preprocess: Fields of :class:`Preprocess` that are not the architecture's own.
    """

    path: str
    architecture: str
    num_classes: int | None = None
    classes: str = ""
    weights: str = ""
    preprocess: dict[str, Any] = field(default_factory=dict)

    def applied(self, own: Preprocess) -> Preprocess:
        """The preprocessing of an architecture with what the user says of it."""
        return replace(own, **self.preprocess)


def parse(rest: str) -> FileSpec:
    """Read the text after ``file:``.

    The options begin at the first ``?`` before the name of one, and each at an ``&`` before a name and ``=``, so that
    a path may hold these characters; others are written in percent-encoding.

    Raises:
        ConfigurationError: An option is unknown, given twice, or has a value that it cannot have.
    """
    path, pairs = _split(rest)
    given = dict(pairs)
    extra = sorted(set(given) - set(OPTIONS))
    if extra:
        raise ConfigurationError(
            f"{WRITTEN}; found unknown {', '.join(extra)}; known: {', '.join(OPTIONS)}", about="network"
        )
    for name in given:
        if sum(name == other for other, _ in pairs) > 1:
            raise ConfigurationError(f"{name} stands twice in file:{rest}; give it once", about="network")
    count = given.get("num_classes")
    return FileSpec(
        path,
        given.get("arch", ""),
        None if count is None else _whole("num_classes", count, 1, 1_000_000),
        given.get("classes", ""),
        given.get("weights", ""),
        _preprocess(given),
    )


def moved(rest: str, move: Callable[[str], str]) -> str:
    """The text after ``file:`` with other names for its files.

    >>> moved("m?v=2.pt?arch=lite0&classes=n.txt", lambda name: f"/base/{name}")
    '/base/m?v=2.pt?arch=lite0&classes=/base/n.txt'
    """
    path, pairs = _split(rest)
    query = "&".join(f"{name}={move(value) if name == 'classes' else value}" for name, value in pairs)
    return f"{move(path)}?{query}" if pairs else move(path)


def _split(rest: str) -> tuple[str, list[tuple[str, str]]]:
    """The path, and the options as they stand."""
    begin = re.search(rf"\?(?=(?:{'|'.join(OPTIONS)})=)", rest) or re.search(r"\?(?=\w+=)", rest)
    path, query = (rest[: begin.start()], rest[begin.end() :]) if begin else (rest, "")
    pairs = [pair.partition("=") for pair in re.split(r"&(?=\w+=)", query)] if query else []
    return path, [(name, value) for name, _, value in pairs]


def place(folder: Path, name: str) -> Path:
    """The file of a name as it stands; of the name that it is the percent-encoding of, where there is no such file."""
    path = folder / name
    return path if path.exists() else folder / unquote(name)


def _preprocess(given: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: _colours(name, given[name]) for name in ("mean", "std") if name in given}
    if "size" in given:
        found["size"] = _whole("size", given["size"], 32, 4096)
    if "crop" in given:
        found["crop_ratio"] = _share(given["crop"])
    if "interpolation" in given:
        known = ["bilinear", "bicubic"]
        if given["interpolation"] not in known:
            raise unknown("interpolation", given["interpolation"], known, about="network")
        found["resample"] = given["interpolation"]
    return found


def _colours(name: str, text: str) -> tuple[float, float, float]:
    """A value for each of red, green and blue, or one for all."""
    values = _numbers(text)
    if len(values) == 1:
        values *= 3
    if len(values) == 3 and all((0 <= value <= 1) if name == "mean" else (0 < value <= 1) for value in values):
        return values[0], values[1], values[2]
    scaled = ",".join(f"{value / 255:.4g}" for value in values)
    bytes_like = len(values) == 3 and all(0 < value <= 255 for value in values)
    way_out = f"; divide by 255: {name}={scaled}" if bytes_like else f", such as {name}=0.5 or {name}=0.48,0.46,0.41"
    raise ConfigurationError(f"{name}={text} is not one or three values of RGB from 0 to 1{way_out}", about="network")


def _share(text: str) -> float:
    values = _numbers(text)
    if len(values) == 1 and 0 < values[0] <= 1:
        return values[0]
    raise ConfigurationError(
        f"crop={text} is not a share of the image's shorter side, such as crop=0.875 for 224 of 256 pixels",
        about="network",
    )


def _numbers(text: str) -> list[float]:
    """The finite numbers of a text with commas; none if one of them is not a number."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def _whole(name: str, text: str, least: int, most: int) -> int:
    if text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise ConfigurationError(f"{name}={text} is not a number from {least} to {most}", about="network")
