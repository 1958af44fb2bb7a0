"""The pipeline as a list of stages, in the order in which images go through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.recipe import FullRecipe
from stages.boxes.components import Components
from stages.boxes.threshold import Threshold
from stages.evaluate.pixels import Pixels
from stages.evaluate.stage import Evaluate
from stages.evaluate.truth import Truth
from stages.explain.several_scales import Combination
from stages.quality.stage import Quality

if TYPE_CHECKING:
    from stages.batch import Stage
    from stages.classify.stage import Classify
    from stages.ingest.decode import Decode


def run_stages(recipe: FullRecipe, device: str) -> list[Stage]:
    """All stages, from the manifest to boxes and their scores.

    Args:
        recipe: The run's recipe.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    return [*seeing_stages(recipe, device), *explaining_stages(recipe, device), *scoring_stages(recipe)]


def seeing_stages(recipe: FullRecipe, device: str) -> tuple[Decode, Classify]:
    """The stages from the manifest to a traced forward pass."""
    from stages.classify.stage import Classify
    from stages.ingest.decode import Decode

    config, pixels = recipe.config, recipe.network.preprocess
    red, green, blue = (round(255 * value) for value in pixels.mean)
    return (
        Decode(recipe.size, recipe.fit, pixels.resample, pixels.crop_ratio, (red, green, blue), levels=recipe.levels),
        Classify(
            config.model.spec,
            recipe.network.weights_sha256,
            recipe.layers,
            recipe.size,
            device,
            config.runtime.precision,
            _gpus(recipe, device),
            config.explain.dilate,
            recipe.network.outputs,
            recipe.network.groups,
            config.runtime.deterministic,
        ),
    )


def explaining_stages(recipe: FullRecipe, device: str) -> list[Stage]:
    """The stages from a traced forward pass to low-resolution maps and, if configured, their faithfulness."""
    from stages.evaluate.faithfulness.stage import Faithfulness
    from stages.explain.stage import Explain

    explain, metrics, gpus = recipe.config.explain, recipe.config.evaluate.faithfulness, _gpus(recipe, device)
    layers = recipe.network.layers
    asking: list[Stage] = (
        [Faithfulness(metrics, explain.flip, explain.scales, recipe.seed, gpus, layers)] if metrics else []
    )
    return [
        Explain(
            *(explain.methods, explain.targets, explain.flip, explain.scales, gpus, layers, explain.present),
            *(recipe.fused_below, recipe.student, recipe.combination, explain.contrast),
        ),
        *asking,
    ]


def fitting_stages(recipe: FullRecipe, device: str) -> list[Stage]:
    """The stages from the manifest to the cells that the foreground is fitted to."""
    from stages.explain.foreground.seeds import FiniteCells, Seeds

    explain = recipe.config.explain
    (layer,) = recipe.network.layers[recipe.fitted[0]]
    return [
        *seeing_stages(recipe, device),
        Seeds(
            *(explain.targets, explain.flip, recipe.fit_scales, _gpus(recipe, device), layer),
            *(explain.present, Combination().quantile),
        ),
        FiniteCells(),
    ]


def scoring_stages(recipe: FullRecipe) -> list[Stage]:
    """The stages from low-resolution maps to boxes and their scores, which need neither images nor a network."""
    side = recipe.frame_side
    return [
        Truth(),
        Threshold(recipe.protocol, recipe.size),
        Pixels(recipe.protocol, side),
        Components(recipe.protocol, side, recipe.config.evaluate.sweep, recipe.config.box.instances == "all"),
        Quality(recipe.protocol),
        Evaluate(recipe.protocol, side, recipe.deltas, recipe.excluded),
    ]


def _gpus(recipe: FullRecipe, device: str) -> float:
    return 0 if device == "cpu" else recipe.config.runtime.gpus_per_worker
