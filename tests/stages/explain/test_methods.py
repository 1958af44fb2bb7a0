"""Every method against its paper's formula, written out with loops, in float64."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from stages.errors import ConfigurationError
from stages.explain import methods, registry
from stages.explain.methods import ablation
from stages.explain.registry import explainer, explainers, get_explainer
from stages.explain.table import METHODS, check_methods
from stages.trace.cut import CutNetwork
from stages.trace.probe import gap_linear_head
from tests.stages.explain.brute_force import BRUTE_FORCE, HEADS, TARGET, Whole, network
from tests.stages.toys import CLASSES, FlattenHead, GapLinear, seeded


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", BRUTE_FORCE)
def test_a_method_is_its_formula(images, head, name):
    cut = network(head)
    maps = get_explainer(name, cut.head is not None).function(cut.trace(images), TARGET).detach()
    for row, image in enumerate(images):
        expected = BRUTE_FORCE[name](Whole(head, image), int(TARGET[row])).detach()
        torch.testing.assert_close(maps[row], expected, rtol=1e-6, atol=1e-9)


def test_cam_and_its_relatives_are_the_weighted_sums_of_the_maps(images):
    cut = network("gap")
    trace, weight = cut.trace(images), cut.head.weight
    names = "cam", "positive-cam", "liftcam"
    maps = {name: get_explainer(name, True).function(trace, TARGET).detach() for name in names}
    for row, c in enumerate(TARGET):
        a = trace.activations[row].detach()
        torch.testing.assert_close(maps["cam"][row], sum(weight[c, k] * a[k] for k in range(12)))
        torch.testing.assert_close(maps["positive-cam"][row], sum(max(weight[c, k], 0) * a[k] for k in range(12)))
        torch.testing.assert_close(maps["liftcam"][row], sum(weight[c, k] * a[k].mean() * a[k] for k in range(12)))
    # Zhou et al., section 2: S_c is the mean of M_c, plus the bias that the paper leaves out.
    torch.testing.assert_close(maps["cam"].mean((1, 2)) + cut.head.bias[TARGET], trace.score(TARGET).detach())


def test_liftcam_is_the_exact_shapley_value(images):
    """The head is additive in the channels, so one channel's contribution is the same in every coalition."""
    whole, c = Whole("gap", images[0]), 2
    maps = whole.maps[0].detach()
    nothing = whole.logits_of(torch.zeros_like(maps))[c]
    cut = network("gap")
    lift = get_explainer("liftcam", True).function(cut.trace(images[:1]), TARGET[:1])[0]
    alone = []
    for k in range(len(maps)):
        one = torch.zeros_like(maps)
        one[k] = maps[k]
        alone.append(whole.logits_of(one)[c] - nothing)
    torch.testing.assert_close(lift.detach(), sum(value * maps[k] for k, value in enumerate(alone)))


@pytest.mark.parametrize("head", HEADS)
def test_shapleycam_is_the_second_order_expansion(images, head):
    """f(A) - f(A without k) ~ g A_k - A_k H A / 2: the Hessian-vector product by finite differences."""
    cut = network(head)
    maps = get_explainer("shapleycam", cut.head is not None).function(cut.trace(images), TARGET).detach()

    def gradient(whole, activations, c):
        leaf = activations.clone().requires_grad_()
        whole.replacement = leaf
        logits = whole.module(whole.image[None])[0]
        whole.replacement = None
        return torch.autograd.grad(logits[c] + logits.log_softmax(0)[c], leaf)[0]

    for row, c in enumerate(TARGET.tolist()):
        whole = Whole(head, images[row])
        a = whole.maps[0].detach()
        step = 1e-5
        curvature = (gradient(whole, a + step * a, c) - gradient(whole, a - step * a, c)) / (2 * step)
        weights = (gradient(whole, a, c) - curvature / 2).mean((1, 2))
        torch.testing.assert_close(maps[row], torch.einsum("k,khw->hw", weights, a), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("channels", [5, 16, 30])
def test_eigencam_is_the_singular_vector_whichever_side_is_longer(channels, monkeypatch):
    """More locations than channels, as many, and fewer: the smaller Gram matrix is decomposed, once for all classes."""
    module = seeded(lambda: GapLinear(CLASSES)).requires_grad_(False)
    module.features[2], module.features[3] = nn.Conv2d(8, channels, 3, 2, 1).requires_grad_(False), nn.Identity()
    module.fc = nn.Linear(channels, CLASSES).requires_grad_(False)
    cut = CutNetwork(module, ["features"], 16)
    module.double()
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    asked = torch.stack([TARGET[:3], TARGET[1:4]], 1)
    trace = cut.trace(images, asked)
    assert trace.activations.shape[1:] == (channels, 4, 4)
    sides, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda gram: sides.append(gram.shape[1]) or eigh(gram))
    found, again = (get_explainer("eigencam", True).function(trace, target) for target in asked.unbind(1))
    assert sides == [min(channels, 16)] and torch.equal(found, again)
    for row, maps in enumerate(trace.activations.detach()):
        centred = maps.flatten(1).T - maps.flatten(1).T.mean(0)
        u, s, _ = torch.linalg.svd(centred, full_matrices=False)
        projection = u[:, 0] * s[0] * torch.sign((u[:, 0] * centred.mean(1)).sum())
        torch.testing.assert_close(found[row], projection.view(4, 4), rtol=1e-6, atol=1e-9)
    with torch.no_grad():
        trace.activations[1, 0, 0, 0] = float("nan")
    broken = get_explainer("eigencam", True).function(trace, TARGET[2:5])
    torch.testing.assert_close(broken[[0, 2]], found[[0, 2]])
    assert broken[1].isnan().all()


def test_finercam_without_another_class_is_gradcam(images):
    for factory, layer in HEADS.values():
        module = seeded(factory).requires_grad_(False)
        last = module.fc if factory is GapLinear else module.classifier
        one = nn.Linear(last.in_features if factory is GapLinear else 10, 1).requires_grad_(False)
        if factory is GapLinear:
            module.fc = one
        else:
            last[3] = one
        trace = CutNetwork(module, [layer], 32).trace(images.float())
        target = torch.zeros(5, dtype=torch.int64)
        maps = [get_explainer(name, trace.head is not None).function(trace, target) for name in ("finercam", "gradcam")]
        torch.testing.assert_close(*maps)
        assert maps[0].isfinite().all() and maps[0].any()


class Most(TorchFunctionMode):
    """How many maps of a shape (K, h, w) any function of torch returns at once."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.maps = shape, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        if isinstance(out, torch.Tensor) and out.ndim == 4 and out.shape[1:] == self.shape:
            self.maps = max(self.maps, len(out))
        return out


@pytest.mark.parametrize("name", ["ablationcam", "reciprocam"])
def test_only_a_chunk_of_altered_maps_is_in_memory(images, name, monkeypatch):
    trace = network("flatten").trace(images[:1])
    whole = get_explainer(name, False).function(trace, TARGET[:1])
    monkeypatch.setattr(ablation, "CHUNK", 3)
    with Most(trace.activations.shape[1:]) as most:
        parts = get_explainer(name, False).function(trace, TARGET[:1])
    assert most.maps == 3
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("head", HEADS)
def test_the_head_alone_decides_as_the_whole_network(images, head):
    cut = network(head)
    trace = cut.trace(images)
    torch.testing.assert_close(cut.decide(trace.activations), trace.logits)
    torch.testing.assert_close(cut.logits(images), trace.logits.detach())


def test_an_inplace_activation_after_the_layer_does_not_disturb_the_cut(images):
    module = seeded(FlattenHead).requires_grad_(False)
    cut = CutNetwork(module, ["features.1"], 32)
    module.double()
    before = cut.trace(images)
    maps = get_explainer("gradcam", False).function(before, TARGET)
    assert (before.activations < 0).any()  # what the layer gave, not what the ReLU made of it
    module.features[2] = nn.ReLU(inplace=False)
    torch.testing.assert_close(get_explainer("gradcam", False).function(cut.trace(images), TARGET), maps)


def test_the_head_is_found_by_trying():
    gap, flat = seeded(GapLinear), seeded(FlattenHead)
    assert gap_linear_head(gap, gap.features, 32) is gap.fc
    assert gap_linear_head(gap, gap.features[1], 32) is None  # 8 channels, not the 12 of the head
    assert gap_linear_head(flat, flat.features[2], 32) is None

    class Squared(GapLinear):
        def forward(self, x):
            return self.fc(F.relu(self.features(x)).square().mean((2, 3)))

    squared = seeded(Squared)
    assert gap_linear_head(squared, squared.features, 32) is None  # looks the same, is not


def test_names():
    assert {"cam", *BRUTE_FORCE} <= set(explainers())
    for ask in (lambda: get_explainer("gradcan@features", True), lambda: check_methods(["cam", "gradcan"])):
        with pytest.raises(ConfigurationError, match=r"^unknown method 'gradcan'; did you mean gradcam\?") as caught:
            ask()
        assert caught.value.about == "methods"
    with pytest.raises(ConfigurationError, match="cam@features needs a network that ends in GAP"):
        get_explainer("cam@features", False)
    with pytest.raises(ValueError, match="two explainers are called cam"):
        explainer("cam", formula="", source="")(lambda trace, target: None)


def test_the_table_and_the_decorators_name_the_same_methods():
    files = {one.name for one in iter_modules(methods.__path__)}
    for file in files:
        import_module(f"{methods.__name__}.{file}")
    found = {name: one.function.__module__.rpartition(".")[2] for name, one in registry._EXPLAINERS.items()}
    assert found == METHODS and set(METHODS.values()) == files


@pytest.mark.slow
def test_names_are_checked_without_torch_and_a_method_imports_its_own_family_alone():
    program = """
import sys
from stages.explain.table import check_methods
from stages.evaluate.faithfulness.registry import check_metrics
check_methods(["gradcam@layer4", "scorecam"]), check_metrics(["adcc"])
assert "torch" not in sys.modules
from stages.explain.registry import get_explainer
get_explainer("eigencam", False)
print(*sorted(one.rpartition(".")[2] for one in sys.modules if one.startswith("stages.explain.methods.")))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["eigencam"]


def test_every_class_can_be_explained(images):
    cut = network("gap")
    trace = cut.trace(images[:1].expand(CLASSES, -1, -1, -1))
    maps = get_explainer("cam", True).function(trace, torch.arange(CLASSES))
    torch.testing.assert_close(maps.mean((1, 2)) + cut.head.bias, trace.logits[0])
