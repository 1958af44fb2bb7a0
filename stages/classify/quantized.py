"""Quantized networks in simulated integer arithmetic: the same steps in floats, which have gradients.

Integer kernels have none, and no map can be put in the place of a packed tensor. So the layers become floating-point
ones with the same, rounded weights, and every result is rounded to the steps that its integers had; gradients pass
the rounding, as in quantization-aware training.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from stages.errors import ConfigurationError

PACKAGE = "torch.ao.nn."
"""Where torch keeps its quantized layers, in packages that have this in their names."""


NOTE = "the network is quantized: its integers are simulated in floating point, which has gradients"


class Rounded(nn.Module):
    """A layer whose results are rounded to 256 steps.

    Args:
        layer: The layer in floating point.
        like: The quantized layer, which knows the step and the integer of 0.
    """

    def __init__(self, layer: nn.Module, like: Any) -> None:
        super().__init__()
        self.layer = layer
        self.scale, self.zero_point = float(like.scale), int(like.zero_point)

    def forward(self, *inputs: Any) -> Tensor:
        """The rounded result of the layer."""
        return rounded(self.layer(*inputs), self.scale, self.zero_point)


class _Functions(nn.Module):
    """The arithmetic that quantized networks have in modules, such as that of a shortcut."""

    def __init__(self, like: Any) -> None:
        super().__init__()
        self.scale, self.zero_point = float(like.scale), int(like.zero_point)

    def __getattr__(self, name: str) -> Any:
        function = _FUNCTIONS.get(name.removesuffix("_scalar"))
        if function is None:
            return super().__getattr__(name)
        steps = {} if name.endswith("_scalar") else {"scale": self.scale, "zero_point": self.zero_point}
        return lambda *inputs, **named: function(*inputs, **named, **steps)


def rounded(values: Tensor, scale: Any = None, zero_point: Any = 0, dtype: torch.dtype = torch.quint8) -> Tensor:
    """Values as they come back from integers, with a gradient of 1 within the range of those, and 0 outside.

    Args:
        values: Any tensor.
        scale: Step between integers; None leaves the values as they are.
        zero_point: Integer of 0.
        dtype: Type of the integers, ``quint8`` or ``qint8``.
    """
    if scale is None:
        return values
    low, high = (-128, 127) if dtype == torch.qint8 else (0, 255)
    return torch.fake_quantize_per_tensor_affine(values, float(scale), int(zero_point), low, high)


def simulated(module: nn.Module) -> nn.Module:
    """A copy of a quantized network in simulated arithmetic; any other network itself.

    Raises:
        ConfigurationError: It has a quantized layer or operation that is not known here.
    """
    if not any(_is_quantized(part) for part in module.modules()):
        return module
    found = _with_floats(copy.deepcopy(module))
    if isinstance(found, fx.GraphModule):
        _rewrite(found)
    return found.eval()


def _with_floats(module: nn.Module) -> nn.Module:
    if _is_quantized(module):
        return _float(module)
    for name, part in list(module.named_children()):
        setattr(module, name, _with_floats(part))
    return module


def _is_quantized(part: nn.Module) -> bool:
    place, kind = type(part).__module__, type(part).__name__
    return place.startswith(PACKAGE) and ".quantized" in place and "FloatFunctional" not in kind


def _float(part: Any) -> nn.Module:
    """The floating-point layer that a quantized one computes in integers."""
    kind = type(part).__name__
    relu = nn.ReLU() if kind.endswith("ReLU") or "ReLU2d" in kind else None
    layer: nn.Module
    if kind in ("Quantize", "DeQuantize", "Dropout"):
        layer = nn.Identity()
    elif kind == "QFunctional":
        return _Functions(part)
    elif kind in ("Conv2d", "ConvReLU2d"):
        shape = (part.in_channels, part.out_channels, part.kernel_size, part.stride, part.padding, part.dilation)
        layer = nn.Conv2d(*shape, part.groups, part.bias() is not None, part.padding_mode)
    elif kind in ("Linear", "LinearReLU"):
        layer = nn.Linear(part.in_features, part.out_features, part.bias() is not None)
    elif kind in ("BatchNorm2d", "BNReLU2d"):
        layer = nn.BatchNorm2d(part.num_features, part.eps)
        layer.load_state_dict(part.state_dict(), strict=False)  # It has its step in addition.
    elif kind in ("Hardswish", "ReLU6", "Sigmoid", "MaxPool2d"):
        layer = copy.copy(part)
        layer.__class__ = getattr(nn, kind)
    else:
        raise _unknown(f"the layer {kind}")
    if isinstance(layer, nn.Conv2d | nn.Linear):
        layer.weight = nn.Parameter(part.weight().dequantize())
        layer.bias = None if part.bias() is None else nn.Parameter(part.bias().detach())
    dynamic = ".dynamic" in type(part).__module__  # It takes and gives floats.
    if kind != "DeQuantize" and hasattr(part, "scale") and not dynamic:
        return Rounded(nn.Sequential(layer, relu) if relu else layer, part)
    return nn.Sequential(layer, relu) if relu else layer


def _add(a: Tensor, b: Any, scale: Any = None, zero_point: Any = 0) -> Tensor:
    return rounded(a + b, scale, zero_point)


def _add_relu(a: Tensor, b: Any, scale: Any = None, zero_point: Any = 0) -> Tensor:
    return rounded(F.relu(a + b), scale, zero_point)


def _mul(a: Tensor, b: Any, scale: Any = None, zero_point: Any = 0) -> Tensor:
    return rounded(a * b, scale, zero_point)


def _cat(parts: list[Tensor], dim: int = 0, scale: Any = None, zero_point: Any = 0) -> Tensor:
    return rounded(torch.cat(parts, dim), scale, zero_point)


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {"add": _add, "add_relu": _add_relu, "mul": _mul, "cat": _cat}
"""Operations on integers. With a number in the place of a tensor the step follows, and none is given."""


def _rewrite(module: fx.GraphModule) -> None:
    """Replace the operations on integers in a network's recorded graph."""
    for node in module.graph.nodes:
        name = getattr(node.target, "__name__", str(node.target)).partition(".")[0]
        if node.target is torch.quantize_per_tensor:
            node.target = rounded
        elif node.op in ("call_method", "call_function") and name == "dequantize":
            node.replace_all_uses_with(node.args[0])
        elif "quantized." in str(node.target) and node.op == "call_function":
            if name not in _FUNCTIONS:
                raise _unknown(f"the operation {name}")
            node.target = _FUNCTIONS[name]
    module.graph.eliminate_dead_code()
    module.recompile()


def _unknown(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what} of this quantized network cannot be explained; explain the float network that it was made from",
        about="network",
    )
