"""The forward pass: the probabilities, the best classes, and the trace that explainers read."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.batch import Answer, Batch, Resources
from stages.classify.class_groups import grouped
from stages.classify.network import AUTO
from stages.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import Tensor, nn

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
        deterministic: Whether equal batches must give equal bits on a GPU too, see
            :func:`stages.classify.machine.set_arithmetic`.

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
        deterministic: bool = False,
    ) -> None:
        self.spec, self.weights_sha256, self.layer, self.size = spec, weights_sha256, layer, size
        self.folder = Path.cwd()  # A worker may have another one.
        self.device, self.precision, self.dilate = device, precision, dilate
        self.outputs, self.groups, self.deterministic = outputs, groups, deterministic
        self.resources = Resources(cpus=1, gpus=gpus)

    def setup(self) -> None:
        """Load the network, prepare it, and set this process to reproducible arithmetic.

        Raises:
            ConfigurationError: Unknown network or layer, or a layer without spatial extent.
        """
        from stages.classify.machine import set_arithmetic
        from stages.classify.outputs import with_logits
        from stages.classify.sources import load_network

        set_arithmetic(self.device, self.deterministic)
        network = load_network(self.spec, self.folder)
        if network.weights_sha256 != self.weights_sha256:
            raise ConfigurationError(
                f"{self.spec} gave a worker other weights than the run began with; "
                "it must give the same ones every time and everywhere",
                about="network",
            )
        self.prepare(with_logits(network, self.size, self.outputs))

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
        from stages.classify.lower_precision import store_convolutions
        from stages.classify.machine import machine_kind
        from stages.trace.cut import CutNetwork

        self._machine = machine_kind(self.device)
        mean, std = (torch.tensor(one, device=self.device) for one in (network.preprocess.mean, network.preprocess.std))
        self._mean, self._std = ((255.0 * one).repeat(self.size) for one in (mean, std))  # a row of pixels
        names = network.resolve_layers(self.layer, self.size)
        module = self._own(network.module, names)
        explained = dilated(module, names[0], self.size) if self.dilate else module
        # In float32 a GPU is faster with channels first (ResNet-50, H100: by a sixth), all else with channels last.
        first = torch.device(self.device).type != "cpu" and self.precision == "fp32"
        self._format = torch.contiguous_format if first else torch.channels_last
        module, explained = (one.to(self.device).to(memory_format=self._format) for one in (module, explained))
        precision = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]
        self.network = CutNetwork(
            explained, names, self.size, precision, (-mean / std).view(1, 3, 1, 1), network.outputs
        )
        if self.dilate:
            self._classifier = CutNetwork(module, names, self.size, precision)
        if precision is not None and module is not network.module:  # The caller's own keeps its weights.
            for one in {module, explained}:
                store_convolutions(one, precision)

    def _own(self, module: nn.Module, names: Sequence[str]) -> nn.Module:
        """A copy, folded on CPUs; the network itself where it cannot be copied, or its parameters may change."""
        import torch

        from stages.classify.fold import folded

        if not self.fold:
            return module
        if torch.device(self.device).type == "cpu":
            return folded(module, names, self.size)
        try:
            # A GPU gains nothing by folding, and loses a tenth in bfloat16 (ResNet-50, H100).
            return copy.deepcopy(module)
        except Exception:  # Whatever a user's module raises.
            return module

    def __call__(self, batch: Batch) -> Answer:
        """Classify one batch and drop its pixels.

        ``image`` is (N, size, size, 3) uint8 RGB, or (N, 3, size, size) float32 that is normalised already.
        """
        import torch

        from stages.classify.machine import on_own_stream, to_host
        from stages.trace.outputs import SIGMOID

        on_own_stream(torch.device(self.device))
        inputs = self._normalised(batch["image"])
        trace = self.network.trace(inputs)
        logits = (self._classifier.logits(inputs) if self.dilate else trace.logits).detach()
        exclusive = self.network.outputs != SIGMOID
        probs, outputs = grouped(self.network.probabilities(logits), self.groups, exclusive)
        # Several sigmoids may round to 1.
        ranked = probs if exclusive else grouped(logits, self.groups, exclusive, -torch.inf)[0]
        classes = probs.shape[1] - sum(len(group) - 1 for group in self.groups)
        best = ranked.topk(min(TOP_K, classes), dim=1).indices
        probabilities, explained, top = (one.numpy() for one in to_host((probs, outputs, best)))
        kept = {name: column for name, column in batch.items() if name != "image"}
        rows = kept | {
            "trace_row": np.arange(len(top)),
            "probs": probabilities,
            "outputs": explained,
            "top_class": top.astype(np.int32),
            "machine": np.full(len(top), self._machine),
        }
        return Answer(rows, context={"trace": trace})

    def _normalised(self, image: np.ndarray) -> Tensor:
        import torch

        from stages.classify.machine import to_device

        pixels = to_device(torch.from_numpy(image), torch.device(self.device))
        if image.dtype == np.uint8:
            rows = pixels.float().view(-1, 3 * self.size)  # In place and row by row, so that memory is passed once.
            pixels = rows.sub_(self._mean).div_(self._std).view(pixels.shape).permute(0, 3, 1, 2)
        return pixels.contiguous(memory_format=self._format)
