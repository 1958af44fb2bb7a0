"""New boxes and scores from the stored maps of a run, without images or network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.config.history import config_hash
from pipeline.config.keys import named_keys
from pipeline.config.load import from_tree
from pipeline.config.overrides import Override, Overrides, parsed
from pipeline.config.recipe import FullRecipe, resolve
from pipeline.config.sections import RULES, Config
from pipeline.config.variants import variants
from pipeline.engine.carry_through import carry_through, check_start, is_done
from pipeline.engine.executors import inline
from pipeline.engine.machine import cores
from pipeline.engine.plan import Group
from pipeline.engine.prepare import begin, check_blacklist, versions
from pipeline.engine.progress import Progress, Session
from pipeline.engine.stages import scoring_stages
from pipeline.engine.stored import StoredJob, rules_of
from pipeline.store.directory import MANIFEST_FILE
from pipeline.store.holding import holding
from pipeline.store.info import SCHEMA, RunInfo, Source
from pipeline.store.manifest import Shard
from pipeline.store.rundir import RunDir
from pipeline.store.tables import COUNTS_FORM
from stages.batch import Resources
from stages.errors import ConfigurationError, DataError

BATCH_ROWS = 64
"""Approximate number of maps that a worker takes at once; resized maps dominate its memory."""

CHANGEABLE = ("box.", "evaluate.", "runtime.", "seed", "explain.exponents", "explain.quantile")
"""Beginnings of the keys that no stored map depends on, or only as a function of what is stored with it."""

_KEPT = (
    *(
        "weights_sha256",
        "manifest_sha256",
        "fit_sha256",
        "images",
        "dataset_classes",
        "labelled",
        "boxes",
        "shard_size",
        "precision",
    ),
    *("layer", "layers", "same_map_as", "preprocess", "levels", "notes"),
)
"""Fields of ``run.json`` that describe the maps, not how they were computed."""


def relocalize_all(
    sources: Sequence[str | Path],
    overrides: Overrides,
    out: str | Path,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> list[dict[str, Any]]:
    """Relocalize for every choice that the overrides list, each in a folder of ``out``; see :func:`relocalize`.

    Returns:
        The content of each ``metrics.json``, with ``variant``, its name, and ``run_dir``.
    """
    found = []
    for one in variants(overrides):
        metrics = relocalize(sources, one.overrides, one.folder(out), watch)
        found.append(metrics | {"variant": one.name, "run_dir": one.folder(out)})
    return found


def relocalize(
    sources: str | Path | Sequence[str | Path],
    overrides: Overrides,
    out: str | Path,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Score the maps of one or several finished runs by other rules, in a new run directory.

    Images that failed in the first run stay failed. A run's own rules reproduce its boxes and scores. The maps of
    several runs over the same images are fused: the new run has the first one's predictions, and each of its maps
    is made from those of all runs that explained the same class of the image by the same method.

    Args:
        sources: The runs; their maps are read, nothing is written there.
        overrides: Changes to the first one's configuration. A named protocol is taken as it is: the run's changes to
            its own protocol are not carried over.
        out: The new run directory. The same call resumes it.
        watch: Called with the progress.

    Returns:
        The content of ``metrics.json``.

    Raises:
        UserError: Something that the user can fix, in one line.
    """
    origins = [RunDir(one) for one in ([sources] if isinstance(sources, str | Path) else sources)]
    return rescore(origins, _changed(origins[0], overrides), out, watch)


@named_keys()
def rescore(
    origins: Sequence[RunDir],
    config: Config,
    out: str | Path,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Relocalize with a whole configuration, which may differ from the first run's only in keys of no stored map."""
    origin = origins[0]
    for uri, times in Counter(one.uri for one in origins).items():
        if times > 1:
            raise ConfigurationError(f"{uri} is named twice; name every run once")
    for one in origins:
        if not one.complete:
            raise DataError(f"{one} is not complete; run its command again, then relocalize it")
    rules, made_by = resolve(config), [one.recipe() for one in origins]
    for other, its in zip(origins[1:], made_by[1:], strict=True):
        _check_fusible(origin, made_by[0], other, its)
    for one, its in zip(origins, made_by, strict=True):
        if its.fused_below is not None and rules.fused_below is None and one.info().fused_with:
            raise ConfigurationError(f"{one} fuses several runs scale by scale: fuse those again by these rules")
    recipe = rules.with_network(made_by[0].network).with_classes(origin.classes()).with_levels(made_by[0].levels)
    with holding(RunDir, out, config) as directory:
        session = Session(directory, _begun(directory, recipe, origins), watch)
        job = StoredJob(
            run=directory,
            batch_size=BATCH_ROWS,
            timeout=config.runtime.timeout,
            class_names=recipe.class_names,
            sources=tuple(origins),
            recipe=recipe,
            before=tuple(map(rules_of, made_by)),
        )
        groups = [Group(scoring_stages(recipe), Resources())]
        workers = cores() if config.runtime.workers == "auto" else config.runtime.workers

        def compute(todo: list[Shard]) -> None:
            for report in inline.execute(groups, todo, job, workers, session.start):
                session.add(report)

        return carry_through(directory, recipe, session, compute)


def _check_fusible(origin: RunDir, recipe: FullRecipe, other: RunDir, its: FullRecipe) -> None:
    """Check that the maps of two runs are of the same images, classes, frames and methods.

    Raises:
        ConfigurationError: They are not.
    """
    one, two = origin.info(), other.info()
    missing = [method for method in recipe.methods if method not in its.methods]
    frames = [(each.fit, each.crop_ratio if each.fit == "center_crop" else 1) for each in (recipe, its)]
    for differs, what in (
        (
            one.manifest_sha256 != two.manifest_sha256,
            "it has other images, labels or boxes, or another order of classes",
        ),
        ([one.name for one in origin.classes()] != [one.name for one in other.classes()], "it has other classes"),
        (frames[0] != frames[1], "it shows its network another part of the images (model.fit)"),
        (missing, f"it has no maps of {', '.join(missing)}"),
        (recipe.config.explain.targets != its.config.explain.targets, "it explains other targets"),
        (recipe.config.explain.contrast != its.config.explain.contrast, "it contrasts labels otherwise"),
    ):
        if differs:
            raise ConfigurationError(f"{other} cannot be fused with {origin}: {what}")


def _changed(origin: RunDir, overrides: Overrides) -> Config:
    changes = parsed(overrides)
    for key, value in changes:
        if not key.startswith(CHANGEABLE) or key == "evaluate.faithfulness":
            raise ConfigurationError(
                f"{key}={value}: this needs the network, so begin a new run; relocalize changes box, evaluate, "
                "explain.exponents and explain.quantile"
            )
    named = any(key == "box.protocol" for key, _ in changes)
    cleared = [Override(f"box.{name}", None) for name in RULES if named]
    return from_tree(Config, origin.config().model_dump(), [*cleared, *changes])


def _begun(directory: RunDir, recipe: FullRecipe, origins: Sequence[RunDir]) -> RunInfo:
    """The new run's ``run.json``; a run that was begun before must have the same sources."""
    origin = origins[0]
    info = origin.info()
    source, *others = [Source.of(one.info()) for one in origins]
    if directory.begun:
        begun = directory.info()
        if begun.source != source or begun.fused_with != others:
            names = " and ".join(map(str, origins))
            raise ConfigurationError(f"{directory} holds no relocalization of {names}; choose another --out")
        check_blacklist(directory, begun, recipe)
        if not is_done(directory, begun):
            check_start(directory, recipe, begun, None)
        return begun
    begun = RunInfo(
        schema=SCHEMA,
        counts_form=COUNTS_FORM,
        config_hash=config_hash(recipe.config),
        source=source,
        fused_with=others,
        blacklist=recipe.protocol.blacklist,
        versions=versions(),
        **{key: getattr(info, key) for key in _KEPT},
    )
    manifest = origin.read(MANIFEST_FILE)
    check_start(directory, recipe, begun, manifest)
    begin(directory, recipe, begun, manifest)
    return begun
