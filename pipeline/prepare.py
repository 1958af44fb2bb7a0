"""Before the first image: the network, the manifest, and a record of where everything came from."""

from __future__ import annotations

import hashlib
import logging
import platform
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline import __version__
from pipeline.config import Config
from pipeline.manifest import ROW_GROUP, relabel, select, shard_length, to_table
from pipeline.rundir import RunDir, encode
from stages.classify.labels import match_classes
from stages.classify.network import Network
from stages.errors import ConfigurationError, DataError
from stages.explain.stage import LABEL
from stages.ingest.dataset import ImageRecord
from stages.ingest.formats import read_dataset
from stages.ingest.sizes import fill_sizes

log = logging.getLogger("wsl_pipeline")

PACKAGES = ("torch", "torchvision", "ray", "numpy", "pillow", "opencv-python-headless", "pyarrow", "pycocotools")


@dataclass(frozen=True)
class Survey:
    """What a run would work on.

    Attributes:
        records: The images, labelled by network output.
        network: Ready to be explained.
        notes: What was odd about the data, one line each.
    """

    records: list[ImageRecord]
    network: Network
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

    Everything that can be wrong with a configuration is found here, before any image is decoded.

    Raises:
        UserError: What is missing or does not fit.
    """
    # Data first: a wrong path is found in milliseconds, a network takes seconds to load.
    dataset = read_dataset(config.data.format, config.data.root, config.data.split)
    chosen = select(dataset.records, config.data.sample, config.data.limit, config.seed)
    dataset = fill_sizes(replace(dataset, records=chosen))
    network = load_checked(config)
    notes, records = list(dataset.notes), dataset.records
    if dataset.classes:
        outputs, note = match_classes(dataset.classes, network.classes, network.num_outputs)
        notes += [note] if note else []
        records = relabel(records, outputs)
    found = Survey(records, network, notes)
    if config.explain.targets == [LABEL] and found.labelled < len(records):
        raise DataError(
            f"explain.targets: {len(records) - found.labelled} of {len(records)} images have no label to explain; "
            "add top1 to explain.targets"
        )
    return found


def load_checked(config: Config) -> Network:
    """The network, on which every method of the configuration is possible."""
    from stages.classify.probe import gap_linear_head
    from stages.classify.sources import load_network
    from stages.explain.registry import get_explainer

    network = load_network(config.model.spec)
    size = config.model.size or network.preprocess.size
    head = gap_linear_head(network.module, network.find_layer(config.explain.layer), size)
    for method in config.explain.methods:
        get_explainer(method, head is not None)
    return network


def prepare(directory: RunDir, config: Config) -> tuple[Network, dict[str, Any]]:
    """The network and the origins of a run: of one that begins, or of one that was begun before.

    Returns:
        The network, and what ``run.json`` says before the first image.

    Raises:
        UserError: What is missing or does not fit.
    """
    if not directory.manifest.is_file():
        found = survey(config)
        return found.network, _begin(directory, config, found)
    network = load_checked(config)
    info = directory.read_json("run.json")
    if info["weights_sha256"] != network.weights_sha256:
        raise ConfigurationError(
            f"model.spec: the weights have changed since {directory.path} was begun; choose another --out"
        )
    return network, info


def _begin(directory: RunDir, config: Config, found: Survey) -> dict[str, Any]:
    manifest = encode(to_table(found.records), ROW_GROUP)
    info = {
        "config_hash": config.hash(),
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "weights_sha256": found.network.weights_sha256,
        "images": len(found.records),
        "labelled": found.labelled,
        "boxes": found.boxes,
        "shard_size": shard_length(len(found.records), config.runtime.shard_size),
        "layer": found.network.layer if config.explain.layer == "last" else config.explain.layer,
        "preprocess": asdict(found.network.preprocess),
        "notes": found.notes,
        "versions": versions(),
    }
    for note in found.notes:
        log.warning("%s", note)
    # The manifest last: where it stands, the run was begun and run.json is there.
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
