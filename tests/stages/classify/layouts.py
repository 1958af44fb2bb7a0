"""Checkpoints as trainers write them, of one small network: the layouts of the table in test_checkpoints.py."""

from __future__ import annotations

import argparse
import collections
import io
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

State = dict[str, Tensor]


class Tiny(nn.Module):
    """A network with the kinds of tensors that networks have.

    Args:
        num_classes: Number of its outputs.
    """

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)), nn.ReLU())
        self.fc = nn.Linear(4, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.layer1(self.bn1(self.conv1(images)).relu()).mean((2, 3)))


def network(seed: int) -> nn.Module:
    """The small network; another seed gives other weights and statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Tiny()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.uniform_(part.running_mean, -0.1, 0.1)
                nn.init.uniform_(part.running_var, 0.8, 1.2)
    return module.eval()


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


@contextmanager
def foreign_library() -> Iterator[types.ModuleType]:
    """A module with classes that can be pickled inside the block, and not be imported after it."""
    library = types.ModuleType("a_trainer")

    class Config(dict):  # type: ignore[type-arg]
        def __setstate__(self, state: object) -> None:
            raise AssertionError("foreign code ran")

        def __getstate__(self) -> dict[str, object]:
            return {"lr": 0.1}

    class Loop:
        def __init__(self) -> None:
            self.losses = [np.float64(0.5)]

    class Net(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.model = inner
            self.register_buffer("passing", torch.ones(3), persistent=False)

    for one in (Config, Loop, Net):
        one.__module__, one.__qualname__ = library.__name__, one.__name__
        setattr(library, one.__name__, one)
    sys.modules[library.__name__] = library
    try:
        yield library
    finally:
        del sys.modules[library.__name__]


def saved(value: object, legacy: bool = False) -> bytes:
    content = io.BytesIO()
    torch.save(value, content, _use_new_zipfile_serialization=not legacy)
    return content.getvalue()


def with_foreign(make: Callable[[types.ModuleType], object], legacy: bool = False) -> bytes:
    with foreign_library() as library:
        return saved(make(library), legacy)


def optimizer_of(module: nn.Module) -> dict[str, Any]:
    """The state of an optimizer with two averages of each parameter."""
    parameters = list(module.parameters())
    state = {
        at: {"step": torch.tensor(9.0), "exp_avg": torch.zeros_like(one), "exp_avg_sq": torch.zeros_like(one)}
        for at, one in enumerate(parameters)
    }
    return {"state": state, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": list(state)}]}


def averaged_model(module: nn.Module) -> State:
    from torch.optim.swa_utils import AveragedModel

    return AveragedModel(module).state_dict()


def args() -> argparse.Namespace:
    return argparse.Namespace(lr=np.float32(0.1), output=Path("out"), device=torch.device("cpu"), opt=None)


def wrapped_inside(state: State, wrapper: str) -> State:
    """As partial sharding and compilation name the parts: the wrapper behind the first component."""
    return {name.replace(".", f".{wrapper}.", 1): tensor for name, tensor in state.items()}


def python2(state: State) -> bytes:
    """A legacy file whose OrderedDict is made of a list of pairs, as Python 2 wrote it."""

    class Pairs:
        def __reduce__(self) -> tuple[Any, ...]:
            return collections.OrderedDict, ([[name, tensor] for name, tensor in state.items()],)

    return saved(Pairs(), legacy=True)


def safetensors(state: State) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in state.items()}, metadata={"format": "pt"})


def lightning(state: State, prefix: str = "model.") -> dict[str, Any]:
    return {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": under(prefix, state),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {},
        "optimizer_states": [],
    }


def torchvision_reference(module: nn.Module, average: nn.Module) -> dict[str, Any]:
    return {
        "model": module.state_dict(),
        "optimizer": optimizer_of(module),
        "lr_scheduler": {"last_epoch": 3},
        "epoch": 3,
        "args": args(),
        "scaler": {"scale": 65536.0},
        "model_ema": averaged_model(average),
    }


def timm_train(module: nn.Module, average: nn.Module) -> dict[str, Any]:
    return {
        "epoch": 3,
        "arch": "tiny",
        "state_dict": module.state_dict(),
        "optimizer": optimizer_of(module),
        "version": 2,
        "args": args(),
        "amp_scaler": {"scale": 65536.0},
        "state_dict_ema": average.state_dict(),
        "metric": np.float64(0.5),
    }


def plain_pickle(value: object) -> bytes:
    return pickle.dumps(value)
