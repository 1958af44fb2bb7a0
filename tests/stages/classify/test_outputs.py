"""Networks whose outputs are not logits: what is left out, what is refused, and that maps are those of the logits."""

from __future__ import annotations

import copy
from collections import OrderedDict, namedtuple
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import pipeline as wsl
from pipeline.commands.run import run
from pipeline.config.history import config_hash
from pipeline.config.load import load_config
from pipeline.config.recipe import resolve
from pipeline.engine.prepare import load_checked, prepare
from pipeline.store.rundir import RunDir
from stages.classify.dilate import dilated
from stages.classify.fold import folded
from stages.classify.network import Network, Preprocess
from stages.classify.outputs import with_logits
from stages.errors import ConfigurationError
from stages.explain.registry import get_explainer
from stages.explain.table import FITTED, METHODS
from stages.trace.cut import CutNetwork
from stages.trace.trace import Trace
from tests.stages.toys import FlattenHead, GapLinear, seeded

SIZE = 32
CLASSES = 7
Named = namedtuple("Named", ["features", "logits"])


class Ending(nn.Module):
    """A network, and what it does with its logits; its layers keep their names behind ``net``."""

    def __init__(self, net: nn.Module, end: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.net, self.end = net, end

    def forward(self, x: Tensor) -> object:
        return self.end(self.net(x))


class Attribute(GapLinear):
    """As people write it: the softmax is an attribute of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.softmax(super().forward(x))


def in_sequence(*ends: nn.Module, outputs: int = CLASSES) -> nn.Module:
    def made() -> nn.Module:
        features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU())
        return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, outputs), *ends)

    return seeded(made)


def tried(module: nn.Module, stated: str = "auto", **known: object) -> Network:
    return with_logits(Network(copy.deepcopy(module), preprocess=Preprocess(size=SIZE), **known), SIZE, stated)


def traced(network: Network, images: Tensor) -> Trace:
    layer = network.resolve_layer("last")
    return CutNetwork(network.module, [layer], SIZE, outputs=network.outputs).trace(images)


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


ENDS = {
    "nn.Softmax": ("softmax", nn.Softmax(dim=1)),
    "F.softmax": ("softmax", lambda y: F.softmax(y, dim=1)),
    "tensor.softmax": ("softmax", lambda y: y.softmax(-1)),
    "torch.softmax in double": ("softmax", lambda y: torch.softmax(y, 1, dtype=torch.float64)),
    "an exported operator": ("softmax", lambda y: torch.ops.aten.softmax.int(y, 1)),
    "softmax in a dict": ("softmax", lambda y: {"probs": y.softmax(1)}),
    "nn.LogSoftmax": ("softmax", nn.LogSoftmax(dim=1)),
    "F.log_softmax": ("softmax", lambda y: F.log_softmax(input=y, dim=1)),
    "nn.Sigmoid": ("sigmoid", nn.Sigmoid()),
    "sigmoid in place": ("sigmoid", lambda y: y.sigmoid_()),
    "torch.special.expit": ("sigmoid", torch.special.expit),
    "nn.LogSigmoid": ("sigmoid", nn.LogSigmoid()),
}


@pytest.mark.parametrize(("kind", "end"), ENDS.values(), ids=ENDS)
def test_a_last_activation_is_left_out(kind, end, images):
    logits = seeded(GapLinear)
    network = tried(Ending(logits, end))
    assert network.outputs == kind
    assert [note.partition(",")[0] for note in network.notes][-1].startswith("the network ends in ")
    assert torch.equal(network.module(images).float(), logits(images))
    probs = traced(network, images).probs
    expected = logits(images).softmax(1) if kind == "softmax" else logits(images).sigmoid()
    torch.testing.assert_close(probs.float(), expected)


PAIRS = {
    "last of nn.Sequential": (in_sequence(nn.Softmax(1)), in_sequence()),
    "attribute of a network": (seeded(Attribute), seeded(GapLinear)),
    "function in forward": (
        Ending(seeded(FlattenHead), lambda y: y.softmax(1)),
        Ending(seeded(FlattenHead), lambda y: y),
    ),
}


@pytest.mark.parametrize(("probable", "plain"), PAIRS.values(), ids=PAIRS)
def test_every_map_is_that_of_the_network_without_its_softmax(probable, plain, images):
    """Bit for bit, by closed forms, gradients and masks alike."""
    found, expected = traced(tried(probable), images), traced(tried(plain), images)
    assert (found.head is None) == (expected.head is None)
    target = torch.tensor([0, 3, 6])
    slow = {"groupcam", "opticam", "scorecam", "scorecam-lecture", "smooth-gradcam++"}
    slow |= {name for name in METHODS if "augmented" in name}
    for name in METHODS.keys() - slow - set(FITTED) - ({"cam", "positive-cam"} if expected.head is None else set()):
        method = get_explainer(name, found.head is not None).function
        assert torch.equal(method(found, target), method(expected, target)), name


def test_a_sure_network_keeps_its_gradient(images):
    """Behind a saturated softmax it would be 0."""
    sure = in_sequence(nn.Softmax(1))
    with torch.no_grad():
        sure[3].weight.mul_(1e5)
    trace = traced(tried(sure), images)
    assert trace.probs.amax(1).tolist() == [1, 1, 1]
    assert (trace.gradients(trace.logits.argmax(1)).abs().amax((1, 2, 3)) > 100).all()


def test_folding_and_dilating_see_the_logits_too(images):
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.see = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
            self.more = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())
            self.fc = nn.Linear(6, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return F.softmax(self.fc(self.more(self.see(x)).mean((2, 3))), 1)

    network = tried(seeded(Normalised))
    without = folded(network.module, ["more"], SIZE)
    assert isinstance(without.see[1], nn.Identity)
    torch.testing.assert_close(without(images), network.module(images))
    larger = CutNetwork(dilated(network.module, "more", SIZE), ["more"], SIZE).trace(images)
    assert larger.activations.shape[2:] == (16, 16) and larger.head is not None
    assert larger.logits.min() < 0


def test_a_sigmoid_gives_every_class_a_probability_of_its_own(images):
    sure = in_sequence(nn.Sigmoid())
    with torch.no_grad():
        sure[3].bias.fill_(30).add_(torch.arange(CLASSES))
    found = wsl.explain(images, tried(sure), "reciprocam", target=0, size=SIZE)
    assert (found.probs == 1).all()
    assert found.classes.tolist() == [6, 6, 6], "of several that round to 1, the one of the largest logit"
    hidden = traced(tried(sure), images)
    alone = hidden.activations.detach().flatten(2).mT / hidden.locations
    expected = F.linear(alone, hidden.head.weight, hidden.head.bias)[..., 0].sigmoid().view(3, 8, 8)
    np.testing.assert_allclose(found.maps, expected, atol=1e-3)


def test_shapleycam_knows_both_kinds(images):
    """Of y + log p, the closed form of a softmax and autograd agree; the score of a sigmoid has another."""
    maps = {}
    for kind in ("softmax", "sigmoid"):
        trace = traced(tried(in_sequence(), kind), images)
        assert trace.head is not None
        maps[kind] = get_explainer("shapleycam", True).function(trace, torch.tensor([2, 2, 2]))
    w, probs = trace.head.weight[2], trace.logits[:, 2].sigmoid()
    evidence = trace.activations.detach().mean((2, 3)) @ w
    strength = (2 - probs + probs * (1 - probs) * evidence / 2) / trace.locations
    cam = torch.einsum("k,nkhw->nhw", w, trace.activations)
    torch.testing.assert_close(maps["sigmoid"], strength[:, None, None] * cam)
    assert not torch.allclose(maps["softmax"], maps["sigmoid"])


BINARY = {
    "logit": lambda z: z,
    "logit without an axis": lambda z: z.squeeze(1),
    "nn.Sigmoid": nn.Sigmoid(),
    "sigmoid, squeezed": lambda z: torch.sigmoid(z).squeeze(),
}


@pytest.mark.parametrize("end", BINARY.values(), ids=BINARY)
def test_one_output_is_two_classes(end, images):
    one = seeded(lambda: GapLinear(1))
    network = tried(Ending(one, end), classes=["cat"])
    trace, z = traced(network, images), one(images)
    assert [info.name for info in network.classes] == ["not cat", "cat"]
    torch.testing.assert_close(trace.probs, torch.cat([1 - z.sigmoid(), z.sigmoid()], 1))
    assert trace.head is not None
    yes, no = torch.ones(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    expected = (one.fc.weight[0][:, None, None] * one.features(images)).sum(1)
    for name, scale in {"cam": 1, "gradcam": 64, "hirescam": 64}.items():
        method = get_explainer(name, True).function
        torch.testing.assert_close(scale * method(trace, yes), expected)
        assert torch.equal(method(trace, no), -method(trace, yes))
    assert traced(network, images[:1]).logits.shape == (1, 2)
    assert trace.decide(0, trace.activations.detach()).shape == (3, 2)


def test_one_class_map_is_the_map_of_two_classes(images):
    """Behind GAP alone, and after a change of the parameters, as of a sanity check."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.AdaptiveAvgPool2d(1))
    network = tried(seeded(lambda: module))
    trace = CutNetwork(network.module, ["2"], SIZE).trace(images)
    assert torch.equal(get_explainer("cam", True).function(trace, torch.tensor([0, 1, 1]))[1:], trace.maps[0][1:, 0])
    linear = tried(in_sequence(outputs=1))
    cut = CutNetwork(linear.module, ["0"], SIZE)
    with torch.no_grad():
        linear.module[3].weight.fill_(3)
    assert cut.head.weight.tolist() == [[-3] * 6, [3] * 6]


NO_PROBABILITIES = {
    "nn.ReLU6": nn.ReLU6(),
    "clamp": lambda y: y.clamp(0, 1),
    "nn.Hardsigmoid": nn.Hardsigmoid(),
    "nn.Hardtanh": nn.Hardtanh(0, 1),
    "nn.Tanh": nn.Tanh(),
    "small logits": lambda y: y.tanh() / 100 + 0.5,
    "logarithms over a temperature": lambda y: y.log_softmax(1) / 2,
    "unit length": lambda y: F.normalize(y.relu()),
    "weighted by a sigmoid": lambda y: y * y.flip(1).sigmoid(),
    "nothing": lambda y: y,
}


@pytest.mark.parametrize("end", NO_PROBABILITIES.values(), ids=NO_PROBABILITIES)
@pytest.mark.parametrize("scale", [0.1, 1, 10])
def test_logits_between_0_and_1_are_no_probabilities(end, scale, images):
    module = Ending(seeded(GapLinear), lambda y: end(scale * y))
    network = tried(module)
    assert (network.outputs, network.notes) == ("softmax", ())
    assert "forward" not in vars(network.module), "it runs as it is"
    assert torch.equal(network.module(images), module(images))


REFUSED = {
    "a softmax by hand": (lambda y: y.exp() / y.exp().sum(1, keepdim=True), "as of a softmax, but ends in no softmax"),
    "nn.Softmin": (nn.Softmin(1), "as of a softmax"),
    "a clamped softmax": (lambda y: y.softmax(1).clamp(1e-7, 1 - 1e-7), "as of a softmax"),
    "a mean of two softmaxes": (lambda y: (y.softmax(1) + (2 * y).softmax(1)) / 2, "as of a softmax"),
    "a sigmoid by hand": (lambda y: 1 / (1 + (-8 * y).exp()), "as of a sigmoid, but ends in no sigmoid"),
    "percentages of a softmax": (lambda y: 100 * y.softmax(1), "of a softmax in percent, but ends in no softmax"),
    "percentages by hand": (
        lambda y: 100 * y.exp() / y.exp().sum(1, keepdim=True),
        "of a softmax in percent",
    ),
    "percentages of a sigmoid": (lambda y: y.sigmoid() * 100, "the output of sigmoid times a number"),
    "negative logarithms": (lambda y: -y.log_softmax(1), "the output of log_softmax times a number"),
    "a softmax over the batch": (nn.Softmax(0), r"not over the classes of each image \(dim=1\)"),
    "nothing at all": (lambda y: None, "returns NoneType, not logits"),
    "two candidates": (lambda y: (y, y), r"returns tuple of \(2, 7\), \(2, 7\), not logits"),
    "no candidate": (lambda y: {"maps": y[:, :, None].expand(-1, -1, 4)}, r"returns dict of \(2, 7, 4\)"),
    "no classes": (lambda y: y[:, :, None].expand(-1, -1, 4), r"shape \(2, 7, 4\), not logits"),
}


@pytest.mark.parametrize(("end", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_left_out_is_refused(end, message):
    with pytest.raises(ConfigurationError, match=message):
        tried(Ending(seeded(GapLinear), end))


def test_a_softmax_over_one_output_is_refused():
    with pytest.raises(ConfigurationError, match="the same for every image"):
        tried(in_sequence(nn.Softmax(1), outputs=1))


CONTAINERS = {
    "dict": lambda y: {"features": y[:, :3], "logits": y},
    "OrderedDict subclass": lambda y: type("Output", (OrderedDict,), {})(loss=None, logits=y),
    "namedtuple": lambda y: Named(y[:, :3], y),
    "tuple with maps": lambda y: (y, y[:, :, None, None].expand(-1, -1, 2, 2)),
    "list of one": lambda y: [y],
}


@pytest.mark.parametrize("end", CONTAINERS.values(), ids=CONTAINERS)
def test_logits_are_taken_out_of_a_container(end, images):
    logits = seeded(GapLinear)
    network = tried(Ending(logits, end))
    assert torch.equal(network.module(images), logits(images)) and "are taken out of it" in network.notes[0]


def test_axes_of_length_one_are_no_axes(images):
    logits = seeded(GapLinear)
    assert torch.equal(tried(Ending(logits, lambda y: y[:, :, None, None])).module(images), logits(images))


def test_logarithms_by_hand_are_logits_with_a_note(images):
    network = tried(Ending(seeded(GapLinear), lambda y: y - y.logsumexp(1, keepdim=True)))
    assert network.notes == ("the network returns logarithms of probabilities: maps explain those",)
    torch.testing.assert_close(traced(network, images).probs, seeded(GapLinear)(images).softmax(1))


def test_what_is_stated_holds_or_is_refused(images):
    assert tried(seeded(GapLinear), "sigmoid").outputs == "sigmoid"
    assert tried(seeded(GapLinear), outputs="sigmoid").outputs == "sigmoid"
    by_hand = Ending(seeded(GapLinear), lambda y: y.exp() / y.exp().sum(1, keepdim=True))
    with pytest.raises(ConfigurationError, match="as of a softmax"):  # They are no logits, whatever is said.
        tried(by_hand, "softmax")
    for module, stated in ((seeded(Attribute), "sigmoid"), (in_sequence(nn.Sigmoid()), "softmax")):
        with pytest.raises(ConfigurationError, match=f"{stated}, but the network ends in .*; leave it at auto"):
            tried(module, stated)
    with pytest.raises(ConfigurationError, match="softmax, but the network ends in one output"):
        tried(in_sequence(outputs=1), "softmax")
    with pytest.raises(ConfigurationError, match="unknown kind of outputs 'softmx'; did you mean softmax"):
        Network(seeded(GapLinear), outputs="softmx")


def test_the_given_network_stays_as_it_is_and_a_second_trial_changes_nothing(images):
    module = in_sequence(nn.Sigmoid(), outputs=1)
    given = Network(module)
    once = with_logits(given, SIZE)
    twice = with_logits(once, SIZE)
    assert given.module is module and module(images).shape == (3, 1) and given.notes == ()
    assert torch.equal(twice.module(images), once.module(images))
    assert (twice.outputs, twice.notes) == (once.outputs, once.notes)


@pytest.mark.slow
def test_a_compiled_network_is_explained_as_what_it_was_compiled_from(images):
    network = tried(torch.compile(seeded(Attribute), backend="eager"))
    assert torch.equal(network.module(images), seeded(GapLinear)(images))
    assert network.resolve_layer("last") == "features"


def softmax_network() -> Network:
    return Network(seeded(Attribute), [f"class {index}" for index in range(CLASSES)], Preprocess(size=SIZE))


def binary_network() -> nn.Module:
    return in_sequence(nn.Sigmoid(), outputs=1)


HERE = "python:tests.stages.classify.test_outputs"


def test_preparation_resolves_the_kind_and_says_what_it_did(tiny):
    found = load_checked(resolve(tiny(f"model.spec={HERE}:softmax_network", "explain.methods=[cam]")))
    assert found[1].network.outputs == "softmax" and found[1].layers == ["features"]
    assert found[0].notes == ("the network ends in softmax, which is left out: maps explain the logits before it",)
    several = load_checked(resolve(tiny("model.outputs=sigmoid", "explain.methods=[cam]")))
    assert several[1].network.outputs == "sigmoid" and several[0].notes == ()
    wrong = resolve(tiny(f"model.spec={HERE}:softmax_network", "model.outputs=sigmoid"))
    with pytest.raises(ConfigurationError, match="sigmoid, but the network ends in softmax"):
        load_checked(wrong)


def test_the_key_changes_the_hash_only_where_it_is_set(tiny):
    assert config_hash(tiny()) == config_hash(tiny("model.outputs=auto")) != config_hash(tiny("model.outputs=sigmoid"))


@pytest.mark.slow
def test_a_run_over_a_network_that_ends_in_softmax_is_that_over_its_logits(tiny, tmp_path):
    """The same weights, with and without a softmax at the end: every file but the notes."""
    run(tiny("data.limit=6"), tmp_path / "logits")
    run(tiny(f"model.spec={HERE}:softmax_network", "data.limit=6"), tmp_path / "probable")
    found, expected = (wsl.load(tmp_path / name).boxes() for name in ("probable", "logits"))
    assert found.equals(expected)


@pytest.mark.slow
def test_a_run_with_one_output_knows_both_labels(tmp_path):
    """Two folders, one logit: the folders in the order of their names are the classes."""
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{name}{number}.png")
    overrides = ["data.format=imagefolder", f"data.root={tmp_path / 'set'}", f"model.spec={HERE}:binary_network"]
    config = load_config("imagefolder", [*overrides, "explain.targets=[label,top1]", "runtime.executor=inline"])[1]
    run(config, tmp_path / "run")
    rows = wsl.load(tmp_path / "run").boxes()
    assert set(rows.class_name) == {"cat", "dog"}
    info = tmp_path / "run" / "run.json"
    info.write_text(info.read_text().replace('"outputs": "sigmoid"', '"outputs": "softmax"'))
    with pytest.raises(ConfigurationError, match="what the network's outputs stand for has changed"):
        prepare(RunDir.open(tmp_path / "run", config), resolve(config))
