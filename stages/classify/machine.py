"""The kind of machine that a network runs on, as far as the last bits of its results depend on it."""

from __future__ import annotations

import platform

import torch


def machine_kind(device: str) -> str:
    """The processor's instructions or the GPU's model, and PyTorch's version: another kind rounds differently.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        Such as ``x86_64 AVX512, torch 2.9.1`` or ``NVIDIA A100-SXM4-80GB, torch 2.9.1+cu128``.
    """
    if torch.device(device).type == "cpu":
        # Reads ATEN_CPU_CAPABILITY too.
        model = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    else:
        model = torch.cuda.get_device_name(device)
    return f"{model}, torch {torch.__version__}"
