"""The activation at the very end of a network, found as it runs, whether it is a module or a function call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from stages.trace.outputs import SIGMOID, SOFTMAX, log_probabilities, probabilities

ACTIVATIONS = {
    "softmax": (SOFTMAX, probabilities),
    "log_softmax": (SOFTMAX, log_probabilities),
    "sigmoid": (SIGMOID, probabilities),
    "expit": (SIGMOID, probabilities),
    "log_sigmoid": (SIGMOID, log_probabilities),
}
"""By the name of a function of torch: the kind of outputs that it makes of logits, and how."""

SAME = 1e-3
"""Relative difference of ratios that are one number."""


class LastActivation(TorchFunctionMode):
    """Remembers the last of :data:`ACTIVATIONS` that ran, with its input and output.

    Every spelling goes through here: a module, a function, a method, an operator of an exported graph.

    Attributes:
        name: Its key in :data:`ACTIVATIONS`; empty where none has run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self._before = self._after = torch.empty(0)

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Implement torch's protocol: called for every function of torch."""
        kwargs = kwargs or {}
        spelled = str(getattr(func, "__name__", "")).partition(".")[0].removeprefix("special_")
        name = spelled.removesuffix("_")
        if name not in ACTIVATIONS:
            return func(*args, **kwargs)
        before = args[0] if args else kwargs["input"]
        before = before.clone() if spelled.endswith("_") else before  # An operation in place overwrites it.
        after = func(*args, **kwargs)
        self.name, self._before, self._after = name, before, after
        return after

    def before(self, output: Tensor) -> Tensor | None:
        """What the activation was applied to, in the shape of the network's output; None where that is not its output.

        Args:
            output: The output itself, or a view of it such as after ``squeeze``.
        """
        if not self.name or output.numel() != self._after.numel():
            return None
        if output.untyped_storage().data_ptr() != self._after.untyped_storage().data_ptr():
            return None
        return self._before.reshape(output.shape)

    def times_a_number(self, output: Tensor) -> bool:
        """Whether the output is what the activation returned times a number, such as percentages.

        Logarithms of probabilities times a positive number remain logits, at another temperature.
        """
        if not self.name or output.numel() != self._after.numel():
            return False
        ratio = (output.double() / self._after.reshape(output.shape).double()).flatten()
        ratio = ratio[ratio.isfinite()]
        if not len(ratio) or not ratio.all() or (self.name.startswith("log") and ratio[0] > 0):
            return False
        return bool((ratio - ratio[0]).abs().max() < SAME * ratio[0].abs())
