"""Preparation before the first image: the network, the manifest, and a record of where everything came from."""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.history import config_hash
from pipeline.config.load import config_text
from pipeline.config.recipe import FullRecipe, NetworkFacts, Recipe, resolve
from pipeline.config.sections import Config
from pipeline.engine.labels import matched
from pipeline.store.directory import MANIFEST_FILE
from pipeline.store.info import SCHEMA, Pixels, RunInfo
from pipeline.store.manifest import ROW_GROUP, read_records, select, shard_length, to_table
from pipeline.store.rundir import RunDir, encode
from pipeline.store.tables import COUNTS_FORM
from pipeline.version import __version__
from stages.classify.network import Network
from stages.classify.sources import check_spec, load_network
from stages.errors import ConfigurationError, DataError, UserError
from stages.formats import read_dataset
from stages.formats.table import check_root
from stages.ingest.depth import find_levels
from stages.ingest.levels import Levels
from stages.ingest.records import ImageRecord
from stages.ingest.sizes import fill_sizes

log = logging.getLogger("wsl_pipeline")

PACKAGES = (
    *("torch", "torchvision", "timm", "ray", "numpy", "numba", "pillow", "opencv-python-headless"),
    *("pyarrow", "pycocotools"),
)


@dataclass(frozen=True)
class Survey:
    """Inputs of a run.

    Attributes:
        recipe: The run's recipe, completed by the network.
        records: The images, labelled by network output.
        network: The network, ready to be explained.
        notes: Oddities of the data, one line each.
        classes: The dataset's classes in order, with the run's class of each, -1 for none; empty where they are the
            network's.
    """

    recipe: FullRecipe
    records: list[ImageRecord]
    network: Network
    notes: list[str]
    classes: dict[str, int]

    @property
    def labelled(self) -> int:
        """Number of images with a label that the network knows."""
        return sum(record.label >= 0 for record in self.records)

    @property
    def boxes(self) -> int:
        """Number of ground-truth boxes."""
        return sum(len(record.boxes) for record in self.records)


def resolve_run(config: Config) -> Recipe:
    """The first step of a run: :func:`pipeline.config.recipe.resolve`, and the names of its data and network.

    Takes the import of the library that the network is looked up in.

    Raises:
        ConfigurationError: A name is unknown or missing.
        DataError: ``evaluate.blacklist`` cannot be read.
    """
    recipe = resolve(config)
    check_root(config.data.format, config.data.root)
    check_spec(config.model.spec)
    return recipe


def survey(recipe: Recipe, levels: Levels | None = None) -> Survey:
    """Read the dataset's annotations and the network, and match their classes; nothing is written.

    Every mistake in a configuration is found here, before the first image goes through the network.

    Args:
        recipe: What the configuration determines.
        levels: Black and white of the images with more than 8 bits, where they are decided; otherwise those images are
            decoded once to find them.

    Raises:
        UserError: Something is missing or does not fit.
    """
    config = recipe.config
    # Data first: a wrong path is found in milliseconds, a network takes seconds to load.
    data = config.data
    dataset = read_dataset(data.format, data.root, data.annotation_limit, **data.options)
    chosen = select(dataset.records, config.data.sample, config.data.limit, config.seed)
    dataset = fill_sizes(replace(dataset, records=chosen))
    network, full, outputs = load_checked(recipe)
    dataset, match = matched(dataset, network.classes, outputs, config)
    notes = [*network.notes, *dataset.notes]
    if levels is None:
        depth = config.data.depth
        levels, lines = find_levels(dataset.records, None if depth == "auto" else depth)
        notes += [
            f"{line}; data.depth sets another depth" if depth == "auto" else f"data.depth: {line}" for line in lines
        ]
    full = full.with_classes(match.classes, match.groups).with_levels(levels)
    same = [one.name for one in dataset.classes] == [one.name for one in match.classes]
    names = (one.name for one in dataset.classes)
    classes = {} if same else dict(zip(names, match.labels, strict=True))
    return Survey(full, dataset.records, network, notes, classes)


def load_checked(recipe: Recipe) -> tuple[Network, FullRecipe, int]:
    """Load the network and try it on noise; returns the network, the completed recipe and the number of outputs.

    Raises:
        ConfigurationError: The network cannot be run or explained as the configuration asks.
    """
    import torch

    from stages.classify.dilate import dilated
    from stages.classify.outputs import with_logits
    from stages.explain.method_layers import layers_of
    from stages.explain.registry import closed_form, get_explainer, same_maps
    from stages.trace.cut import CutNetwork
    from stages.trace.probe import check_repeatable
    from stages.trace.views import Views

    config, explain = recipe.config, recipe.config.explain
    torch.set_num_threads(1)  # As workers do: threads that wait for each other take longer than passes of two images.
    network = load_network(config.model.spec)
    facts = NetworkFacts(network.weights_sha256, network.preprocess)
    size, one_size = recipe.with_network(facts).size, False
    try:
        network = with_logits(network, size, config.model.outputs)
        placed = layers_of(network, explain.methods, explain.layer, size)
        full = recipe.with_network(replace(facts, layers=placed, outputs=network.outputs))
        check_repeatable(network.module, size)
        module = dilated(network.module, full.layers[0], size) if explain.dilate else network.module
        cut = CutNetwork(module, full.layers, size)
        trace = cut.trace(torch.zeros(2, 3, size, size))
        for one in trace.layers:
            one.gradients(torch.zeros(2, dtype=torch.int64))
        Views(trace, explain.flip, explain.scales)  # Some networks run at one size only.
        if recipe.fitted:
            try:
                Views(trace, explain.flip, full.fit_scales)
            except ConfigurationError:
                one_size = True
                network.notes += ("the network has no maps at half its size: the foreground is fitted to one scale",)
        outputs = trace.logits.shape[1]
    except UserError:
        raise
    except Exception as error:  # A user's network may raise anything.
        raise ConfigurationError(
            f"model.spec: {config.model.spec} fails on images of {size} pixels: {type(error).__name__}: {error}"
        ) from error
    if network.classes and len(network.classes) != outputs:
        raise ConfigurationError(
            f"model.spec: {len(network.classes)} class names for a network of {outputs} outputs; give one name per line"
        )
    kinds: dict[str, tuple[str, ...]] = {}
    for method, names in placed.items():
        own = trace.at(names)
        has_linear_head = own.head is not None
        kinds[method] = closed_form(method, has_linear_head, explain.scales)[0].name, *names
        check = get_explainer(method, has_linear_head).check
        if check:
            for one in own.layers:
                check(one)
    facts = replace(full.network, same_map_as=same_maps(kinds), one_size=one_size)
    return network, recipe.with_network(facts), outputs


Check = Callable[[FullRecipe, RunInfo, bytes | None], None]
"""A last check before a run begins, of its recipe, its ``run.json`` and, where it is not begun, its manifest."""


def prepare(directory: RunDir, recipe: Recipe, check: Check = lambda *_: None) -> tuple[Survey, RunInfo]:
    """Make or check the manifest; returns the inputs of the run, and its ``run.json``.

    A run that was begun before must find the same images, annotations and weights.

    Args:
        directory: The run's directory.
        recipe: The first step of its recipe.
        check: Called before anything is written.

    Raises:
        UserError: Something is missing, does not fit or has changed, or the check raised it.
    """
    begun = directory.info() if directory.begun else None
    found = survey(recipe, None if begun is None else begun.levels)
    info, manifest = examine(directory, found)
    check(found.recipe, info, manifest)
    if manifest is not None:
        for note in found.notes:
            log.warning("%s", note)
        begin(directory, found.recipe, info, manifest)
    return found, info


def examine(directory: RunDir, found: Survey) -> tuple[RunInfo, bytes | None]:
    """The ``run.json`` of a run, and the bytes of its manifest where it was not begun yet; nothing is written.

    Args:
        directory: The run's directory.
        found: Its inputs.

    Raises:
        UserError: An annotation cannot be stored, or something has changed since the run was begun.
    """
    try:
        manifest = encode(to_table(found.records), ROW_GROUP)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise DataError(f"data: a number in the annotations is out of range: {error}") from None
    digest = hashlib.sha256(manifest).hexdigest()
    if not directory.begun:
        return _first_info(found, digest), manifest
    info = directory.info()
    if not (info.weights_sha256 and info.manifest_sha256):
        raise DataError(f"{directory.where('run.json')} is damaged; restore it or choose another --out")
    directory.check_manifest()
    if digest != info.manifest_sha256 and _says_the_same(directory, found.records):
        digest = info.manifest_sha256
    for before, now, what in (
        (info.weights_sha256, found.network.weights_sha256, "model.spec: the weights have"),
        (info.manifest_sha256, digest, f"data: the images or annotations ({info.images} then) have"),
        (info.precision, found.recipe.config.runtime.precision, "runtime.precision has"),
        (info.outputs, found.recipe.network.outputs, "model.spec: what the network's outputs stand for has"),
    ):
        if before != now:
            raise ConfigurationError(f"{what} changed since {directory} was begun; choose another --out")
    check_blacklist(directory, info, found.recipe)
    info.levels = dict(found.recipe.levels)
    return info, None


def _says_the_same(directory: RunDir, records: list[ImageRecord]) -> bool:
    """Whether the images are those of the run, except that files whose size could not be read were mended.

    Manifests of versions before 0.6 name one label of an image.
    """
    stored = [record for group in read_records(directory.manifest) for record in group]
    if len(stored) != len(records):
        return False
    several = "labels" in pq.read_schema(directory.manifest).names
    known = [
        replace(now, width=0, height=0) if not (before.width or before.height) else now
        for before, now in zip(stored, records, strict=True)
    ]
    ours, theirs = (to_table(one) if several else to_table(one).drop_columns(["labels"]) for one in (known, stored))
    return bool(ours.equals(theirs))


def check_blacklist(directory: RunDir, info: RunInfo, recipe: Recipe) -> None:
    """Check that the blacklist is unchanged: a change during a run would affect some shards only.

    Raises:
        ConfigurationError: The file lists different images than when the run was begun.
    """
    if info.blacklist != recipe.protocol.blacklist:
        raise ConfigurationError(
            f"evaluate.blacklist: {recipe.config.evaluate.blacklist} has changed since {directory} was begun; "
            "restore it or choose another --out"
        )


def _first_info(found: Survey, digest: str) -> RunInfo:
    """The ``run.json`` of a run that begins.

    Args:
        found: Its inputs.
        digest: SHA-256 of its manifest.
    """
    recipe, facts = found.recipe, found.recipe.network
    return RunInfo(
        schema=SCHEMA,
        counts_form=COUNTS_FORM,
        config_hash=config_hash(recipe.config),
        manifest_sha256=digest,
        weights_sha256=facts.weights_sha256,
        images=len(found.records),
        dataset_classes=found.classes,
        labelled=found.labelled,
        boxes=found.boxes,
        shard_size=shard_length(len(found.records), recipe.config.runtime.shard_size),
        precision=recipe.config.runtime.precision,
        blacklist=recipe.protocol.blacklist,
        layer=recipe.layers[0] if len(recipe.layers) == 1 else recipe.layers,
        layers=dict(facts.layers),
        same_map_as=dict(facts.same_map_as),
        preprocess=Pixels(**asdict(facts.preprocess)),
        outputs=facts.outputs,
        levels=dict(recipe.levels),
        notes=found.notes,
        versions=versions(),
    )


def begin(directory: RunDir, recipe: Recipe, info: RunInfo, manifest: bytes) -> None:
    """Write the files that a run needs before its first shard.

    Args:
        directory: The run's directory, opened and empty.
        recipe: The run's recipe.
        info: The run's origins.
        manifest: The bytes of its manifest, written last: where it exists, so do the other files.
    """
    directory.write("config.yaml", config_text(recipe.config))
    info.config_sha256 = directory.written["config.yaml"]
    directory.write_info(info)
    directory.write(MANIFEST_FILE, manifest)


def versions() -> dict[str, str]:
    """Versions of this package and of the packages that results depend on."""
    found = {"wsl-pipeline": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
