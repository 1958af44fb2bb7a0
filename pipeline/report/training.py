"""The page of a training: its result, its curves and its images, one self-contained HTML file without scripts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import yaml

from pipeline.report.scores import Cell, Column, cell
from pipeline.report.templates import template
from pipeline.store.training import TrainDir, read_splits
from stages.printable import printable
from stages.train.splits import SPLITS

_OF_BOXES = (Column("gt_known_loc", "0.5"), Column("mean_iou"))
_TITLES = {"loss": "Loss", "accuracy": "Accuracy", "iou": "Mean IoU with the largest object, in the input"}


@dataclass(frozen=True)
class Line:
    """A metric of a split over the epochs.

    Attributes:
        name: The split.
        style: Number of its colour and dash.
        points: (epoch, value), as shares of the axes.
        kept: Value in the epoch that was kept, as a text.
    """

    name: str
    style: int
    points: list[tuple[float, float]]
    kept: str


@dataclass(frozen=True)
class Panel:
    """A metric over the epochs.

    Attributes:
        title: Its name.
        top: Upper end of its axis.
        unit: Factor of the numbers at the axis.
        epochs: Right end of the axis of epochs.
        best: The epoch that was kept, as a share of that axis.
        lines: A line for each split.
    """

    title: str
    top: float
    unit: int
    epochs: int
    best: float
    lines: list[Line]


def write_page(directory: TrainDir, metrics: dict[str, Any], curves: Sequence[Sequence[Any]]) -> None:
    """Write ``report/index.html``, which has no times and no paths of the training.

    Args:
        directory: The training.
        metrics: The content of its ``metrics.json``.
        curves: Its curves, as :data:`stages.train.head.Curve`.
    """
    config, origins = directory.config(), directory.info()
    text = yaml.safe_dump(config.model_dump(exclude={"runtime"}), sort_keys=False, allow_unicode=True)
    page = template("training.html.jinja").render(
        config=config,
        config_text=text,
        metrics=metrics,
        training=metrics["training"],
        origins=origins,
        tiles=_tiles(metrics),
        panels=panels(curves, metrics["training"]["best_epoch"]),
        splits=SPLITS,
        classes=_classes(directory, list(origins.dataset_classes)),
    )
    directory.write("report/index.html", printable(page).encode())


def _tiles(metrics: dict[str, Any]) -> list[tuple[str, str, Cell | None]]:
    """Title, unit and value of the headline numbers."""
    share = Column("top1")
    guess = metrics["baselines"]["most_frequent_class"]["top1"]
    found = [(Column(key).title, "%", cell(share, {"top1": one}, {})) for key, one in metrics["classification"].items()]
    boxes = metrics["methods"].get("box", {})
    found += [(f"{one.title} of its boxes", one.unit, cell(one, boxes, {})) for one in _OF_BOXES if boxes]
    return [*found, ("Always the most frequent class", "%", cell(share, {"top1": guess}, {}))]


def panels(curves: Sequence[Sequence[Any]], best: int) -> list[Panel]:
    """A panel for each metric.

    Args:
        curves: (epoch, split, metric, value, seconds) of every pass.
        best: The epoch that was kept.
    """
    epochs = 5 * math.ceil(max(epoch for epoch, *_ in curves) / 5)  # The axis has five parts.
    found = []
    for metric, title in _TITLES.items():
        values = {
            split: [(epoch, value) for epoch, one, name, value, _ in curves if (one, name) == (split, metric)]
            for split in SPLITS
        }
        if not any(values.values()):
            continue
        share = metric != "loss"
        top = 1.0 if share else _rounded_up(max(value for _, value in chain(*values.values())))
        lines = [
            Line(
                split,
                style,
                [(epoch / epochs, value / top) for epoch, value in of_split],
                f"{100 * dict(of_split)[best]:.1f} %" if share else f"{dict(of_split)[best]:.3f}",
            )
            for style, (split, of_split) in enumerate(values.items())
            if of_split
        ]
        found.append(Panel(title, top, 100 if share else 1, epochs, best / epochs, lines))
    return found


def _rounded_up(value: float) -> float:
    """The next number with one digit.

    >>> _rounded_up(0.0123), _rounded_up(1.985), _rounded_up(0)
    (0.02, 2.0, 1.0)
    """
    if value <= 0:
        return 1.0
    step = 10.0 ** math.floor(math.log10(value))
    return round(math.ceil(value / step) * step, 12)


def _classes(directory: TrainDir, names: list[str]) -> list[tuple[str, list[int]]]:
    """Names of the classes with the number of images in each split."""
    _, splits, labels = read_splits(directory)
    counts = Counter((label, split) for split, shown in zip(splits, labels, strict=True) for label in shown)
    return [(name, [counts[at, split] for split in SPLITS]) for at, name in enumerate(names)]
