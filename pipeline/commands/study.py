"""Several trainings in one command: the features of one trunk are computed once, and the results compared in pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.commands.train import default_directory, train
from pipeline.config.overrides import Overrides
from pipeline.config.training import TrainConfig, load_training
from pipeline.config.variants import Variant, variants
from pipeline.engine.progress import Progress
from pipeline.report.study import write_study_page
from pipeline.store import atomic as storage
from pipeline.store.files import Files
from pipeline.store.training import TrainDir, remove_files
from stages.errors import ConfigurationError
from stages.evaluate.statistics.bootstrap import DECIMALS
from stages.evaluate.statistics.paired import share_difference
from stages.ingest.paths import join
from stages.ingest.uris import list_folder

ANY_KEY = ""
"""What the keys begin with that may list their values."""


def choices(overrides: Overrides) -> list[Variant]:
    """The trainings that overrides stand for: one for every combination of the values that they list.

    Raises:
        ConfigurationError: A list is empty or repeats a value, or its key is given twice.
    """
    return variants(overrides, ANY_KEY, TrainConfig)


def study(
    name: str,
    chosen: Sequence[Variant],
    out: str | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Carry out several trainings, or resume them, and compare each with the first.

    Args:
        name: Name or file of the configuration.
        chosen: The trainings, several, as :func:`choices` gives them.
        out: Folder of their directories, one for each; ``runs/train-NAME-HASH-study`` where not given.
        watch: Called with the progress of the features.

    Returns:
        ``trainings``, the content of each ``metrics.json`` with ``variant`` and ``run_dir``; ``differences`` of the
        accuracy of each but the first from the first, on the same test images, by variant; and ``run_dir``.

    Raises:
        UserError: Something that the user can fix, in one line.
    """
    stems, configs = zip(*(load_training(name, one.overrides) for one in chosen), strict=True)
    out = out or f"{default_directory(stems[0], configs[0])}-study"
    folder = Files(out)
    _check_empty(folder, [one.name for one in chosen])
    for place in (folder.uri, folder.where("report")):
        storage.make_folder(place)
    with folder.locked():
        places = [one.folder(folder.uri) for one in chosen]
        shared = folder.where("features")
        results = [train(*each, watch, shared) for each in zip(configs, places, strict=True)]
        found = {
            "trainings": [
                metrics | {"variant": one.name, "run_dir": place}
                for metrics, one, place in zip(results, chosen, places, strict=True)
            ],
            "differences": _differences([TrainDir(place) for place in places], chosen, configs[0].seed),
        }
        folder.write_json("study.json", found)
        write_study_page(folder, found)
        for digest in list_folder(shared)[0]:
            remove_files(join(shared, digest))
        storage.remove_folder(shared)
    return found | {"run_dir": out}


def _check_empty(folder: Files, names: list[str]) -> None:
    """Refuse a folder that is of something else.

    Raises:
        ConfigurationError: It is.
    """
    known = {*names, "features", "study.json", "report", ".lock"}
    there = [one for names_of in list_folder(folder.uri) for one in names_of]
    strange = [one for one in there if one not in known and not storage.is_temporary(one)]
    if strange and not folder.exists("study.json"):
        raise ConfigurationError(f"--out: {folder} holds {strange[0]}, which is not of this study; choose another one")


def _differences(places: Sequence[TrainDir], chosen: Sequence[Variant], seed: int) -> dict[str, Any]:
    """How the accuracy of each but the first differs, on the test images that both have."""
    first, *others = (one.predictions().to_pydict() for one in places)
    found = {}
    for other, one in zip(others, chosen[1:], strict=True):
        _, a, b = np.intersect1d(first["image_id"], other["image_id"], return_indices=True)
        same = places[0].info().manifest_sha256 == places[chosen.index(one)].info().manifest_sha256
        if same and len(a):  # Other splits have other test images.
            hits, others_hits = np.array(first["right"])[a], np.array(other["right"])[b]
            means = {"a": round(float(hits.mean()), DECIMALS), "b": round(float(others_hits.mean()), DECIMALS)}
            found[one.name] = means | share_difference(hits, others_hits, seed)
    return found
