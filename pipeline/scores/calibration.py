"""Thresholds that another run chose: on a calibration split, not on the images that are scored."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.sections import Config, protocol_of
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError

KEY = "evaluate.calibrate_on"


def calibrated_thresholds(run: RunDir, config: Config) -> dict[str, dict[str, float]]:
    """For each method the threshold, by IoU level, that maximises box accuracy on the calibration run.

    Args:
        run: The run that is scored; its manifest and ``run.json`` are there.
        config: Its configuration; ``evaluate.calibrate_on`` names the other run's directory.

    Returns:
        Thresholds of the sweep; empty where no calibration run is named.

    Raises:
        DataError: The calibration run is not finished.
        ConfigurationError: It scores by other rules, another network or other methods, or shares an image
            with this run.
    """
    if config.evaluate.calibrate_on is None:
        return {}
    if not config.evaluate.sweep:
        raise ConfigurationError(f"{KEY}: without evaluate.sweep no other threshold is scored; set it to true")
    other = RunDir(config.evaluate.calibrate_on)
    metrics = other.read_json("metrics.json")
    if not other.complete:
        raise DataError(f"{KEY}: {other} is not complete; run its command again")
    settings = other.config()
    _same_rules(other, settings, config)
    _same_network(other, settings, run, config)
    _disjoint(other, settings, run, config)
    found: dict[str, dict[str, float]] = {}
    for method in config.explain.methods:
        chosen = metrics["methods"].get(method, {}).get("max_box_acc", {})
        levels = [f"{delta:g}" for delta in config.evaluate.iou]
        missing = [level for level in levels if level not in chosen]
        if missing:
            raise ConfigurationError(
                f"{KEY}: {other} has no threshold sweep of {method} at IoU {missing[0]}; "
                "run it with this method, evaluate.sweep=true and these evaluate.iou on images with boxes"
            )
        found[method] = {level: chosen[level]["threshold"] for level in levels}
    return found


def _same_rules(other: RunDir, settings: Config, config: Config) -> None:
    kept = other.read_json("run.json").get("blacklist")
    theirs, ours = asdict(protocol_of(settings, kept)), asdict(protocol_of(config))
    differing = [name for name in ours if name not in ("name", "threshold") and ours[name] != theirs[name]]
    if differing:
        raise ConfigurationError(
            f"{KEY}: {other} scores by other rules: box.{differing[0]} is {theirs[differing[0]]} there and "
            f"{ours[differing[0]]} here; relocalize it by this protocol first"
        )


def _same_network(other: RunDir, settings: Config, run: RunDir, config: Config) -> None:
    def network(directory: RunDir, of: Config) -> dict[str, Any]:
        info = directory.read_json("run.json")
        maps = {f"explain.{key}": getattr(of.explain, key) for key in ("flip", "scales")}
        sizes = {f"model.{key}": getattr(of.model, key) for key in ("size", "fit")}
        return {"weights": info.get("weights_sha256"), "layer": info.get("layer"), **sizes, **maps}

    theirs, ours = network(other, settings), network(run, config)
    differing = [name for name in ours if ours[name] != theirs[name]]
    if differing:
        raise ConfigurationError(
            f"{KEY}: {other} has other maps ({', '.join(differing)} differ); it must be of the same network"
        )


def _disjoint(other: RunDir, settings: Config, run: RunDir, config: Config) -> None:
    """No image may be in both runs: by its address, its name and size, or its number in the same data."""
    same_data = all(getattr(settings.data, key) == getattr(config.data, key) for key in ("format", "root", "split"))
    theirs, ours = _images(other, same_data), _images(run, same_data)
    for key in ours.column_names:
        shared = pc.is_in(ours[key], value_set=theirs[key].combine_chunks()).to_numpy()
        if shared.any():
            name = pq.read_table(run.manifest, columns=["file_name"])["file_name"][int(shared.argmax())]
            raise ConfigurationError(
                f"{KEY}: {other} shares {shared.sum()} images with this run, such as {name}; "
                "a threshold must be chosen on images that are not scored"
            )


def _images(run: RunDir, with_ids: bool) -> pa.Table:
    manifest = pq.read_table(run.manifest, columns=["image_id", "uri", "file_name", "width", "height"])
    sides = (pc.cast(manifest[side], pa.string()) for side in ("width", "height"))
    keys = {"uri": manifest["uri"], "named": pc.binary_join_element_wise(manifest["file_name"], *sides, "\n")}
    return pa.table(keys | ({"image_id": manifest["image_id"]} if with_ids else {}))
