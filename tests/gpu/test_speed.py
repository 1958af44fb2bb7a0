"""How fast a GPU goes: the bare forward pass, the stages that use it, whole runs, explainers, other libraries.

python -m pytest -m gpu -n 0 -s tests/gpu/test_speed.py --photographs FOLDER

ResNet-50 with random weights and EfficientNet-Lite0, 224 pixels. Every figure is printed; what is asserted are ratios
within one run on one machine.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from statistics import median

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.classify.fold import folded
from stages.classify.machine import set_arithmetic
from stages.classify.network import Network
from stages.classify.sources import load_network
from stages.classify.stage import Classify
from stages.explain.masking import CHUNK
from stages.explain.methods.gradcam import gradcam
from stages.explain.methods.scorecam import scorecam
from stages.explain.registry import get_explainer, single_pass
from stages.explain.stage import Explain
from stages.trace.cut import CutNetwork
from tests.gpu.networks import resnet50

pytestmark = pytest.mark.gpu

SIDE = 224
LAYERS = {"resnet50": "layer4", "lite0": "features"}
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


@cache
def network(name: str) -> Network:
    return Network(resnet50()) if name == "resnet50" else load_network("lite0")


@cache
def at_once(name: str) -> nn.Module:
    """The network with its normalisations folded."""
    return folded(network(name).module, [LAYERS[name]], SIDE)


def show(what: str, value: float, unit: str = "images/s") -> float:
    print(f"{what:90s} {value:10.2f} {unit}", flush=True)
    return value


class Clock:
    """Median seconds of a call, the device's work included."""

    def __init__(self, device: str, quick: bool) -> None:
        self.device, self.times, self.first = device, 2 if quick else 12, 1 if quick else 4

    def __call__(self, call: Callable[[], object], times: int | None = None) -> float:
        found = []
        for _ in range(self.first):
            call()
        for _ in range(times or self.times):
            self.wait()
            started = time.perf_counter()
            call()
            self.wait()
            found.append(time.perf_counter() - started)
        return median(found)

    def wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()


@pytest.fixture(scope="module")
def clock(device, quick) -> Clock:
    set_arithmetic(device)
    return Clock(device, quick)


@pytest.fixture(scope="module")
def batches(quick) -> tuple[int, ...]:
    return (4,) if quick else (64, 128, 256)


def lies_last(module: nn.Module | Tensor, *to: object) -> nn.Module | Tensor:
    return module.to(*to).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", LAYERS)
def test_bare_forward_pass(device, quick, clock, batches, name):
    for count in batches:
        images = lies_last(torch.randn(count, 3, SIDE, SIDE), device)
        variants = {
            "as it is, fp32, channels first": (copy.deepcopy(network(name).module), images.contiguous()),
            "as it is, fp32": (copy.deepcopy(network(name).module), images),
            "folded, fp32": (copy.deepcopy(at_once(name)), images),
            "as it is, bf16 weights": (copy.deepcopy(network(name).module).bfloat16(), images.bfloat16()),
            "folded, bf16 weights": (copy.deepcopy(at_once(name)).bfloat16(), images.bfloat16()),
        }
        with torch.inference_mode():
            for what, (module, inputs) in variants.items():
                module = module.to(device) if "first" in what else lies_last(module, device)
                show(f"{name}, batch {count}, {what}", count / clock(lambda m=module, x=inputs: m(x)))
                if device == "cpu":
                    continue
                torch.backends.cudnn.benchmark = True
                show(f"{name}, batch {count}, {what}, cudnn.benchmark", count / clock(lambda m=module, x=inputs: m(x)))
                torch.backends.cudnn.benchmark = False
                graph = recorded(module, inputs)
                show(f"{name}, batch {count}, {what}, CUDA graph", count / clock(graph.replay))


def recorded(module: nn.Module, inputs: Tensor) -> torch.cuda.CUDAGraph:
    """The pass as a graph of kernels that starts as one."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            module(inputs)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        module(inputs)
    return graph


def classifier(name: str, precision: str, device: str) -> Classify:
    """The network as a worker prepares it."""
    found = Classify("", "", LAYERS[name], SIDE, device, precision)
    found.prepare(network(name))
    return found


def stages(name: str, precision: str, device: str) -> Callable[[dict], object]:
    """Classification and CAM of the label and the five best, as a worker runs them."""
    classify, explain = classifier(name, precision, device), Explain(["cam"], ["label", "top5"])

    def take(batch: dict) -> object:
        answer = classify(dict(batch))
        return explain(answer.rows, **answer.context)

    return take


def prepared(name: str, device: str, count: int, precision: str = "fp32") -> tuple[CutNetwork, Tensor]:
    """The cut network and a batch in the layout that it gets."""
    classify = classifier(name, precision, device)
    return classify.network, classify._normalised(pixels(count)["image"])


def pixels(count: int) -> dict:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 255, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return {"image_id": np.arange(count), "label": generator.integers(0, 1000, count).astype(np.int32), "image": image}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_stages_over_the_bare_forward_pass(device, quick, clock, batches, name, precision):
    dtype = PRECISIONS[precision] or torch.float32
    take = stages(name, precision, device)
    bare = lies_last(copy.deepcopy(network(name).module).to(dtype), device)
    threads = ThreadPoolExecutor(2)
    for count in batches:
        batch, images = pixels(count), lies_last(torch.randn(count, 3, SIDE, SIDE, dtype=dtype), device)

        def forward(images=images) -> None:
            with torch.inference_mode():
                bare(images)

        def two(batch=batch) -> None:
            list(threads.map(lambda _: take(batch), range(16)))

        reference = show(f"{name}, {precision}, batch {count}: bare", count / clock(forward))
        show(f"{name}, {precision}, batch {count}: stages, one thread", count / clock(lambda b=batch: take(b)))
        started = time.perf_counter()
        threads.submit(take, batch).result()
        show(f"{name}, {precision}, batch {count}: the first batch of a thread", time.perf_counter() - started, "s")
        both = show(f"{name}, {precision}, batch {count}: stages, two threads", 16 * count / clock(two, 5))
        show(f"{name}, {precision}, batch {count}: stages over bare, two threads", both / reference, "")
        if device != "cpu":
            show(f"{name}, {precision}, batch {count}: the GPU works while one thread runs", busy(take, batch), "")
            if precision == "bf16" and name == "resnet50" and count == 256:
                assert both / reference > 0.6


def busy(take: Callable[[dict], object], batch: dict) -> float:
    """Share of the time in which the GPU computes or copies."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        started = time.perf_counter()
        for _ in range(5):
            take(batch)
        torch.cuda.synchronize()
        spent = time.perf_counter() - started
    return sum(one.self_device_time_total for one in found.key_averages()) / 1e6 / spent


RUNS = {
    "inline": ["--executor", "inline"],
    "ray": ["--executor", "ray", "runtime.shard_size=256"],
    "inline, bf16": ["--executor", "inline", "runtime.precision=bf16", "runtime.batch_size=256"],
    "ray, bf16": [
        *("--executor", "ray", "runtime.shard_size=256", "runtime.precision=bf16", "runtime.batch_size=256"),
    ],
    "ray, two workers a GPU": ["--executor", "ray", "runtime.gpus_per_worker=0.5", "runtime.shard_size=256"],
}


@pytest.mark.parametrize("name", RUNS)
def test_whole_run_over_the_decoding(run, device, quick, photographs, decoding, name):
    if quick and "," in name:
        pytest.skip("nothing new without a GPU")
    count = 96 if quick else 12000
    started = time.perf_counter()
    out = run(name.replace(" ", "-"), photographs(count), "model.spec=lite0", *RUNS[name])
    info = json.loads((out / "run.json").read_text())
    rate = show(f"{count} images, {name}", info["images_per_second"])
    seconds = {stage: round(spent, 1) for stage, spent in info["seconds"].items() if spent >= 0.5}
    print(f"    {time.perf_counter() - started:.0f} s in all; {seconds}; MiB {info['peak_memory_mib']}", flush=True)
    show(f"{count} images, {name}: over the decoding alone", rate / decoding, "")
    assert quick or rate / decoding > 0.4


@pytest.fixture(scope="module")
def decoding(photographs, quick) -> float:
    """Images a second that all cores decode and do nothing else."""
    count = 192 if quick else 2048
    show(f"decoding in the threads of one process, {os.cpu_count()} cores", decoded(photographs(count), count, False))
    return show(f"decoding, {os.cpu_count()} cores", decoded(photographs(count), count, True))


DECODE = """
import sys, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
import numpy as np
from stages.batch import ragged
from stages.ingest.decode import Decode
root, count, cores, processes = Path(sys.argv[1]), *map(int, sys.argv[2:])
names = sorted(str(one) for one in (root / "ILSVRC/Data/CLS-LOC/val").iterdir())[:count]
stage = Decode(224, "squash", "bilinear", 0.875, (124, 116, 104))
stage.setup()
def batch(at):
    uris = names[at : at + 64]
    sides = np.zeros(len(uris), dtype=np.int32)
    stage({"image_id": np.arange(len(uris)), "uri": ragged(uris), "width": sides, "height": sides})
with (ProcessPoolExecutor if processes else ThreadPoolExecutor)(cores) as pool:
    list(pool.map(batch, range(0, count, 64)))
    started = time.perf_counter()
    list(pool.map(batch, range(0, count, 64)))
print(count / (time.perf_counter() - started))
"""


def decoded(root, count: int, processes: bool) -> float:
    """Images a second that all cores decode, in processes or in the threads of one."""
    command = [sys.executable, "-c", DECODE, str(root), str(count), str(os.cpu_count()), str(int(processes))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    return float(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


def test_explainers_over_the_forward_pass(device, quick, clock):
    count = 2 if quick else 16
    cut, images = prepared("lite0", device, count)
    target = torch.arange(count, device=device)
    forward = clock(lambda: cut.trace(images), 5)
    show(f"lite0, batch {count}, fp32: traced forward pass", count / forward)
    for method in single_pass():
        slow = method in ("scorecam", "scorecam-lecture", "opticam", "augmented-gradcam-authors")
        if quick and slow:
            continue
        function = get_explainer(method, True).function
        own, classes = (images[:1], target[:1]) if slow else (images, target)

        def explain(own=own, classes=classes, function=function) -> None:
            function(cut.trace(own), classes)

        if slow:
            clock.wait()
            started = time.perf_counter()
            explain()
            clock.wait()
            spent = (time.perf_counter() - started) * count
        else:
            spent = clock(explain, 3)
        show(f"lite0, batch {count}, fp32: {method}, with its forward pass", spent / forward, "forward passes")


def test_score_cam_by_images_at_a_time(device, quick, clock, monkeypatch):
    if quick:
        pytest.skip("2,048 passes")
    for precision in PRECISIONS:
        cut, image = prepared("resnet50", device, 1, precision)
        for chunk in (64, 256, 1024):
            monkeypatch.setitem(CHUNK, "cuda", chunk)
            torch.cuda.reset_peak_memory_stats()
            spent = clock(lambda c=cut, x=image: scorecam(c.trace(x), torch.tensor([5], device=device)), 1)
            show(f"resnet50, scorecam, {precision}, {chunk} masked images at a time", spent, "s an image")
            show("    its memory", torch.cuda.max_memory_allocated() / 2**20, "MiB")


def test_other_libraries(device, quick, clock):
    count = 2 if quick else 64
    images = torch.randn(count, 3, SIDE, SIDE, device=device)
    target = torch.arange(count, device=device)
    cut, inputs = prepared("resnet50", device, count)
    theirs = {"this project": lambda: gradcam(cut.trace(inputs), target)}
    module = resnet50().eval().to(device)
    try:
        from captum.attr import LayerGradCam

        own = LayerGradCam(module, module.layer4)
        theirs["captum"] = lambda: own.attribute(images, target=target)
    except ImportError:
        print("captum is not there")
    try:
        from torchcam.methods import GradCAM

        other = copy.deepcopy(module)
        extractor = GradCAM(other, "layer4")
        theirs["torch-cam"] = lambda: extractor(list(range(count)), other(images))
    except ImportError:
        print("torch-cam is not there")
    rates = {name: show(f"resnet50, gradcam, fp32: {name}", count / clock(call, 5)) for name, call in theirs.items()}
    assert all(rates["this project"] >= 0.8 * rate for rate in rates.values())


def test_compiled(device, quick, clock):
    """The last, because it takes a minute."""
    if quick:
        pytest.skip("is for GPUs")
    module = lies_last(copy.deepcopy(at_once("resnet50")), device, torch.bfloat16)
    images = lies_last(torch.randn(64, 3, SIDE, SIDE, device=device, dtype=torch.bfloat16))
    with torch.no_grad():
        for mode in ("default", "reduce-overhead"):
            started = time.perf_counter()
            compiled = torch.compile(module, mode=mode)
            compiled(images)
            show(f"resnet50, bf16, torch.compile, {mode}: the first call", time.perf_counter() - started, "s")
            show(f"resnet50, bf16, torch.compile, {mode}", 64 / clock(lambda c=compiled: c(images)))
