import copy

import numpy as np
import torch
from torch import nn

from stages.classify.lower_precision import store_convolutions
from stages.classify.stage import Classify
from tests.stages.toys import seeded, tiny_network


def test_convolutions_give_the_bits_of_autocast():
    module = seeded(lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3)))
    module.requires_grad_(False)
    stored = copy.deepcopy(module)
    store_convolutions(stored, torch.bfloat16)
    images = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(stored(images), module(images))
    assert [one.dtype for one in stored[1].parameters()] == [torch.float32] * 2


def test_the_callers_network_keeps_its_weights():
    network = tiny_network()
    before = {name: one.clone() for name, one in network.module.state_dict().items()}
    classify = Classify("", "", "features", 32, precision="bf16")
    classify.prepare(network)
    classify({"image": np.zeros((2, 32, 32, 3), np.uint8)})
    assert all(torch.equal(one, before[name]) for name, one in network.module.state_dict().items())
    assert all(one.dtype == torch.float32 for one in network.module.parameters())
