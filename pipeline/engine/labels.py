"""The labels of a run: the classes of its dataset among those of its network, and which images have none."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.config.sections import Config
from pipeline.store.manifest import relabel
from stages.classes import ClassInfo, shown
from stages.classify.match_classes import Match, match_classes
from stages.classify.sources.architecture import architecture_of
from stages.errors import DataError
from stages.explain.targets import LABELS, of_labels, of_predictions
from stages.ingest.records import Dataset, ImageRecord

_TOLD = 5
"""Number of classes that a message names."""


def matched(dataset: Dataset, network: Sequence[ClassInfo], outputs: int, config: Config) -> tuple[Dataset, Match]:
    """The dataset with labels of the run and notes on images without one, and the classes of the run.

    Args:
        dataset: Images labelled by the dataset's classes.
        network: The network's classes in output order; empty where their names are unknown.
        outputs: Number of the network's outputs.
        config: The run's configuration.

    Raises:
        ConfigurationError: ``data.class_map`` does not fit.
        DataError: Labels are to be explained, and there are too few.
    """
    match = match_classes(dataset.classes, network, outputs, config.data.class_map)
    records = relabel(dataset.records, np.array(match.labels, np.int32))
    missing = _missing(dataset, records, match, config)
    targets = config.explain.targets
    rowless = any(not record.shown if LABELS in targets else record.label < 0 for record in records)
    if rowless and not of_predictions(targets):
        also = ",".join([*of_labels(targets), "top1"])
        raise DataError(f"explain.targets: {missing}; or explain predictions as well, explain.targets=[{also}]")
    had_labels = any(record.label >= 0 for record in dataset.records)
    if had_labels and of_labels(targets) and not any(match.outputs):
        others = ",".join(of_predictions(targets))
        raise DataError(f"data: {missing}; or explain predictions alone, explain.targets=[{others}]")
    notes = [*dataset.notes, *match.notes, *([missing] if missing else [])]
    return replace(dataset, records=records, notes=notes), match


def _missing(dataset: Dataset, after: list[ImageRecord], match: Match, config: Config) -> str:
    """How many images have no label of the run, why, and what helps; empty where all have one."""
    spec, count = config.model.spec, sum(record.label < 0 for record in after)
    if not count:
        return ""
    pairs = zip(dataset.records, after, strict=True)
    lost = Counter(one.label for one, other in pairs if one.label >= 0 > other.label)
    without = count - lost.total()
    line = f"{count:,} of {len(after):,} images have no label to explain or to score"
    if not lost:
        return f"{line}: the dataset gives them none"
    told = []
    for label, images in lost.most_common(_TOLD):
        why = match.unknown[label]
        told.append(f"{shown(dataset.classes[label].name)} ({images:,} images{'; ' if why else ''}{why})")
    more = f" and {len(lost) - _TOLD} more" if len(lost) > _TOLD else ""
    rest = f", and {without:,} have none in the dataset" if without else ""
    word = dataset.classes[lost.most_common(1)[0][0]].name
    return (
        f"{line}: the network does not know {', '.join(told)}{more}{rest}; say what the network calls them, "
        f"data.class_map={{{word}: [NAME, ...]}} or a file of such lines "
        f"(names: wsl-pipeline list classes {shlex.quote(spec)}), "
        "or train a head on your classes, "
        f"{shlex.join(['wsl-pipeline', 'train', 'head', *_inputs(config)])}, and name its model.pt"
    )


def _inputs(config: Config) -> list[str]:
    """The overrides that name a run's images, and its network where a head fits on that, for a training."""
    data, spec = config.data, config.model.spec
    kind = [] if data.format == "imagefolder" else [f"data.format={data.format}"]
    root = [f"data.root={data.root}"] if data.root else []
    return [*kind, *root, *([f"model.spec={spec}"] if architecture_of(spec) else [])]
