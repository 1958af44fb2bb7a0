"""The first phase of a run whose methods are fitted: a sample of its images, and the foreground fitted to it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from pipeline.config.recipe import FullRecipe
from pipeline.engine.job import Job
from pipeline.engine.plan import plan
from pipeline.engine.stages import fitting_stages
from pipeline.store import atomic as storage
from pipeline.store.fit import FIT_FILE, parts_with_cells, read_cells, remove_cells, write_cells
from pipeline.store.info import RunInfo
from pipeline.store.manifest import Shard, cut_into_shards, read_sample
from pipeline.store.rundir import RunDir
from stages.batch import Batch, Failure, length, take
from stages.errors import ConfigurationError, DataError
from stages.explain.foreground.file import Fit
from stages.explain.foreground.student import Student, Sums, fit
from stages.explain.targets import of_predictions
from stages.ingest.paths import join
from stages.ingest.uris import is_file, read_bytes

log = logging.getLogger("wsl_pipeline")

PART = 32
"""Images of the sample that are stored, and computed again after an interruption, together."""


@dataclass(frozen=True, kw_only=True)
class FitJob(Job):
    """A job over a sample of the run's images, whose parts are cells.

    Attributes:
        run: The run.
        info: Its ``run.json``.
        sample: The images.
    """

    run: RunDir
    info: RunInfo
    sample: Batch

    def batches(self, shard: Shard) -> list[Batch]:
        """The part's images, cut into batches."""
        return self.cut(take(self.sample, slice(shard.start, shard.stop)))

    def store(self, shard: Shard, rows: Batch, errors: list[Failure], machine: str) -> int:
        """Store the cells of a part; images that failed give none, and fail again in their shard."""
        cells = [one for one in rows.get("cells", []) if len(one)]
        foreground = [one for one in rows.get("foreground", []) if len(one)]
        everything = np.concatenate(cells) if cells else np.zeros((0, 1), np.float32)
        kinds = np.concatenate(foreground) if foreground else np.zeros(0, bool)
        write_cells(self.run, self.info, shard.index, everything, kinds, len(cells))
        return len(errors)


@dataclass(frozen=True)
class Means:
    """What the forward passes are made with.

    Attributes:
        executor: The executor's module.
        device: Device of the network.
        batch_size: Images per batch.
        workers: Number of model workers; None for as many as there is room for.
        stop: Whether to begin nothing more.
    """

    executor: ModuleType
    device: str
    batch_size: int
    workers: int | None
    stop: Callable[[], bool]


def fitted(directory: RunDir, recipe: FullRecipe, info: RunInfo, means: Means) -> Student | None:
    """The student of a run, which is fitted, or taken from elsewhere, once and for all.

    Args:
        directory: The run, locked.
        recipe: Its recipe.
        info: Its ``run.json``; the digest of the fit is added.
        means: What to fit it with.

    Returns:
        The student; None if it was told to stop.

    Raises:
        DataError: The maps are sure of too little, or the file has changed since the run was begun.
        ConfigurationError: A fit was made for another network or layer.
    """
    stored = directory.read(FIT_FILE) if directory.exists(FIT_FILE) else b""
    if info.fit_sha256 and hashlib.sha256(stored).hexdigest() == info.fit_sha256:
        remove_cells(directory)  # A kill may have come before.
        return Fit.of_bytes(stored, directory.where(FIT_FILE)).student
    if recipe.config.explain.foreground == "fit":
        found = fit_to_sample(directory, recipe, info, means)
        if found is None:
            return None
    else:
        found = given_fit(recipe)
    data = found.to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if info.fit_sha256 not in ("", digest):
        raise DataError(f"{directory.where(FIT_FILE)} is not the one that the run began with; choose another --out")
    storage.make_folder(directory.where("fit"))
    directory.write(FIT_FILE, data)
    info.fit_sha256 = digest
    directory.write_info(info)
    remove_cells(directory)
    # As it is stored: a run that goes on has no other.
    return Fit.of_bytes(data, FIT_FILE).student


def given_fit(recipe: FullRecipe) -> Fit:
    """The fit that ``explain.foreground`` names.

    Raises:
        ConfigurationError: There is none, or it was made for another network or layer.
        DataError: It is damaged.
    """
    named = recipe.config.explain.foreground
    where = named if named.endswith(".npz") else join(named, FIT_FILE)
    if not is_file(where):
        raise ConfigurationError(
            f"explain.foreground: there is no {where}; name a file foreground.npz, a run that fitted one, or fit"
        )
    found = Fit.of_bytes(read_bytes(where), f"explain.foreground: {where}")
    (layer,) = recipe.network.layers[recipe.fitted[0]]
    if found.weights_sha256 != recipe.network.weights_sha256:
        raise ConfigurationError(f"explain.foreground: {where} was fitted to another network's features; use fit")
    if found.layer != layer:
        raise ConfigurationError(
            f"explain.foreground: {where} was fitted to the layer {found.layer}, and this run explains {layer}; use fit"
        )
    return found


def fit_to_sample(directory: RunDir, recipe: FullRecipe, info: RunInfo, means: Means) -> Fit | None:
    """The fit to a run's sample, whose cells are stored as they come; arguments and errors as for :func:`fitted`."""
    config = recipe.config
    any_label = bool(of_predictions(config.explain.targets))
    sample = read_sample(directory.manifest, config.explain.fit_images, recipe.seed, labelled=not any_label)
    parts = cut_into_shards(length(sample), PART)
    storage.make_folder(directory.where("fit"))
    log.info("fitting the foreground to %d images", length(sample))
    done = set(parts_with_cells(directory, info, len(parts)))
    size, timeout = means.batch_size, config.runtime.timeout
    job = FitJob(run=directory, batch_size=size, timeout=timeout, info=info, sample=sample)
    if todo := [part for part in parts if part.index not in done]:
        groups = plan(fitting_stages(recipe, means.device))
        for _ in means.executor.execute(groups, todo, job, means.workers, lambda: None, means.stop):
            pass
    if means.stop():
        return None
    images, sums = 0, None
    for part in parts:
        cells, foreground, given = read_cells(directory, info, part.index)
        if given:
            images += given
            sums = Sums.of(cells, foreground) + (sums or Sums.none(cells.shape[1]))
    sums = sums or Sums.none(1)
    (layer,) = recipe.network.layers[recipe.fitted[0]]
    return Fit(fit(sums), recipe.network.weights_sha256, layer, images, sums.cells, sums.foreground)
