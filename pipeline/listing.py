"""What ``list`` shows: everything that a configuration can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from typing import Any

from pipeline.config import CONFIGS, config_names
from stages.errors import unknown


def listing(what: str) -> dict[str, Any]:
    """A table by name.

    Raises:
        ConfigurationError: There is no such table.
    """
    tables: dict[str, Callable[[], dict[str, Any]]] = {
        "configs": _configs,
        "datasets": _datasets,
        "models": _models,
        "explainers": _explainers,
        "protocols": _protocols,
        "metrics": _metrics,
    }
    if what not in tables:
        raise unknown("table", what, list(tables))
    return tables[what]()


def _configs() -> dict[str, Any]:
    """Each configuration with the comment on its first line."""
    return {
        name: (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for name in config_names()
    }


def _datasets() -> dict[str, Any]:
    from stages.ingest.formats import FORMATS

    return {name: _first_line(import_module(f"stages.ingest.formats.{name}")) for name in FORMATS}


def _models() -> dict[str, Any]:
    from stages.classify.sources import SOURCES

    return {prefix: _first_line(loader) for prefix, loader in SOURCES.items()}


def _explainers() -> dict[str, Any]:
    from stages.explain.registry import explainers

    return {
        name: {"formula": one.formula, "needs": one.needs, "source": one.source} for name, one in explainers().items()
    }


def _protocols() -> dict[str, Any]:
    from stages.evaluate.protocols import PROTOCOLS

    return {
        name: {key: value for key, value in asdict(one).items() if key != "name"} for name, one in PROTOCOLS.items()
    }


def _metrics() -> dict[str, Any]:
    return {
        "gt_known_loc": "share of images whose box for the true label reaches the IoU",
        "top1_loc": "the same with the first prediction's box, and the prediction right",
        "top5_loc": "the same with any of the first five predictions",
        "mean_iou": "mean IoU of the true label's box",
        "max_box_acc": "GT-known at the best threshold, chosen on the scored images (oracle)",
        "max_box_acc_v2": "mean over IoU 0.3, 0.5, 0.7 of the best GT-known, each at its own threshold (oracle)",
        "coco": "COCO detection metrics of the predicted classes' boxes",
        "classification": "top-1 and top-5 accuracy",
    }


def _first_line(documented: object) -> str:
    return (documented.__doc__ or "").strip().splitlines()[0]
