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
from pipeline.config import Config
from pipeline.manifest import ROW_GROUP, relabel, select, shard_length, to_table
from pipeline.rundir import RunDir, encode
from stages.classify.labels import match_classes
from stages.classify.network import Network
from stages.errors import ConfigurationError, DataError, UserError
from stages.explain.stage import LABEL
from stages.ingest.dataset import ClassInfo, ImageRecord
from stages.ingest.formats import read_dataset
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
        layer: Dotted name of the explained layer.
        notes: What was odd about the data, one line each.
    """

    records: list[ImageRecord]
    network: Network
    classes: list[ClassInfo]
    layer: str
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
    network, layer, outputs = load_checked(config)
    notes, records, classes = list(dataset.notes), dataset.records, list(network.classes)
    if dataset.classes:
        numbers, note = match_classes(dataset.classes, classes, outputs)
        notes += [note] if note else []
        records = relabel(records, numbers)
        classes = classes or dataset.classes
    classes = classes or [ClassInfo(str(index)) for index in range(outputs)]
    found = Survey(records, network, classes, layer, notes)
    if config.explain.targets == [LABEL] and found.labelled < len(records):
        raise DataError(
            f"explain.targets: {len(records) - found.labelled} of {len(records)} images have no label to explain; "
            "add top1 to explain.targets"
        )
    return found


def load_checked(config: Config) -> tuple[Network, str, int]:
    """The network, the name of the explained layer and the number of outputs, after a trial on noise.

    Raises:
        ConfigurationError: The network cannot be run or explained as the configuration asks.
    """
    import torch

    from stages.classify.cut import CutNetwork
    from stages.classify.sources import load_network
    from stages.explain.registry import get_explainer

    network = load_network(config.model.spec)
    size = config.model.size or network.preprocess.size
    try:
        layer = network.resolve_layer(config.explain.layer)
        cut = CutNetwork(network.module, network.module.get_submodule(layer), layer, size)
        trace = cut.trace(torch.zeros(2, 3, size, size))
        trace.gradients(torch.zeros(2, dtype=torch.int64))
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
    for method in config.explain.methods:
        get_explainer(method, cut.head is not None)
    return network, layer, outputs


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
    if not directory.manifest.is_file():
        return found, _begin(directory, config, found, manifest)
    info = directory.read_json("run.json")
    if not {"images", "weights_sha256", "manifest_sha256", "precision", "shard_size"} <= set(info):
        raise DataError(f"{directory.path / 'run.json'} is damaged; restore it or choose another --out")
    if hashlib.sha256(directory.manifest.read_bytes()).hexdigest() != info["manifest_sha256"]:
        raise DataError(f"{directory.manifest} is not the one that the run began with; choose another --out")
    for key, now, what in (
        ("weights_sha256", found.network.weights_sha256, "model.spec: the weights have"),
        ("manifest_sha256", digest, f"data: the images or annotations ({info['images']} then) have"),
        ("precision", config.runtime.precision, "runtime.precision has"),
    ):
        if info[key] != now:
            raise ConfigurationError(f"{what} changed since {directory.path} was begun; choose another --out")
    return found, info


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
        "layer": found.layer,
        "preprocess": asdict(found.network.preprocess),
        "notes": found.notes,
        "versions": versions(),
    }
    for note in found.notes:
        log.warning("%s", note)
    # The manifest last: where it stands, the run was begun and the others are there.
    directory.write("config.yaml", yaml.safe_dump(config.model_dump(), sort_keys=False).encode())
    directory.write_json("run.json", info)
    directory.write("manifest.parquet", manifest)
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
