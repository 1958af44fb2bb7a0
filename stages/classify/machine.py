"""The machine that a network runs on, as far as its results and its speed depend on it."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Sequence

import torch
from torch import Tensor


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


def set_arithmetic(device: str, deterministic: bool = False) -> None:
    """Set this process to reproducible arithmetic, before the device is first used.

    Workers share the cores batch by batch: this is faster than sharing them inside every operator, and results do not
    depend on the number of cores. Beside a GPU too, where even a copy would otherwise wait for as many threads as the
    machine has cores.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        deterministic: Whether equal inputs must give equal bits on a GPU too, where some sums are otherwise taken in
            an order that differs from time to time.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # fp32 means full fp32
    torch.set_num_threads(1)
    if deterministic and torch.device(device).type != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as cuBLAS asks for where streams are several
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True, warn_only=True)


def on_own_stream(device: torch.device) -> None:
    """Give this thread a stream of its own on a GPU, so that its copies run beside other threads' computations.

    The main thread keeps the stream that it has.
    """
    if device.type != "cuda" or threading.current_thread() is threading.main_thread():
        return
    if torch.cuda.current_stream(device) == torch.cuda.default_stream(device):
        torch.cuda.synchronize(device)  # What has been prepared, such as the weights, is there.
        torch.cuda.set_stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A copy on the device, which a GPU fetches while this thread goes on."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def to_host(values: Sequence[Tensor]) -> list[Tensor]:
    """Copies in this machine's memory, for all of which a GPU is waited for once."""
    found = [one.to("cpu", non_blocking=True) for one in values]
    if values and values[0].is_cuda:
        torch.cuda.current_stream(values[0].device).synchronize()
    return found
