"""New boxes and scores from the stored maps of a run, without images or network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.history import config_hash
from pipeline.config.keys import named_keys
from pipeline.config.load import from_tree
from pipeline.config.overrides import Override, Overrides, parsed
from pipeline.config.recipe import FullRecipe, resolve
from pipeline.config.sections import RULES, Config
from pipeline.config.variants import variants
from pipeline.engine.carry_through import carry_through, check_start, is_done
from pipeline.engine.executors import inline
from pipeline.engine.job import Job
from pipeline.engine.machine import cores
from pipeline.engine.plan import Group, Outcome
from pipeline.engine.prepare import begin, check_blacklist, versions
from pipeline.engine.progress import Progress, Session
from pipeline.engine.stages import scoring_stages
from pipeline.store.holding import holding
from pipeline.store.info import SCHEMA, RunInfo, Source
from pipeline.store.manifest import Shard, read_shard
from pipeline.store.rundir import MANIFEST_FILE, RunDir
from pipeline.store.tables import COUNTS_FORM, FAITHFULNESS, MACHINE
from stages.batch import Batch, Resources, ragged, take
from stages.errors import ConfigurationError, DataError
from stages.ingest.geometry import fit_transforms

BATCH_ROWS = 64
"""Approximate number of maps that a worker takes at once; resized maps dominate its memory."""

CHANGEABLE = ("box.", "evaluate.", "runtime.", "seed")
"""Beginnings of the keys that no stored map depends on."""

_KEPT = (
    *("weights_sha256", "manifest_sha256", "images", "dataset_classes", "labelled", "boxes", "shard_size", "precision"),
    *("layer", "layers", "same_map_as", "preprocess", "levels", "notes"),
)
"""Fields of ``run.json`` that describe the maps, not how they were computed."""


def relocalize_all(
    source: str | Path, overrides: Overrides, out: str | Path, watch: Callable[[Progress], None] = lambda progress: None
) -> list[dict[str, Any]]:
    """Relocalize for every choice that the overrides list, each in a folder of ``out``; see :func:`relocalize`.

    Returns:
        The content of each ``metrics.json``, with ``variant``, its name, and ``run_dir``.
    """
    chosen = variants(overrides)
    return [
        relocalize(source, one.overrides, one.folder(out), watch) | {"variant": one.name, "run_dir": one.folder(out)}
        for one in chosen
    ]


def relocalize(
    source: str | Path, overrides: Overrides, out: str | Path, watch: Callable[[Progress], None] = lambda progress: None
) -> dict[str, Any]:
    """Score a finished run's maps by other rules, in a new run directory.

    Images that failed in the run stay failed. The run's own rules reproduce its boxes and scores.

    Args:
        source: The run; its maps are read, nothing is written there.
        overrides: Changes to its configuration. A named protocol is taken as it is: the run's changes to its
            own protocol are not carried over.
        out: The new run directory. The same call resumes it.
        watch: Called with the progress.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError: Something that the user can fix, in one line.
    """
    origin = RunDir(source)
    return rescore(origin, _changed(origin, overrides), out, watch)


@named_keys()
def rescore(
    origin: RunDir, config: Config, out: str | Path, watch: Callable[[Progress], None] = lambda progress: None
) -> dict[str, Any]:
    """Relocalize with a whole configuration, which may differ from the run's only in keys that no map depends on."""
    rules, made_by = resolve(config), origin.recipe()
    if not origin.complete:
        raise DataError(f"{origin} is not complete; run its command again, then relocalize it")
    recipe = rules.with_network(made_by.network).with_classes(origin.classes()).with_levels(made_by.levels)
    with holding(out, config) as directory:
        session = Session(directory, _begun(directory, recipe, origin), watch)
        limit = config.runtime.timeout
        job = StoredJob(directory, BATCH_ROWS, recipe.class_names, limit, source=origin, recipe=recipe)
        groups = [Group(scoring_stages(recipe), Resources())]
        workers = cores() if config.runtime.workers == "auto" else config.runtime.workers

        def compute(todo: list[Shard]) -> None:
            for report in inline.execute(groups, todo, job, workers, session.start):
                session.add(report)

        return carry_through(directory, recipe, session, compute)


@dataclass(frozen=True, kw_only=True)
class StoredJob(Job):
    """A job whose batches are the rows of a run; ``batch_size`` counts maps.

    Attributes:
        source: The run that stored the maps.
        recipe: The new rules.
    """

    source: RunDir
    recipe: FullRecipe

    def batches(self, shard: Shard) -> list[Batch]:
        """The shard's rows with their maps, cut between images."""
        table = self.source.part("predictions", shard.index)
        table = table.filter(pc.equal(table["component"], 0))
        images = read_shard(self.source.manifest, shard)
        rows = np.searchsorted(images["image_id"], table["image_id"].to_numpy())
        transforms = np.zeros((len(images["image_id"]), 4))
        there = np.unique(rows)
        sides = images["width"][there], images["height"][there]
        transforms[there] = fit_transforms(*sides, self.recipe.size, self.recipe.fit, self.recipe.crop_ratio)
        batch = take(images, rows) | _stored(table) | {"transform": transforms[rows]}
        firsts = np.flatnonzero(np.diff(rows, prepend=-1))
        # The first image that begins in each stretch of batch_size rows.
        cuts = firsts[np.unique(firsts // self.batch_size, return_index=True)[1]]
        return [take(batch, slice(*span)) for span in zip(cuts, [*cuts[1:], len(rows)], strict=True)]

    def errors(self, shard: Shard, outcomes: list[Outcome]) -> pa.Table:
        """The images that failed in the source run, copied from it."""
        return self.source.part("errors", shard.index)

    def network_counts(self, shard: Shard, rows: Batch) -> dict[bytes, bytes]:
        """Faithfulness counts of the source run, which hold because its maps stay the same."""
        metadata = self.source.part("predictions", shard.index).schema.metadata
        return {FAITHFULNESS: metadata[FAITHFULNESS]} if FAITHFULNESS in metadata else {}


def _stored(table: pa.Table) -> Batch:
    """Prediction rows as the columns that the explaining stage hands to the scoring stages."""
    rows: Batch = {name: table[name].to_numpy() for name in ("target_rank", "class_index", "prob", "map_scale")}
    rows["method"] = ragged(table["method"].to_pylist())
    if machine := (table.schema.metadata or {}).get(MACHINE):
        rows["machine"] = np.full(len(table), machine.decode())
    values = table["map"].combine_chunks()
    flat, offsets = values.values.to_numpy(zero_copy_only=False), values.offsets.to_numpy()
    shapes = zip(offsets, offsets[1:], table["map_h"].to_pylist(), table["map_w"].to_pylist(), strict=False)
    rows["map"] = ragged(flat[start:stop].reshape(height, width) for start, stop, height, width in shapes)
    return rows


def _changed(origin: RunDir, overrides: Overrides) -> Config:
    changes = parsed(overrides)
    for key, value in changes:
        if not key.startswith(CHANGEABLE) or key == "evaluate.faithfulness":
            raise ConfigurationError(
                f"{key}={value}: this needs the network; relocalize changes only box and evaluate, so begin a new run"
            )
    named = any(key == "box.protocol" for key, _ in changes)
    cleared = [Override(f"box.{name}", None) for name in RULES if named]
    return from_tree(origin.config().model_dump(), [*cleared, *changes])


def _begun(directory: RunDir, recipe: FullRecipe, origin: RunDir) -> RunInfo:
    """The new run's ``run.json``; a run that was begun before must have the same source."""
    info = origin.info()
    source = Source(
        config_hash=info.config_hash, weights_sha256=info.weights_sha256, manifest_sha256=info.manifest_sha256
    )
    if directory.begun:
        begun = directory.info()
        if begun.source != source:
            raise ConfigurationError(f"{directory} holds no relocalization of {origin}; choose another --out")
        check_blacklist(directory, begun, recipe)
        if not is_done(directory, begun):
            check_start(directory, recipe, begun, None)
        return begun
    begun = RunInfo(
        schema=SCHEMA,
        counts_form=COUNTS_FORM,
        config_hash=config_hash(recipe.config),
        source=source,
        blacklist=recipe.protocol.blacklist,
        versions=versions(),
        **{key: getattr(info, key) for key in _KEPT},
    )
    manifest = origin.read(MANIFEST_FILE)
    check_start(directory, recipe, begun, manifest)
    begin(directory, recipe, begun, manifest)
    return begun
