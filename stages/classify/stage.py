"""The forward pass: the probabilities, the best classes, and the trace that explainers read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.batch import Answer, Batch, Resources
from stages.classify.class_groups import grouped
from stages.classify.network import AUTO
from stages.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor

    from stages.classify.network import Network
    from stages.trace.cut import CutNetwork

TOP_K = 5


class Classify:
    """Runs the network once per batch, cut at the explained layer.

    Adds ``probs`` (N, C) float32, ``outputs`` (N, C) int64, the output that is explained for each class, ``top_class``
    (N, 5) int32, the best classes, ``machine`` (N,) text, the kind of machine that ran it, and, as context, ``trace``,
    the :class:`stages.trace.trace.Trace` of the whole batch, with ``trace_row`` (N,) int64, the image's place in it:
    images that a later stage rejects leave the batch, but not the trace.

    Args:
        spec: Name of the network, as :func:`stages.classify.sources.load_network` reads it; relative paths in
            it start from the folder that is current when the stage is created.
        weights_sha256: SHA-256 of the weights that every worker must find under that name.
        layer: Dotted name of the explained layer, or ``last``; a list for several.
        size: Side of the input in pixels.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: Precision of the network's forward pass: ``fp32``, ``bf16`` or ``fp16``.
        gpus: Share of a GPU that one worker occupies.
        dilate: Explain the a trous form of the network, whose maps have twice the side length. Classes and
            probabilities stay those of the original network, so a run classifies the same with and without it.
        outputs: What the network's outputs stand for, as in :func:`stages.classify.outputs.with_logits`.
        groups: Outputs that are one class, as in :func:`stages.classify.class_groups.grouped`.

    Attributes:
        fold: Whether normalisations are folded into the convolutions before them; to be turned off if
            parameters are changed afterwards.
        network: The network, once the stage is set up.
    """

    network: CutNetwork

    fold = True

    reads = ("image",)
    adds = ("trace", "trace_row", "probs", "outputs", "top_class", "machine")

    def __init__(
        self,
        spec: str,
        weights_sha256: str,
        layer: str | list[str],
        size: int,
        device: str = "cpu",
        precision: str = "fp32",
        gpus: float = 0,
        dilate: bool = False,
        outputs: str = AUTO,
        groups: Sequence[Sequence[int]] = (),
    ) -> None:
        self.spec, self.weights_sha256, self.layer, self.size = spec, weights_sha256, layer, size
        self.folder = Path.cwd()  # A worker may have another one.
        self.device, self.precision, self.dilate = device, precision, dilate
        self.outputs, self.groups = outputs, groups
        self.resources = Resources(cpus=1, gpus=gpus)

    def setup(self) -> None:
        """Load the network, prepare it, and set this process to reproducible arithmetic.

        Raises:
            ConfigurationError: Unknown network or layer, or a layer without spatial extent.
        """
        import torch

        from stages.classify.outputs import with_logits
        from stages.classify.sources import load_network

        network = load_network(self.spec, self.folder)
        if network.weights_sha256 != self.weights_sha256:
            raise ConfigurationError(
                f"{self.spec} gave a worker other weights than the run began with; "
                "it must give the same ones every time and everywhere",
                about="network",
            )
        self.prepare(with_logits(network, self.size, self.outputs))
        if torch.device(self.device).type == "cpu":
            # Workers share the cores batch by batch: this is faster than sharing them inside every operator,
            # and results do not depend on the number of cores.
            torch.set_num_threads(1)
        torch.backends.cudnn.allow_tf32 = False  # fp32 means full fp32

    def prepare(self, network: Network) -> None:
        """Find the network's head and hook the layer; the part of :meth:`setup` that follows loading.

        Args:
            network: Network to prepare, which returns logits; moved to the stage's device, and hooked itself if it
                cannot be folded.

        Raises:
            ConfigurationError: Unknown layer, or a layer without spatial extent.
        """
        import torch

        from stages.classify.dilate import dilated
        from stages.classify.fold import folded
        from stages.classify.machine import machine_kind
        from stages.trace.cut import CutNetwork

        self._machine = machine_kind(self.device)
        scale, shape = 255.0, (1, 3, 1, 1)
        mean = torch.tensor(network.preprocess.mean, device=self.device).view(shape)
        std = torch.tensor(network.preprocess.std, device=self.device).view(shape)
        self._mean, self._std = mean * scale, std * scale
        names = network.resolve_layers(self.layer, self.size)
        module = folded(network.module, names, self.size) if self.fold else network.module
        explained = dilated(module, names[0], self.size) if self.dilate else module
        module, explained = (one.to(self.device).to(memory_format=torch.channels_last) for one in (module, explained))
        precision = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]
        self.network = CutNetwork(explained, names, self.size, precision, -mean / std, network.outputs)
        if self.dilate:
            self._classifier = CutNetwork(module, names, self.size, precision)

    def __call__(self, batch: Batch) -> Answer:
        """Classify one batch and drop its pixels.

        ``image`` is (N, size, size, 3) uint8 RGB, or (N, 3, size, size) float32 that is normalised already.
        """
        import torch

        from stages.trace.outputs import SIGMOID

        inputs = self._normalised(batch["image"])
        trace = self.network.trace(inputs)
        logits = (self._classifier.logits(inputs) if self.dilate else trace.logits).detach()
        exclusive = self.network.outputs != SIGMOID
        probs, outputs = grouped(self.network.probabilities(logits), self.groups, exclusive)
        # Several sigmoids may round to 1.
        ranked = probs if exclusive else grouped(logits, self.groups, exclusive, -torch.inf)[0]
        classes = probs.shape[1] - sum(len(group) - 1 for group in self.groups)
        top = ranked.topk(min(TOP_K, classes), dim=1).indices
        kept = {name: column for name, column in batch.items() if name != "image"}
        rows = kept | {
            "trace_row": np.arange(len(probs)),
            "probs": probs.cpu().numpy(),
            "outputs": outputs.cpu().numpy(),
            "top_class": top.cpu().numpy().astype(np.int32),
            "machine": np.full(len(probs), self._machine),
        }
        return Answer(rows, context={"trace": trace})

    def _normalised(self, image: np.ndarray) -> Tensor:
        import torch

        pixels = torch.from_numpy(image).to(self.device, non_blocking=True)
        if image.dtype == np.uint8:
            return (pixels.permute(0, 3, 1, 2).float() - self._mean) / self._std
        return pixels.contiguous(memory_format=torch.channels_last)  # The memory layout of the pixels above.
