"""The table of checkpoints: layouts that load, with the logits of the network that was saved, and those that do not."""

from __future__ import annotations

import collections
import gzip
import io
import zipfile
from pathlib import Path

import pytest
import torch

from stages.classify.weights import load_into
from stages.errors import ConfigurationError
from tests.stages.classify import layouts
from tests.stages.classify.layouts import Tiny, lightning, network, safetensors, saved, under, with_foreign

TRAINED, AVERAGE = network(0), network(1)
STATE, AVERAGED = TRAINED.state_dict(), AVERAGE.state_dict()
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
HALF = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}


def cast(dtype):
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}


def load(folder, content, weights=""):
    (folder / "w.pt").write_bytes(content if isinstance(content, bytes) else saved(content))
    module = Tiny().eval()
    return module, load_into(module, folder / "w.pt", weights, "tiny")


def assert_logits(found, module, tolerance=1e-6):
    with torch.no_grad():
        torch.testing.assert_close(found(IMAGES), module(IMAGES), rtol=tolerance, atol=tolerance)


LOADING = {
    # id: (the file, what is said)
    "state dict": (lambda: STATE, []),
    "state dict, legacy format": (lambda: saved(STATE, legacy=True), []),
    "state dict, saved by Python 2": (lambda: layouts.python2(STATE), []),
    "state dict, plain pickle": (lambda: layouts.plain_pickle(STATE), []),
    "state dict with text, numbers and None in it": (
        lambda: {"info": "mine", "epoch": 3, **STATE, "classes": None, "best": [0.5]},
        [],
    ),
    "state dict of parameters": (
        lambda: {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in STATE.items()},
        [],
    ),
    "state_dict": (lambda: {"state_dict": STATE}, ["weights: taken from state_dict"]),
    "model_state_dict, PyTorch's tutorial": (
        lambda: {
            "epoch": 3,
            "model_state_dict": STATE,
            "optimizer_state_dict": layouts.optimizer_of(TRAINED),
            "loss": torch.tensor(0.5),
        },
        ["weights: taken from model_state_dict"],
    ),
    "net": (lambda: {"net": STATE, "acc": 93.1, "epoch": 3}, ["weights: taken from net"]),
    "network under a name of one's own": (lambda: {"my best one": STATE}, ["weights: taken from my best one"]),
    "containers in containers": (
        lambda: {"checkpoint": [{"payload": (STATE,)}]},
        ["weights: taken from checkpoint.0.payload.0"],
    ),
    "fastai: model and opt": (
        lambda: {"model": STATE, "opt": layouts.optimizer_of(TRAINED)},
        ["weights: taken from model"],
    ),
    "DDP": (lambda: under("module.", STATE), ["weights: 'module.' stripped from the names"]),
    "DDP in state_dict, PyTorch's ImageNet example": (
        lambda: {
            "epoch": 3,
            "arch": "tiny",
            "state_dict": under("module.", STATE),
            "best_acc1": torch.tensor(0.5),
        },
        ["weights: taken from state_dict, 'module.' stripped from the names"],
    ),
    "compiled": (lambda: under("_orig_mod.", STATE), ["weights: '_orig_mod.' stripped from the names"]),
    "DDP of a compiled network": (
        lambda: under("module._orig_mod.", STATE),
        ["weights: 'module._orig_mod.' stripped from the names"],
    ),
    "compiled network in DDP": (
        lambda: {"model": under("_orig_mod.module.", STATE)},
        ["weights: taken from model, '_orig_mod.module.' stripped from the names"],
    ),
    "FSDP": (
        lambda: under("_fsdp_wrapped_module.", STATE),
        ["weights: '_fsdp_wrapped_module.' stripped from the names"],
    ),
    "FSDP around parts": (
        lambda: under("module.", layouts.wrapped_inside(STATE, "_fsdp_wrapped_module")),
        ["weights: 'module.' and '_fsdp_wrapped_module.' stripped from the names"],
    ),
    "parts compiled": (
        lambda: layouts.wrapped_inside(STATE, "_orig_mod"),
        ["weights: '_orig_mod.' stripped from the names"],
    ),
    "DeepSpeed": (
        lambda: {"module": STATE, "buffer_names": [], "optimizer": None, "ds_version": "0.15", "mp_world_size": 1},
        ["weights: taken from module"],
    ),
    "Lightning": (lambda: lightning(STATE), ["weights: taken from state_dict, 'model.' stripped from the names"]),
    "Lightning, net": (
        lambda: lightning(STATE, "net."),
        ["weights: taken from state_dict, 'net.' stripped from the names"],
    ),
    "Lightning, a prefix of one's own": (
        lambda: lightning(STATE, "learner.student.backbone."),
        ["weights: taken from state_dict, 'learner.student.backbone.' stripped from the names"],
    ),
    "Lightning, compiled": (
        lambda: lightning(STATE, "model._orig_mod."),
        ["weights: taken from state_dict, 'model._orig_mod.' stripped from the names"],
    ),
    "Lightning with the loss's and metrics' tensors": (
        lambda: (
            lightning({**STATE})
            | {"state_dict": {**under("model.", STATE), "criterion.weight": torch.ones(3), "acc.tp": torch.tensor(7)}}
        ),
        [
            "weights: taken from state_dict, 'model.' stripped from the names",
            "weights: 1 tensors beside them are not used, first state_dict.criterion.weight",
        ],
    ),
    "Lightning, one network under two names": (
        lambda: lightning(STATE) | {"state_dict": {**under("model.", STATE), **under("backbone.", STATE)}},
        ["weights: taken from state_dict, 'model.' stripped from the names"],
    ),
    "Lightning with foreign hyper_parameters": (
        lambda: with_foreign(lambda lib: lightning(STATE) | {"hyper_parameters": lib.Config(loop=lib.Loop())}),
        ["weights: taken from state_dict, 'model.' stripped from the names"],
    ),
    "Lightning with the untrained network in hyper_parameters": (
        lambda: lightning(STATE, "net.") | {"hyper_parameters": {"net": AVERAGE}},
        [
            "weights: state_dict.net was taken; hyper_parameters.net would fit too, with &weights=NAME",
            "weights: 'net.' stripped from the names",
        ],
    ),
    "Lightning with foreign hyper_parameters, legacy format": (
        lambda: with_foreign(lambda lib: lightning(STATE) | {"hyper_parameters": lib.Config()}, legacy=True),
        ["weights: taken from state_dict, 'model.' stripped from the names"],
    ),
    "Fabric": (
        lambda: {"model": under("_forward_module.", STATE)},
        ["weights: taken from model, '_forward_module.' stripped from the names"],
    ),
    "Accelerate": (lambda: safetensors(under("module.", STATE)), ["weights: 'module.' stripped from the names"]),
    "torchvision's references": (
        lambda: {k: v for k, v in layouts.torchvision_reference(TRAINED, AVERAGE).items() if k != "model_ema"},
        ["weights: taken from model"],
    ),
    "timm's train": (
        lambda: {k: v for k, v in layouts.timm_train(TRAINED, AVERAGE).items() if k != "state_dict_ema"},
        ["weights: taken from state_dict"],
    ),
    "averaged model": (
        lambda: layouts.averaged_model(TRAINED),
        [
            "weights: the averaged (EMA) ones were taken, module",
            "weights: 'module.' stripped from the names",
        ],
    ),
    "mmpretrain: backbone, head and foreign objects": (
        lambda: with_foreign(
            lambda lib: {
                "meta": lib.Loop(),
                "state_dict": {
                    **under("backbone.", {k: v for k, v in STATE.items() if not k.startswith("fc.")}),
                    **under("head.", {k: v for k, v in STATE.items() if k.startswith("fc.")}),
                },
                "message_hub": {"log": lib.Loop()},
            }
        ),
        ["weights: taken from state_dict, 'backbone.' and 'head.' stripped from the names"],
    ),
    "backbone and head in dicts of their own": (
        lambda: {
            "backbone": {k: v for k, v in STATE.items() if not k.startswith("fc.")},
            "head": {k: v for k, v in STATE.items() if k.startswith("fc.")},
        },
        ["weights: taken from backbone and head"],
    ),
    "Hugging Face: safetensors with a prefix": (
        lambda: safetensors(under("resnet.", STATE)),
        ["weights: 'resnet.' stripped from the names"],
    ),
    "safetensors": (lambda: safetensors(STATE), []),
    "safetensors of float16": (lambda: safetensors(HALF), ["weights: float16 in the file, computed in float32"]),
    "float16": (lambda: HALF, ["weights: float16 in the file, computed in float32"]),
    "bfloat16": (lambda: cast(torch.bfloat16), ["weights: bfloat16 in the file, computed in float32"]),
    "float64": (lambda: cast(torch.float64), ["weights: float64 in the file, computed in float32"]),
    "views of one storage": (lambda: {name: torch.stack([tensor] * 2)[1] for name, tensor in STATE.items()}, []),
    "tensors in channels_last": (
        lambda: {k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in STATE.items()},
        [],
    ),
    "counts of operations left by a profiler": (
        lambda: {**STATE, "total_ops": torch.zeros(1, dtype=torch.float64), "layer1.0.total_params": torch.zeros(1)},
        [],
    ),
    "no counts of batches": (lambda: {k: v for k, v in STATE.items() if "num_batches" not in k}, []),
    "whole network": (
        lambda: TRAINED,
        ["weights: the tensors of a pickled tests.stages.classify.layouts.Tiny, none of whose code was run"],
    ),
    "whole network of a class that is not installed": (
        lambda: with_foreign(lambda lib: {"model": lib.Net(TRAINED)}),
        [
            "weights: taken from model, 'model.' stripped from the names",
            "weights: the tensors of a pickled a_trainer.Net, none of whose code was run",
        ],
    ),
    "whole network in DataParallel, legacy format": (
        lambda: saved(torch.nn.DataParallel(TRAINED), legacy=True),
        [
            "weights: 'module.' stripped from the names",
            "weights: the tensors of a pickled torch.nn.parallel.data_parallel.DataParallel, "
            "none of whose code was run",
        ],
    ),
    "defaultdict": (
        lambda: collections.defaultdict(list, state_dict=STATE, log=collections.Counter("ab")),
        ["weights: taken from state_dict"],
    ),
}


@pytest.mark.parametrize("layout", LOADING)
def test_it_loads(layout, tmp_path):
    content, notes = LOADING[layout]
    found, said = load(tmp_path, content())
    low = any("16" in note for note in said)
    assert_logits(found, TRAINED, 0.02 if low else 1e-6)
    assert all(parameter.dtype == torch.float32 for parameter in found.parameters())
    assert said == notes


EMA = {
    # id: (the file, the place of the plain weights, that of the averaged ones, which are taken)
    "timm": (lambda: layouts.timm_train(TRAINED, AVERAGE), "state_dict", "state_dict_ema", "plain"),
    "torchvision's references": (
        lambda: layouts.torchvision_reference(TRAINED, AVERAGE),
        "model",
        "model_ema.module",
        "plain",
    ),
    "DETR and others: ema with a count": (
        lambda: {"model": STATE, "ema": {"module": AVERAGED, "updates": 100}},
        "model",
        "ema.module",
        "plain",
    ),
    "a name of one's own": (lambda: {"ShadowNet": AVERAGED, "net": STATE}, "net", "ShadowNet", "plain"),
    "Lightning, in one dict": (
        lambda: lightning(STATE) | {"state_dict": {**under("ema_model.module.", AVERAGED), **under("model.", STATE)}},
        "state_dict.model",
        "state_dict.ema_model.module",
        "plain",
    ),
    "pickled networks": (lambda: {"ema": AVERAGE, "model": TRAINED}, "model", "ema", "plain"),
    "mmengine, which saves them exchanged": (
        lambda: {"state_dict": AVERAGED, "ema_state_dict": {"steps": torch.tensor(9), **under("module.", STATE)}},
        "ema_state_dict.module",
        "state_dict",
        "ema",
    ),
    "Lightning's WeightAveraging, which saves them exchanged": (
        lambda: lightning(AVERAGED) | {"current_model_state": under("model.", STATE), "averaging_state": {}},
        "current_model_state.model",
        "state_dict.model",
        "ema",
    ),
}


@pytest.mark.parametrize("layout", EMA)
def test_averaged_weights_beside_plain_ones(layout, tmp_path):
    content, plain, average, default = EMA[layout]
    content = saved(content())
    modules = {"plain": TRAINED, "ema": AVERAGE}
    said = {
        "plain": f"weights: the plain ones were taken, {plain}; &weights=ema takes the averaged ones, {average}",
        "ema": f"weights: the averaged (EMA) ones were taken, {average}; &weights=plain takes the plain ones, {plain}",
    }
    for weights, taken in (("", default), ("ema", "ema"), ("plain", "plain"), (plain, "plain"), (average, "ema")):
        found, notes = load(tmp_path, content, weights)
        assert_logits(found, modules[taken])
        assert notes[0] == said[taken]


def test_averages_of_parameters_alone_are_used_with_the_buffers_of_the_network(tmp_path):
    average = dict(AVERAGE.named_parameters())
    content = {"model": STATE, "ema": {"decay": 0.99, "shadow": average}}
    expected = Tiny().eval()
    expected.load_state_dict({**STATE, **average})
    found, notes = load(tmp_path, content, "ema")
    assert_logits(found, expected)
    assert notes[0].startswith("weights: the averaged (EMA) ones were taken, ema.shadow; &weights=plain")
    assert notes[1] == "weights: they are parameters alone; 6 buffers are model.bn1.running_mean and others"
    found, notes = load(tmp_path, content)
    assert_logits(found, TRAINED)
    assert notes == ["weights: the plain ones were taken, model; &weights=ema takes the averaged ones, ema.shadow"]


def test_weights_that_are_not_there_are_refused_with_those_that_are(tmp_path):
    with pytest.raises(ConfigurationError, match=r"weights=ema: .*w\.pt has no such .*, only net \(plain\)$"):
        load(tmp_path, {"net": STATE}, "ema")
    with pytest.raises(ConfigurationError, match=r"weights=best: .*only net \(plain\), model_ema \(ema\)$"):
        load(tmp_path, {"net": STATE, "model_ema": AVERAGED}, "best")


def test_several_networks_that_fit_are_not_guessed_among(tmp_path):
    both = {"net": STATE, "best": AVERAGED}
    with pytest.raises(
        ConfigurationError, match=r"several networks that fit: net, best; choose one with &weights=net$"
    ):
        load(tmp_path, both)
    assert_logits(load(tmp_path, both, "best")[0], AVERAGE)
    found, notes = load(tmp_path, {"best": AVERAGED, "state_dict": STATE})
    assert_logits(found, TRAINED)
    assert notes[0] == "weights: state_dict was taken; best would fit too, with &weights=NAME"


@pytest.mark.parametrize("beside", ["exp_avg", "optimizer.exp_avg_sq", "momentum_buffer", "grads", "Optimizer.slow"])
@pytest.mark.parametrize("name", ["weights", "model"])
def test_moments_and_gradients_are_no_weights(beside, name, tmp_path):
    both = {**under(f"{beside}.", AVERAGED), **under(f"{name}.", STATE)}
    found, notes = load(tmp_path, both)
    assert_logits(found, TRAINED)
    assert notes == [f"weights: '{name}.' stripped from the names"]
    with pytest.raises(ConfigurationError, match=rf"weights=ema: .* only {name} \(plain\)$"):
        load(tmp_path, both, "ema")


HEADLESS = {name: tensor for name, tensor in STATE.items() if not name.startswith("fc.")}
OTHER_HEAD = {**STATE, "fc.weight": torch.ones(7, 4), "fc.bias": torch.ones(7)}
OWN_FIRST = "conv1.weight, bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var"


def as_zip(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, saved(STATE))
    return content.getvalue()


REFUSED = {
    # id: (the file, the message)
    "another architecture": (
        lambda: {"state_dict": under("module.", {f"features.{n}.weight": torch.ones(2) for n in range(7)})},
        rf"does not fit tiny: it lacks 13 tensors, first {OWN_FIRST}, and has 7 others, first "
        r"module\.features\.0\.weight, module\.features\.1\.weight, .*, module\.features\.4\.weight$",
    ),
    "no head": (
        lambda: {"model": HEADLESS},
        rf"lacks 2 tensors, first fc\.weight, fc\.bias, and has 0 others, beside {OWN_FIRST}$",
    ),
    "self-supervised: momentum encoder, no head": (
        lambda: {"state_dict": {**under("module.encoder_q.", HEADLESS), **under("module.encoder_k.", HEADLESS)}},
        r"lacks 2 tensors, first fc\.weight, fc\.bias",
    ),
    "self-supervised: a projection for a head": (
        lambda: under(
            "module.encoder_q.", {**HEADLESS, "fc.0.weight": torch.ones(9, 9), "fc.2.weight": torch.ones(2, 9)}
        ),
        r"lacks 2 tensors, first fc\.weight, fc\.bias, and has 2 others, first fc\.0\.weight, fc\.2\.weight$",
    ),
    "another number of classes": (
        lambda: {"state_dict": under("module.", OTHER_HEAD)},
        r"state_dict\.module\.fc\.weight has shape \(7, 4\), the network's \(3, 4\) and 1 more .*; num_classes=7 fits$",
    ),
    "another width": (
        lambda: {**STATE, "layer1.0.0.weight": torch.ones(4, 8, 3, 3)},
        r"layer1\.0\.0\.weight has shape \(4, 8, 3, 3\), the network's \(4, 4, 3, 3\); is arch right\?$",
    ),
    "a part that the architecture does not have": (
        lambda: {**STATE, "layer1.9.attention.weight": torch.ones(2, 2)},
        rf"lacks 0 tensors, and of {OWN_FIRST}, and has 1 others, first layer1\.9\.attention\.weight$",
    ),
    "tensors without names": (lambda: [torch.ones(2), torch.ones(3)], "does not fit .* has 2 others, first 0, 1$"),
    "no tensors": (lambda: {"epoch": 3}, "it holds none by name"),
    "TorchScript": (
        lambda: torchscript(),
        r"is a TorchScript archive",
    ),
    "quantized": (
        lambda: {"state_dict": {k: quantized(v) for k, v in STATE.items()}},
        "does not fit|quantized",
    ),
    "whole numbers under the names of weights": (
        lambda: {k: (v * 20).to(torch.int8) if v.ndim == 4 else v for k, v in STATE.items()},
        r"has \d+ tensors of int8 where the network has real numbers, first \S+weight: it is quantized",
    ),
    "compressed": (lambda: gzip.compress(saved(STATE)), "is compressed with gzip; unpack it with gunzip$"),
    "zip file with the checkpoint in it": (lambda: as_zip("best.pth"), r"is a zip file; unpack it and name best\.pth$"),
    "cut off": (lambda: saved(STATE)[:-2000], "was cut off; copy or download it again$"),
    "cut off, legacy format": (lambda: saved(STATE, legacy=True)[:-2000], "was cut off; copy or download it again$"),
    "cut off, safetensors": (lambda: safetensors(STATE)[:-2000], "was cut off; copy or download it again$"),
    "empty file": (lambda: b"", "is empty$"),
    "pointer of Git LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull$"),
    "web page": (lambda: b"<!DOCTYPE html><html>", "is a web page, not a checkpoint; download it again$"),
    "text": (lambda: b"ant\nbee\n", "is not a readable checkpoint of tensors"),
}


def torchscript() -> bytes:
    content = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), content)
    return content.getvalue()


def quantized(tensor):
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8) if tensor.dtype == torch.float32 else tensor


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("layout", REFUSED)
def test_it_is_refused_in_one_line(layout, tmp_path):
    content, message = REFUSED[layout]
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(tmp_path, content())
    text = str(caught.value)
    assert "\n" not in text and caught.value.about == "network" and str(tmp_path / "w.pt") in text


def test_a_folder_is_refused_with_the_way_out(tmp_path):
    Path(tmp_path / "w.pt").mkdir()
    with pytest.raises(ConfigurationError, match="is a folder; name the file of weights in it"):
        load_into(Tiny(), tmp_path / "w.pt")
