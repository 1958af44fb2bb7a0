"""Sanity checks: whether maps depend on the network's parameters and the class, and follow a mirrored image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.keys import named_keys
from pipeline.config.recipe import FullRecipe, resolve
from pipeline.config.sections import Config
from pipeline.engine.executors import inline
from pipeline.engine.plan import process
from pipeline.engine.prepare import resolve_run, survey
from pipeline.engine.stages import seeing_stages
from pipeline.engine.workers import place
from pipeline.store.manifest import select
from stages.batch import Stage, ragged
from stages.classify.stage import Classify
from stages.errors import ConfigurationError, DataError
from stages.evaluate.sanity.similarity import MEASURES, similarities
from stages.evaluate.statistics import bootstrap

if TYPE_CHECKING:
    from torch import Tensor

    from stages.ingest.records import ImageRecord
    from stages.trace.cut import CutNetwork

IMAGES = 16
"""Default number of images to check."""
BATCH = 16
"""Images per forward pass."""

Maps = dict[str, tuple[np.ndarray, np.ndarray]]
"""Raw maps (N, h, w) and displayed maps (N, S, S), by method."""


@dataclass(frozen=True)
class _Images:
    """A batch of network inputs.

    Attributes:
        inputs: (N, 3, S, S).
        target: (N,) the first predictions.
        other: (N,) another class for each image, drawn by its id; the same class where there is only one.
    """

    inputs: Tensor
    target: Tensor
    other: Tensor


@named_keys()
def check(config: Config, images: int = IMAGES) -> dict[str, Any]:
    """Compare the maps of a configuration's methods with maps that must differ, or must agree.

    Each method's map of the first prediction is compared with the map of another class, with the map of the
    mirrored image, mirrored back, and with the maps of networks whose parameters are shuffled stage by stage
    from the logits to the input (Adebayo et al. 2018). Similar maps mean insensitivity, which is good for the
    mirrored image only.

    Args:
        config: A run's configuration. Nothing is written, and the network's parameters are restored at the end.
        images: Size of the sample: the same share of every class, by ``seed``.

    Returns:
        ``images``, ``failed``, ``layer`` and ``methods``: by method ``class_sensitivity``,
        ``flip_consistency`` and ``randomization``, a list by ``stage``. Each holds value, interval and number
        of images for every similarity; a similarity that is undefined on all images is absent.

    Raises:
        UserError: A run would fail before its first image, or no image of the sample can be decoded.
    """
    import torch

    from stages.evaluate.sanity.cascade import parameter_groups, restored, shuffle

    if fitted := resolve(config).fitted:
        raise ConfigurationError(
            f"explain.methods: {' and '.join(fitted)}, fitted to this network's maps, cannot be compared with those of "
            "shuffled networks; leave it out"
        )
    found = survey(resolve_run(config))
    recipe = found.recipe
    device, _ = place(config.runtime, inline)
    decode, classify = seeing_stages(recipe, device)
    classify.fold = False  # Folding would change the parameters that are shuffled.
    decode.setup()
    classify.setup()
    records = select(found.records, images, None, config.seed)
    batches = list(_batches(decode, classify, records, config.seed))
    done = sum(len(one.inputs) for one in batches)
    if not done:
        raise DataError(f"data: none of the {len(records)} sampled images can be decoded; a run lists why in errors/")
    network = classify.network

    def maps(inputs: Tensor, target: Tensor) -> Maps:
        return _maps(recipe, network, inputs, target)

    original = [maps(one.inputs, one.target) for one in batches]

    def compare(alter: Callable[[_Images], Maps]) -> dict[str, dict[str, Any]]:
        """Similarities, by method, between the original maps and those that ``alter`` returns."""
        pairs = [(before, alter(one)) for before, one in zip(original, batches, strict=True)]
        return {name: _similarity([(a[name], b[name]) for a, b in pairs], config.seed) for name in original[0]}

    another = compare(lambda one: maps(one.inputs, one.other))
    mirrored = compare(lambda one: _mirrored(maps(one.inputs.flip(3), one.target)))
    cascade: list[tuple[str, dict[str, dict[str, Any]]]] = []
    generator = torch.Generator().manual_seed(config.seed)
    with restored(network.module):
        for group, parameters in parameter_groups(network.module, batches[0].inputs.shape[3]):
            shuffle(parameters, generator)
            cascade.append((group, compare(lambda one: maps(one.inputs, one.target))))
    return {
        "images": done,
        "failed": len(records) - done,
        "layer": recipe.layers[0] if len(recipe.layers) == 1 else recipe.layers,
        "methods": {
            name: {
                "class_sensitivity": another[name],
                "flip_consistency": mirrored[name],
                "randomization": [{"stage": group} | scores[name] for group, scores in cascade],
            }
            for name in config.explain.methods
        },
    }


def _batches(decode: Stage, classify: Classify, records: list[ImageRecord], seed: int) -> Iterator[_Images]:
    """The images that can be decoded, with the first prediction and another class of each."""
    import torch

    for start in range(0, len(records), BATCH):
        chosen = records[start : start + BATCH]
        batch = {name: np.array([getattr(one, name) for one in chosen]) for name in ("image_id", "width", "height")}
        decoded = process([decode], batch | {"uri": ragged(one.uri for one in chosen)}).rows
        if decoded:
            answer = classify(decoded)
            rows, inputs = answer.rows, answer.context["trace"].inputs
            target = np.take_along_axis(rows["outputs"], rows["top_class"][:, :1], 1)[:, 0]
            outputs = rows["probs"].shape[1]
            ids = [one % 2**64 for one in rows["image_id"].tolist()]
            steps = [int(np.random.default_rng([seed, one]).integers(1, max(outputs, 2))) for one in ids]
            other = (target + np.array(steps)) % outputs
            yield _Images(inputs, *(torch.from_numpy(one).to(inputs.device) for one in (target, other)))


def _maps(
    recipe: FullRecipe,
    network: CutNetwork,
    inputs: Tensor,
    target: Tensor,
) -> Maps:
    """Every method's maps of some images and classes, with the network's current parameters."""
    from stages.evaluate.faithfulness.explained import saliency
    from stages.explain.registry import get_explainer
    from stages.trace.views import Views

    trace = network.trace(inputs)
    views = Views(trace, recipe.config.explain.flip, recipe.config.explain.scales)
    found: Maps = {}
    for name, layers in recipe.network.layers.items():
        method = get_explainer(name, trace.at(layers).head is not None)
        raw = views.explain(method.function, target, method.fuse, layers).float()
        found[name] = raw.cpu().numpy(), saliency(raw, inputs.shape[3]).cpu().numpy()
    return found


def _mirrored(maps: Maps) -> Maps:
    return {name: (raw[..., ::-1], shown[..., ::-1]) for name, (raw, shown) in maps.items()}


def _similarity(pairs: list[tuple[Any, Any]], seed: int) -> dict[str, Any]:
    """Mean of each similarity over the images for which it is defined."""
    found = [
        similarities(raw, other, shown, other_shown)
        for one, two in pairs
        for raw, shown, other, other_shown in zip(*one, *two, strict=True)
    ]
    values = {name: np.array([each[name] for each in found]) for name in MEASURES}
    defined = {name: one[~np.isnan(one)] for name, one in values.items()}
    return {name: bootstrap.mean(one, seed) for name, one in defined.items() if len(one)}
