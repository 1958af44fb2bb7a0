"""Before the first image: the network, the manifest, and a record of where everything came from."""

from __future__ import annotations

import hashlib
import logging
import platform
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import yaml

from pipeline import __version__
from pipeline.config.sections import Config, protocol_of
from pipeline.store.manifest import ROW_GROUP, relabel, select, shard_length, to_table
from pipeline.store.rundir import MANIFEST_FILE, RunDir, encode
from stages.classes import ClassInfo
from stages.classify.match_classes import match_classes
from stages.classify.network import Network
from stages.errors import ConfigurationError, DataError, UserError
from stages.explain.stage import LABEL
from stages.formats import read_dataset
from stages.ingest.records import ImageRecord
from stages.ingest.sizes import fill_sizes

log = logging.getLogger("wsl_pipeline")

PACKAGES = (
    *("torch", "torchvision", "timm", "ray", "numpy", "numba", "pillow", "opencv-python-headless"),
    *("pyarrow", "pycocotools"),
)


@dataclass(frozen=True)
class Survey:
    """What a run works on.

    Attributes:
        records: The images, labelled by network output.
        network: Ready to be explained.
        classes: By network output.
        layer: Dotted name of the explained layer, or of several.
        same_map_as: Method to the one before it whose map it gives on this network.
        notes: What was odd about the data, one line each.
    """

    records: list[ImageRecord]
    network: Network
    classes: list[ClassInfo]
    layer: str | list[str]
    same_map_as: dict[str, str]
    notes: list[str]

    @property
    def labelled(self) -> int:
        """Images with a label that the network knows."""
        return sum(record.label >= 0 for record in self.records)

    @property
    def boxes(self) -> int:
        """Ground-truth boxes."""
        return sum(len(record.boxes) for record in self.records)


def survey(config: Config) -> Survey:
    """Read the dataset's annotations and the network, and match their classes; nothing is written.

    What can be wrong with a configuration is found here, before any image is decoded.

    Raises:
        UserError: What is missing or does not fit.
    """
    # Data first: a wrong path is found in milliseconds, a network takes seconds to load.
    dataset = read_dataset(config.data.format, config.data.root, config.data.split)
    chosen = select(dataset.records, config.data.sample, config.data.limit, config.seed)
    dataset = fill_sizes(replace(dataset, records=chosen))
    network, layer, outputs, same_map_as = load_checked(config)
    notes, records, classes = list(dataset.notes), dataset.records, list(network.classes)
    if dataset.classes:
        numbers, note = match_classes(dataset.classes, classes, outputs)
        notes += [note] if note else []
        records = relabel(records, numbers)
        classes = classes or dataset.classes
    classes = classes or [ClassInfo(str(index)) for index in range(outputs)]
    found = Survey(records, network, classes, layer, same_map_as, notes)
    if config.explain.targets == [LABEL] and found.labelled < len(records):
        raise DataError(
            f"explain.targets: {len(records) - found.labelled} of {len(records)} images have no label to explain; "
            "add top1 to explain.targets"
        )
    return found


def load_checked(config: Config) -> tuple[Network, str | list[str], int, dict[str, str]]:
    """The network, the name of the explained layer, the number of outputs and the methods that give the same
    maps, after a trial on noise.

    Raises:
        ConfigurationError: The network cannot be run or explained as the configuration asks.
    """
    import torch

    from stages.classify.dilate import dilated
    from stages.classify.sources import load_network
    from stages.evaluate.faithfulness.registry import get_metric
    from stages.explain.method_layers import all_layers, layers_of
    from stages.explain.registry import closed_form, get_explainer, same_maps
    from stages.trace.cut import CutNetwork
    from stages.trace.probe import check_repeatable
    from stages.trace.views import Views

    network = load_network(config.model.spec)
    size = config.model.size or network.preprocess.size
    try:
        placed = layers_of(network, config.explain.methods, config.explain.layer, size)
        layers = all_layers(placed)
        check_repeatable(network.module, size)
        if config.explain.dilate and len(layers) > 1:
            raise ConfigurationError(
                f"explain.dilate: one layer can be dilated, not several ({', '.join(layers)}); name one in "
                "explain.layer, and none in explain.methods; a sweep lists them one after the other, so give it one"
            )
        module = dilated(network.module, layers[0], size) if config.explain.dilate else network.module
        cut = CutNetwork(module, layers, size)
        trace = cut.trace(torch.zeros(2, 3, size, size))
        for one in trace.layers:
            one.gradients(torch.zeros(2, dtype=torch.int64))
        Views(trace, config.explain.flip, config.explain.scales)  # A network may run at its own size only.
        outputs = trace.logits.shape[1]
    except UserError:
        raise
    except Exception as error:  # Whatever a network of the user's own raises.
        raise ConfigurationError(
            f"model.spec: {config.model.spec} fails on images of {size} pixels: {type(error).__name__}: {error}"
        ) from error
    if network.classes and len(network.classes) != outputs:
        raise ConfigurationError(
            f"model.spec: {len(network.classes)} class names for a network of {outputs} outputs; give one a line"
        )
    for metric in config.evaluate.faithfulness:
        get_metric(metric)
    if config.evaluate.faithfulness and config.explain.targets == [LABEL]:
        raise ConfigurationError(
            "evaluate.faithfulness: it is measured on the map of the first prediction; add top1 to explain.targets"
        )
    kinds: dict[str, tuple[str, ...]] = {}
    for method, names in placed.items():
        own = trace.at(names)
        has_linear_head = own.head is not None
        kinds[method] = closed_form(method, has_linear_head, config.explain.scales)[0].name, *names
        check = get_explainer(method, has_linear_head).check
        if check:
            for one in own.layers:
                check(one)
    layer = layers[0] if len(layers) == 1 else layers
    return network, layer, outputs, same_maps(kinds)


def prepare(directory: RunDir, config: Config) -> tuple[Survey, dict[str, Any]]:
    """What a run works on, and what ``run.json`` says of its origins.

    A run that was begun before must find the same images, annotations and weights.

    Raises:
        UserError: What is missing, does not fit or has changed.
    """
    found = survey(config)
    try:
        manifest = encode(to_table(found.records), ROW_GROUP)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise DataError(f"data: a number in the annotations is out of range: {error}") from None
    digest = hashlib.sha256(manifest).hexdigest()
    if not directory.begun:
        return found, _begin(directory, config, found, manifest)
    info = directory.read_json("run.json")
    if not {"images", "weights_sha256", "manifest_sha256", "precision", "shard_size"} <= set(info):
        raise DataError(f"{directory.where('run.json')} is damaged; restore it or choose another --out")
    begun_by = info.get("versions", {}).get("wsl-pipeline", __version__)
    if begun_by != __version__ and not directory.complete:  # Its parts hold counts of another form.
        raise ConfigurationError(
            f"{directory} was begun by wsl-pipeline {begun_by}, this is {__version__}; finish it with the former, or "
            "choose another --out"
        )
    if hashlib.sha256(directory.read(MANIFEST_FILE)).hexdigest() != info["manifest_sha256"]:
        raise DataError(
            f"{directory.where(MANIFEST_FILE)} is not the one that the run began with; choose another --out"
        )
    for key, now, what in (
        ("weights_sha256", found.network.weights_sha256, "model.spec: the weights have"),
        ("manifest_sha256", digest, f"data: the images or annotations ({info['images']} then) have"),
        ("precision", config.runtime.precision, "runtime.precision has"),
    ):
        if info[key] != now:
            raise ConfigurationError(f"{what} changed since {directory} was begun; choose another --out")
    check_blacklist(directory, info, config)
    return found, info


def check_blacklist(directory: RunDir, info: dict[str, Any], config: Config) -> None:
    """Images that left the scores in the middle of a run would leave those of some shards only.

    Raises:
        ConfigurationError: The file lists other images than when the run was begun.
    """
    if info.get("blacklist", "none") != protocol_of(config).blacklist:
        raise ConfigurationError(
            f"evaluate.blacklist: {config.evaluate.blacklist} has changed since {directory} was begun; "
            "restore it or choose another --out"
        )


def _begin(directory: RunDir, config: Config, found: Survey, manifest: bytes) -> dict[str, Any]:
    info = {
        "config_hash": config.hash(),
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "weights_sha256": found.network.weights_sha256,
        "images": len(found.records),
        "labelled": found.labelled,
        "boxes": found.boxes,
        "shard_size": shard_length(len(found.records), config.runtime.shard_size),
        "precision": config.runtime.precision,
        "blacklist": protocol_of(config).blacklist,
        "layer": found.layer,
        "same_map_as": found.same_map_as,
        "preprocess": asdict(found.network.preprocess),
        "notes": found.notes,
        "versions": versions(),
    }
    for note in found.notes:
        log.warning("%s", note)
    # The manifest last: where it stands, the run was begun and the others are there.
    directory.write("config.yaml", yaml.safe_dump(config.model_dump(), sort_keys=False).encode())
    directory.write_json("run.json", info)
    directory.write(MANIFEST_FILE, manifest)
    return info


def versions() -> dict[str, str]:
    """Of this package and of those that results depend on."""
    found = {"wsl-pipeline": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
