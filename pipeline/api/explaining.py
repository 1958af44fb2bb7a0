"""Maps and boxes of single images, made by the stages of a run."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipeline.api.arithmetic import arithmetic_of_a_run
from pipeline.api.explained import Explained, Source, photograph
from pipeline.engine.plan import process
from stages.batch import Batch, Resources, Stage, concat, ragged
from stages.boxes.components import Components
from stages.boxes.protocols import Protocol, get_protocol
from stages.boxes.threshold import Threshold
from stages.classes import Names
from stages.classify.network import Network, Preprocess
from stages.classify.stage import Classify
from stages.errors import ConfigurationError, unknown
from stages.explain.method_layers import layers_of, method_of
from stages.explain.stage import Explain, raw_map
from stages.explain.table import FITTED, check_methods
from stages.explain.targets import LABEL
from stages.ingest.decode import Decode
from stages.ingest.depth import look_at, look_into
from stages.ingest.geometry import FITS
from stages.ingest.levels import Levels, decide

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger("wsl_pipeline")

LEAST, MOST = 32, 4096
"""Sides of an input that a run takes, in pixels."""
BATCH = 32
"""Images per forward pass, as in a run on CPUs."""


@arithmetic_of_a_run()
def explain(
    images: Source | Sequence[Source] | Tensor,
    network: nn.Module | Network | str,
    method: str = "gradcam",
    target: int | str | Sequence[int | str] | None = None,
    *,
    layer: str | Sequence[str] = "last",
    protocol: str | Protocol = "cam2016",
    fit: str = "squash",
    size: int | None = None,
    classes: Sequence[str] = (),
) -> Explained:
    """Say where in an image a network sees a class, as a map and as a box.

    The numbers equal those of a run over the same images in the same batches; images of more than 8 bits are scaled
    alike, as in a run over them, and the log says how. The network is copied, so that the original stays unchanged, and
    runs on the device of its parameters.

    Args:
        images: One or several paths, uris, Pillow images or (H, W, 3) uint8 RGB arrays; or a (N, 3, S, S) float
            tensor that is normalised as the network expects. Pillow itself opens 16-bit colours with 8 bits: give
            their paths.
        network: A classifier, (N, 3, S, S) to (N, C) logits or probabilities, or to one logit of two classes, whose
            pixels are normalised as by torchvision's ImageNet networks; a
            :class:`stages.classify.network.Network`, which has its own normalisation; or a spec such as ``lite0``
            or ``torchvision:resnet50@IMAGENET1K_V1``.
        method: A name of ``wsl-pipeline list explainers``, which gives formulas and papers.
        target: The class to explain, by index or name, or one for each image; the first prediction where not given.
        layer: Dotted name of the explained layer; ``last`` is the last one with spatial extent. The maps of several
            layers are fused.
        protocol: How a map becomes a box: a name of ``wsl-pipeline list protocols``, or rules of your own.
        fit: How an image becomes a square: ``squash``, ``center_crop`` or ``letterbox``.
        size: Side of the network's input in pixels; the network's own where not given.
        classes: Names of the network's outputs, where the network has none.

    Raises:
        ConfigurationError: A name or class is unknown, or the method cannot explain this network.
        DataError: An image cannot be decoded; the message names it.
        WeightsUnavailableError: The weights of a spec are not on this machine and cannot be fetched.

    Example:
        >>> import pipeline as wsl
        >>> photo = wsl.load("runs/tiny").images().uri[0]
        >>> found = wsl.explain(photo, "python:tests.stages.toys:tiny_network", target="class 1")
        >>> found, found.class_names, found.boxes.shape
        (Explained(1 image by gradcam, maps 8 x 8), ['class 4'], (1, 4))
    """
    import torch

    from stages.classify.outputs import with_logits

    check_methods([method])
    if method_of(method) in FITTED:
        raise ConfigurationError(f"{method} is fitted to a run's images: name it in explain.methods of a run")
    rules = protocol if isinstance(protocol, Protocol) else get_protocol(protocol)
    if fit not in FITS:
        raise unknown("fit", fit, list(FITS))
    if size is not None and not LEAST <= size <= MOST:
        raise ConfigurationError(f"size: {size} is not a number of pixels from {LEAST} to {MOST}")
    owned = _owned(network)
    if isinstance(images, torch.Tensor):
        levels: Levels = {}
        sources, frames, size = _from_tensor(images, owned.preprocess, size)
    else:
        sources, size = _listed(images), owned.preprocess.size if size is None else size
        levels = _levels(sources)
        frames = _from_photographs(sources, owned.preprocess, size, fit, levels)
    owned = with_logits(owned, size)
    names = list(classes) or [one.name for one in owned.classes]
    targets = None if target is None else _classes(target, names, len(sources))
    layers = layers_of(owned, [method], layer, size)
    stages: list[Stage] = [
        _classifier(owned, method, layers[method], size),
        _Predictions(names),
        Explain([method], ["top1"] if targets is None else [LABEL], layers=layers, fused_below=rules.fused_below),
        Threshold(rules, size),
        Components(rules, rules.frame_side(size), sweep=False),
    ]
    rows = concat([process(stages, batch).rows for batch in _batches(frames, targets)])
    return Explained(
        method=method,
        maps=np.stack([raw_map(*one) for one in zip(rows["map"], rows["map_scale"], strict=True)]),
        boxes=rows["box"],
        classes=rows["first_class"],
        probs=rows["all_probs"],
        targets=rows["class_index"],
        names=tuple(names or map(str, range(rows["all_probs"].shape[1]))),
        _sources=sources,
        _transforms=rows["transform"],
        _size=rules.frame_side(size),
        _levels=levels,
        _protocol=rules,
    )


def _owned(network: nn.Module | Network | str) -> Network:
    """A copy of the network, so that hooks, frozen parameters and its device stay invisible to the caller."""
    from torch import nn

    if isinstance(network, str):
        from stages.classify.sources import load_network

        return load_network(network)
    if isinstance(network, nn.Module):
        return Network(copy.deepcopy(network))
    if not isinstance(network, Network):
        raise ConfigurationError(
            f"network: {type(network).__name__} is not a network; give an nn.Module, a Network or a spec such as lite0"
        )
    owned = copy.copy(network)
    owned.module = copy.deepcopy(network.module)
    return owned


def _classifier(network: Network, method: str, layers: Sequence[str], size: int) -> Classify:
    """The network cut at its explained layers, after a check that the method supports it."""
    import torch

    from stages.explain.registry import get_explainer
    from stages.trace.probe import check_repeatable

    check_repeatable(network.module, size)
    device = next(network.module.parameters(), torch.empty(0)).device
    stage = Classify("", network.weights_sha256, list(layers), size, str(device))
    stage.prepare(network)
    check = get_explainer(method, stage.network.head is not None).check
    if check:
        for one in stage.network.trace(torch.zeros(2, 3, size, size, device=device)).layers:
            check(one)
    return stage


class _Predictions:
    """Keeps the probabilities of all classes, which Explain drops, and checks class names and targets."""

    reads = ("probs", "top_class", "label")
    adds = ("all_probs", "first_class")
    resources = Resources()

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def setup(self) -> None:
        """Nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        outputs = batch["probs"].shape[1]
        if self.names and len(self.names) != outputs:
            raise ConfigurationError(f"classes: {len(self.names)} names for a network of {outputs} outputs")
        if (highest := batch["label"].max()) >= outputs:
            raise ConfigurationError(f"target: {highest} is not a class; the network has 0 to {outputs - 1}")
        return batch | {"all_probs": batch["probs"], "first_class": batch["top_class"][:, 0]}


def _listed(images: Source | Sequence[Source]) -> list[Source]:
    if isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim == 3):
        return [images]
    found = list(images)
    if not found:
        raise ConfigurationError("images: there are none")
    return found


def _levels(sources: list[Source]) -> Levels:
    """Black and white of the images with more than 8 bits; an image that cannot be read is reported later."""
    looks = []
    for source in sources:
        if isinstance(source, str | Path):
            looks.append(look_at(str(source)))
        elif isinstance(source, Image.Image):
            with suppress(OSError):
                looks.append(look_into(source))
    levels, notes = decide(one for one in looks if one is not None)
    for note in notes:
        log.warning("%s", note)
    return levels


def _from_photographs(
    sources: list[Source], pixels: Preprocess, size: int, fit: str, levels: Levels
) -> Iterator[Batch]:
    """Each image as a batch of one row, for :class:`Classify` and the stages after it."""
    red, green, blue = (round(255 * value) for value in pixels.mean)
    decode = Decode(size, fit, pixels.resample, pixels.crop_ratio, (red, green, blue))
    for index, source in enumerate(sources):
        photo = photograph(source, index, levels)
        image, transform = decode.fitted(photo)
        yield _frame(image, transform, *photo.size)


def _from_tensor(images: Tensor, pixels: Preprocess, size: int | None) -> tuple[list[Source], Iterator[Batch], int]:
    """Pictures of a normalised tensor's images, each image as a batch of one row, and the side of the frame."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or not len(images):
        raise ConfigurationError(f"images: a tensor of shape {tuple(images.shape)}, not (N, 3, S, S)")
    side = images.shape[2]
    if size not in (None, side):
        raise ConfigurationError(f"size: {size}, but the tensor's images have {side} pixels")
    inputs = images.detach().float().cpu().numpy()
    colours = inputs.transpose(0, 2, 3, 1) * np.array(pixels.std, np.float32) + np.array(pixels.mean, np.float32)
    photos = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
    frames = (_frame(one, np.array([1.0, 1.0, 0.0, 0.0]), side, side) for one in inputs)
    return list(photos), frames, side


def _frame(image: np.ndarray, transform: np.ndarray, width: int, height: int) -> Batch:
    columns = {"image": image, "transform": transform, "width": width, "height": height}
    return {name: np.array([value]) for name, value in columns.items()}


def _batches(frames: Iterator[Batch], targets: list[int] | None) -> Iterator[Batch]:
    first = 0
    while rows := list(islice(frames, BATCH)):
        ids = np.arange(first, first + len(rows))
        first += len(rows)
        yield concat(rows) | {
            "image_id": ids,
            "label": np.full(len(rows), -1) if targets is None else np.array(targets)[ids],
            "boxes": ragged([np.zeros((0, 4), np.float32)] * len(rows)),
        }


def _classes(target: int | str | Sequence[int | str], names: list[str], count: int) -> list[int]:
    """Class indices, one for each image."""
    import torch

    given = target.tolist() if isinstance(target, np.ndarray | np.generic | torch.Tensor) else target
    each = [given] * count if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
    if len(each) != count:
        raise ConfigurationError(f"target: {len(each)} classes for {count} images; give one, or one for each")
    return [_class(one, names) for one in each]


def _class(target: int | str, names: list[str]) -> int:
    if isinstance(target, str):
        known = Names(names)
        found = known.find(target)
        if not found:
            raise unknown("class", target, names, about="target")
        if len(found) > 1:
            raise ConfigurationError(f"{target!r} may be any of {known.listed(found)}; give the index", about="target")
        return found[0]
    if isinstance(target, bool | np.bool_) or not isinstance(target, int | np.integer) or target < 0:
        raise ConfigurationError(f"target: {target!r} is not the index of a class")
    return int(target)
