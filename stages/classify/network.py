"""The interface of a classifier to the pipeline, whatever library it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stages.classes import ClassInfo
from stages.errors import ConfigurationError, unknown

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing that a network expects.

    Attributes:
        size: Side of the square input in pixels.
        resample: ``bilinear`` or ``bicubic``, both antialiased (Pillow).
        crop_ratio: Share of the shorter side that a centre crop keeps.
        mean: Mean per channel, of RGB values in [0, 1].
        std: Standard deviation per channel.
    """

    size: int = 224
    resample: str = "bilinear"
    crop_ratio: float = 0.875
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


AUTO, *_ = OUTPUTS = ("auto", "softmax", "sigmoid")
"""Kinds of outputs of a network; one that has not been tried is ``auto``."""


class Network:
    """A classifier that is ready to be explained. Only the module is required.

    Args:
        module: Maps (N, 3, size, size) normalised RGB to (N, C) logits, or to something that
            :func:`stages.classify.outputs.with_logits` makes logits of. It is put in eval mode and frozen.
        classes: The C classes in output order, or their names; empty where they are unknown.
        preprocess: Preprocessing that the network expects; that of torchvision's ImageNet networks where not given.
        layer: Dotted name of the module whose output is explained by default; the last one with spatial
            extent where not given.
        weights_sha256: SHA-256 of the file that the weights came from; that of the tensors where not given.
        outputs: ``softmax`` where one class excludes the others, ``sigmoid`` where each has a probability of its own;
            ``auto`` where the network shall be tried.
        notes: What the user should know about it, one line each.

    A network of one input channel or of another precision is copied, and the copy takes RGB in float32: see
    :mod:`stages.classify.adapt`.
    """

    def __init__(
        self,
        module: nn.Module,
        classes: Iterable[ClassInfo | str] = (),
        preprocess: Preprocess = Preprocess(),
        layer: str = "",
        weights_sha256: str = "",
        outputs: str = AUTO,
        notes: Iterable[str] = (),
    ) -> None:
        from stages.classify.adapt import in_float32, of_colours
        from stages.classify.architectures.densenet import adapted
        from stages.classify.programs import as_module
        from stages.classify.quantized import NOTE, simulated
        from stages.classify.weights import tensors_sha256

        given = as_module(module)
        module = simulated(given)
        self.classes = [one if isinstance(one, ClassInfo) else ClassInfo(str(one)) for one in classes]
        self.layer = layer
        self.weights_sha256 = weights_sha256 or tensors_sha256(module)
        if outputs not in OUTPUTS:
            raise unknown("kind of outputs", outputs, list(OUTPUTS), about="outputs")
        self.outputs = outputs
        self.module = adapted(module).eval().requires_grad_(False)
        self.module, cast = in_float32(self.module, preprocess.size)
        self.module, mean, std, grey = of_colours(self.module, preprocess.size, preprocess.mean, preprocess.std)
        self.preprocess = replace(preprocess, mean=mean, std=std)
        self.notes = (*notes, *([] if module is given else [NOTE]), *cast, *grey)

    def resolve_layer(self, name: str, size: int | None = None) -> str:
        """The dotted name of a layer; ``last`` is the default one.

        Args:
            name: ``last``, or the dotted name itself.
            size: Side of the input in pixels, which decides which layers have spatial extent; the network's own
                where not given.

        Raises:
            ConfigurationError: There is no such layer; the message lists the nearest names.
        """
        modules = dict(self.module.named_modules())
        if name == "last":
            from stages.trace.probe import last_spatial_layer

            return self.layer or last_spatial_layer(self.module, size or self.preprocess.size)
        if name and name in modules:
            return name
        import difflib

        near = difflib.get_close_matches(name, list(modules), n=3, cutoff=0.3) or [one for one in modules if one][-3:]
        raise ConfigurationError(f"the network has no layer {name!r}; nearest: {', '.join(near)}", about="layer")

    def resolve_layers(self, names: str | Sequence[str], size: int | None = None) -> list[str]:
        """The dotted names of one or several layers, see :meth:`resolve_layer`.

        Raises:
            ConfigurationError: One is unknown, or two are the same.
        """
        found = [self.resolve_layer(name, size) for name in ([names] if isinstance(names, str) else names)]
        for name in found:
            if found.count(name) > 1:
                raise ConfigurationError(f"{name} stands twice; name every layer once", about="layer")
        return found
