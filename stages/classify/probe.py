"""What one forward pass of noise tells about a network: its last map, and whether its head is GAP + linear."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.errors import ConfigurationError

_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout2d)


def last_spatial_layer(module: nn.Module, size: int) -> str:
    """Dotted name of the last module whose output is a map, before pooling: VGG's last ReLU, ResNet's layer4.

    Raises:
        ConfigurationError: No module gives a (N, K, h, w) output with h, w > 1.
    """
    seen: list[tuple[str, Tensor]] = []
    pooled: list[Tensor] = []
    tokens: list[str] = []

    def watch(name: str, part: nn.Module):
        def hook(_module, _inputs, output):
            if isinstance(part, _POOLS) and isinstance(output, Tensor):
                pooled.append(output)
            elif isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
                seen.append((name, output))
                tokens.clear()
            elif isinstance(output, Tensor) and output.ndim in (3, 4) and output.shape[1] > 1 < output.shape[2]:
                tokens.append(name)

        return part.register_forward_hook(hook)

    handles = [watch(name, part) for name, part in module.named_modules() if name]
    try:
        forward_noise(module, size)
    finally:
        for handle in handles:
            handle.remove()
    if tokens:
        raise ConfigurationError(
            f"model.spec: behind its last map the network works on tokens ({tokens[0]}), which have no map; "
            "name a convolutional layer in explain.layer"
        )
    for name, output in reversed(seen):
        # A container that ends in a pool gives the pool's output under its own name.
        if not any(output is pool for pool in pooled):
            return name
    raise ConfigurationError("model.spec: no layer of the network gives a map (N, K, h, w) to explain")


def gap_linear_head(module: nn.Module, layer: nn.Module, size: int) -> nn.Linear | None:
    """The classifier's linear layer, if the logits are exactly linear(mean over h and w of the layer's output).

    Exactly is tried, not guessed from names: both sides are computed on noise and compared.
    """
    linears = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if not linears:
        return None
    caught: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    try:
        logits = forward_noise(module, size)
    finally:
        handle.remove()
    maps, head = caught[-1], linears[-1]
    if not isinstance(maps, Tensor) or maps.ndim != 4 or maps.shape[1] != head.in_features:
        return None
    rebuilt = F.linear(maps.mean((2, 3)), head.weight, head.bias)
    if rebuilt.shape != logits.shape or not logits.isfinite().all():
        return None
    return head if torch.allclose(rebuilt, logits, rtol=1e-4, atol=1e-4 * float(logits.abs().max())) else None


@torch.no_grad()
def forward_noise(module: nn.Module, size: int) -> Tensor:
    """Logits (2, C) of two images of noise; the same noise every time."""
    module.eval()
    parameter = next(module.parameters(), torch.empty(0))
    noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return checked_logits(module(noise.to(parameter.device, parameter.dtype)))


def checked_logits(output: object) -> Tensor:
    """What a network returned, if it is logits.

    Raises:
        ConfigurationError: It is something else than an (N, C) tensor.
    """
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise ConfigurationError(f"model.spec: the network returns {what}, not logits (N, C)")
