"""Explainers beside the bare forward pass and beside other libraries: in turn, in one run, on one machine.

pytest -m benchmark -s tests/benchmarks/test_explainers.py

ResNet-50 (where not said otherwise), 224 pixels, batch 16, two threads, random weights: times do not depend on
them. This project runs as its classify stage runs it: frozen, folded, channels last. The other libraries get the
network as their documentation shows: as torchvision returns it, in eval mode. Every row is a ratio of medians.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.classify.fold import folded
from stages.explain.methods.augmented import augmented_maps, super_resolve, transformations
from stages.explain.methods.eigencam import eigencam
from stages.explain.methods.gradcam import gradcam
from stages.explain.registry import single_pass
from stages.explain.stage import Explain
from stages.trace.cut import CutNetwork

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

BATCH, SIDE = 16, 224
TARGET = torch.arange(BATCH)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def last_channels(images: Tensor) -> Tensor:
    """As the decoded pixels of a batch lie in memory."""
    return images.contiguous(memory_format=torch.channels_last)


def network(name: str) -> nn.Module:
    """Of torchvision, random weights."""
    from torchvision import models

    torch.manual_seed(0)
    return models.get_model(name).eval()


def cut(module: nn.Module, layer: str) -> CutNetwork:
    """A copy as the product runs it."""
    frozen = copy.deepcopy(module).requires_grad_(False)
    ready = folded(frozen, [layer], SIDE).to(memory_format=torch.channels_last)
    return CutNetwork(ready, [layer], SIDE)


def medians(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of each, called in turn, so that what else the machine does meets all alike."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def compare(title: str, ratio: float, wanted: float, seconds: dict[str, float], at_most: bool = False) -> None:
    """Print one row and hold it to its bound."""
    listed = ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items())
    print(f"\n{title}: {ratio:.2f} ({'at most' if at_most else 'at least'} {wanted}); {listed}")
    assert ratio <= wanted if at_most else ratio >= wanted


def peers_gradcam(module: nn.Module, layer: str, images: Tensor) -> dict[str, Callable[[], Any]]:
    """Grad-CAM by the three libraries, each with a network of its own."""
    attr = pytest.importorskip("captum.attr")
    pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")
    torchcam = pytest.importorskip("torchcam.methods")
    first, second, third = module, copy.deepcopy(module), copy.deepcopy(module)
    jacob = pytorch_grad_cam.GradCAM(first, [first.get_submodule(layer)])
    frgfm = torchcam.GradCAM(second, layer)
    pytorch = attr.LayerGradCam(third, third.get_submodule(layer))
    targets = [lambda output, label=label: output[label] for label in TARGET.tolist()]
    return {
        "pytorch-grad-cam": lambda: jacob(images, targets),
        "torch-cam": lambda: frgfm(TARGET.tolist(), second(images)),
        "captum": lambda: pytorch.attribute(images, TARGET),
    }


def test_gradcam_over_the_bare_forward_pass(images):
    ours = cut(network("resnet50"), "layer4")
    pixels = last_channels(images)

    bare_module = network("resnet50").requires_grad_(False).to(memory_format=torch.channels_last)  # without the hook

    @torch.inference_mode()
    def bare() -> Tensor:
        return bare_module(pixels)

    seconds = medians({"bare": bare, "gradcam": lambda: gradcam(ours.trace(pixels), TARGET)}, rounds=11)
    compare("gradcam images/s over the bare forward pass", seconds["bare"] / seconds["gradcam"], 0.95, seconds)


@pytest.mark.parametrize(
    ("name", "layer", "bounds"),
    [
        ("resnet50", "layer4", {"pytorch-grad-cam": 3, "torch-cam": 1.2, "captum": 1.2}),
        ("vgg16", "features.29", {"pytorch-grad-cam": 1.1, "torch-cam": 1.1, "captum": 1.1}),
    ],
)
def test_gradcam_over_other_libraries(images, name, layer, bounds):
    module = network(name)
    ours, pixels = cut(module, layer), last_channels(images)
    functions = {"gradcam": lambda: gradcam(ours.trace(pixels), TARGET), **peers_gradcam(module, layer, images)}
    seconds = medians(functions, rounds=5 if name == "resnet50" else 3)
    for peer, wanted in bounds.items():
        compare(f"{name}: gradcam over {peer}", seconds[peer] / seconds["gradcam"], wanted, seconds)


def needs_no_pass(name: str, network: CutNetwork, images: Tensor) -> bool:
    """Whether a method never asks the network again."""

    class AskedError(Exception):
        pass

    def refuse(*_: Any) -> None:
        raise AskedError

    trace = network.trace(images[:2])
    handle = network.module.register_forward_pre_hook(refuse)
    try:
        single_pass()[name].function(trace, TARGET[:2])
    except AskedError:
        return False
    finally:
        handle.remove()
    return True


def test_all_closed_forms_over_cam_alone(images):
    """Through the explain stage, as a run does: float16 maps and all."""
    ours, pixels = cut(network("resnet50"), "layer4"), last_channels(images)
    methods = [name for name in single_pass() if needs_no_pass(name, ours, pixels)]
    assert len(methods) > 12

    def run(names: list[str]) -> None:
        trace = ours.trace(pixels)
        probs = trace.logits.detach().softmax(1).numpy()
        top = probs.argsort(1)[:, :-6:-1]
        outputs = np.tile(np.arange(probs.shape[1]), (BATCH, 1))
        rows = {"trace_row": np.arange(BATCH), "probs": probs, "outputs": outputs, "top_class": top}
        rows["label"] = TARGET.numpy()
        Explain(names, ["label"])(rows, trace)

    seconds = medians({"cam": lambda: run(["cam"]), "all": lambda: run(methods)}, rounds=9)
    title = f"{', '.join(methods)} over cam alone"
    compare(title, seconds["all"] / seconds["cam"], 1.15, seconds, at_most=True)


def test_the_solver_of_augmented_gradcam_over_its_forward_passes(images):
    ours, pixels = cut(network("resnet50"), "layer4"), last_channels(images)
    trace = ours.trace(pixels)
    maps, _ = augmented_maps(trace, TARGET)
    transforms = transformations(trace.inputs)

    @torch.no_grad()
    def passes() -> None:
        for _ in range(len(transforms)):
            ours.logits(pixels)

    def solve() -> None:
        super_resolve(maps, torch.ones_like(maps[:, :, 0, 0]), transforms)

    seconds = medians({"16 forward passes": passes, "solver": solve}, rounds=1)
    ratio = seconds["solver"] / seconds["16 forward passes"]
    compare("augmented-gradcam: solver over the forward passes", ratio, 1, seconds, at_most=True)


def test_eigencam_over_pytorch_grad_cam(images):
    """From the activations of one forward pass that both share: the passes are as fast as each other."""
    svd = pytest.importorskip("pytorch_grad_cam.utils.svd_on_activations")
    trace = cut(network("resnet50"), "layer4").trace(last_channels(images))
    activations = trace.activations.detach().contiguous().numpy()
    eigencam(trace, TARGET)
    fast = []
    for _ in range(5):
        started = time.perf_counter()
        eigencam(trace, TARGET)
        fast.append(time.perf_counter() - started)
    started = time.perf_counter()
    svd.get_2d_projection(activations[:4])  # one after the other, so a quarter of them takes a quarter
    seconds = {"eigencam": median(fast), "pytorch-grad-cam": 4 * (time.perf_counter() - started)}
    ratio = seconds["pytorch-grad-cam"] / seconds["eigencam"]
    compare("eigencam over pytorch-grad-cam", ratio, 50, seconds)


# One image of ResNet-18: 512 masked forward passes. In a process of its own, whose peak memory is known. A batch and
# 16 masks go first, as in a run, so that what is loaded once is there. Memory is counted from the peak of
# one forward pass: what that takes beside the libraries and the network. The peak begins anew before it, with free
# memory given back, so that what made the network ready is not in it.
SCORECAM = """
import ctypes, sys, time
import torch
from torchvision import models
from pipeline.engine.machine import peak_memory as peak
from stages.trace.cut import CutNetwork
from stages.classify.fold import folded
from stages.explain.methods.scorecam import scorecam
from stages.explain.masking import logits_through

torch.set_num_threads(2)
torch.manual_seed(0)
module = models.resnet18().eval()
images = torch.randn(1, 3, 224, 224)
target = torch.tensor([5])
if sys.argv[1] == "here":
    module = folded(module.requires_grad_(False), ["layer4"], 224).to(memory_format=torch.channels_last)
    cut = CutNetwork(module, ["layer4"], 224)
    trace = cut.trace(images.contiguous(memory_format=torch.channels_last))
    logits_through(cut, trace.inputs, torch.rand(16, 7, 7))
    run = lambda: scorecam(trace, target)
else:
    from pytorch_grad_cam import ScoreCAM
    method = ScoreCAM(module, [module.layer4])
    run = lambda: method(images, [lambda output: output[5]])
with torch.inference_mode():
    module(torch.randn(16, 3, 224, 224))
ctypes.CDLL(None).malloc_trim(0)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
with torch.inference_mode():
    module(torch.randn(1, 3, 224, 224))
before, started = peak(), time.perf_counter()
run()
print(time.perf_counter() - started, peak() - before)
"""


def test_scorecam_over_pytorch_grad_cam():
    pytest.importorskip("pytorch_grad_cam")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}

    def one(side: str) -> tuple[float, float]:
        command = [sys.executable, "-c", SCORECAM, side]
        out = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout
        seconds, mebibytes = map(float, out.split())
        return seconds, mebibytes

    found = [(one("here"), one("there")) for _ in range(3)]
    seconds = {
        "scorecam": median(here[0] for here, _ in found),
        "pytorch-grad-cam": median(there[0] for _, there in found),
    }
    memory = {"here": median(here[1] for here, _ in found), "there": median(there[1] for _, there in found)}
    print(f"\nscorecam: peak memory beyond the network {memory['here']:.0f} MiB, there {memory['there']:.0f} MiB")
    compare("scorecam over pytorch-grad-cam", seconds["pytorch-grad-cam"] / seconds["scorecam"], 1.3, seconds)
    assert memory["here"] <= 0.1 * memory["there"]
