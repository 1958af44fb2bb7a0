"""Thresholds calibrated on another run, not on the images that are scored."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.recipe import FullRecipe
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError

KEY = "evaluate.calibrate_on"


def calibrated_thresholds(manifest: str | BinaryIO, recipe: FullRecipe) -> dict[str, dict[str, float]]:
    """The thresholds, by method and IoU level, that maximise box accuracy on the calibration run.

    Args:
        manifest: Manifest of the run that is scored, as :mod:`pyarrow.parquet` takes it.
        recipe: The run's recipe; ``evaluate.calibrate_on`` names the other run's directory.

    Returns:
        Thresholds of the sweep; empty where no calibration run is named.

    Raises:
        DataError: The calibration run is not finished.
        ConfigurationError: It has other rules, another network or other methods, or shares an image with this
            run.
    """
    named = recipe.config.evaluate.calibrate_on
    if named is None:
        return {}
    other = RunDir(named)
    try:
        metrics = other.read_json("metrics.json")
    except DataError as error:
        raise DataError(f"{KEY}: {error}") from None
    if not other.complete:
        raise DataError(f"{KEY}: {other} is not complete; run its command again")
    theirs = other.recipe()
    _same_rules(other, theirs, recipe)
    _same_network(other, theirs, recipe)
    _disjoint(other, theirs, manifest, recipe)
    found: dict[str, dict[str, float]] = {}
    for method in recipe.methods:
        chosen = metrics["methods"].get(method, {}).get("max_box_acc", {})
        levels = [f"{delta:g}" for delta in recipe.deltas]
        missing = [level for level in levels if level not in chosen]
        if missing:
            raise ConfigurationError(
                f"{KEY}: {other} has no threshold sweep of {method} at IoU {missing[0]}; "
                "run it with this method, evaluate.sweep=true and these evaluate.iou on images with boxes"
            )
        found[method] = {level: chosen[level]["threshold"] for level in levels}
    return found


def _same_rules(other: RunDir, theirs: FullRecipe, recipe: FullRecipe) -> None:
    there, here = asdict(theirs.protocol), asdict(recipe.protocol)
    differing = [name for name in here if name not in ("name", "threshold") and here[name] != there[name]]
    if differing:
        raise ConfigurationError(
            f"{KEY}: {other} scores by other rules: box.{differing[0]} is {there[differing[0]]} there and "
            f"{here[differing[0]]} here; relocalize it by this protocol first"
        )


FITTING = ("foreground", "fit_images", "exponents", "quantile")
"""Keys of ``explain`` on which the maps of fitted methods depend."""


def _same_network(other: RunDir, theirs: FullRecipe, recipe: FullRecipe) -> None:
    def network(of: FullRecipe) -> dict[str, Any]:
        maps = {f"explain.{key}": getattr(of.config.explain, key) for key in ("contrast", "flip", "scales", *FITTING)}
        sizes = {f"model.{key}": getattr(of.config.model, key) for key in ("size", "fit")}
        return {"weights": of.network.weights_sha256, "layer": of.layers, **sizes, **maps}

    there, here = network(theirs), network(recipe)
    differing = [name for name in here if here[name] != there[name]]
    if differing:
        raise ConfigurationError(
            f"{KEY}: {other} has other maps ({', '.join(differing)} differ); it must be of the same network"
        )


def _disjoint(other: RunDir, theirs: FullRecipe, manifest: str | BinaryIO, recipe: FullRecipe) -> None:
    """Check that no image is in both runs, by its uri, by name and size, or by id where both read the same data."""
    one, two = theirs.config.data, recipe.config.data
    same_data = all(getattr(one, key) == getattr(two, key) for key in ("format", "root", "split"))
    images = _images(manifest)
    there, here = _keys(_images(other.manifest), same_data), _keys(images, same_data)
    for key in here.column_names:
        shared = pc.is_in(here[key], value_set=there[key].combine_chunks()).to_numpy()
        if shared.any():
            name = images["file_name"][int(shared.argmax())]
            raise ConfigurationError(
                f"{KEY}: {other} shares {shared.sum()} images with this run, such as {name}; "
                "a threshold must be chosen on images that are not scored"
            )


def _images(manifest: str | BinaryIO) -> pa.Table:
    return pq.read_table(manifest, columns=["image_id", "uri", "file_name", "width", "height"])


def _keys(images: pa.Table, with_ids: bool) -> pa.Table:
    sides = (pc.cast(images[side], pa.string()) for side in ("width", "height"))
    keys = {"uri": images["uri"], "named": pc.binary_join_element_wise(images["file_name"], *sides, "\n")}
    return pa.table(keys | ({"image_id": images["image_id"]} if with_ids else {}))
