"""What holds for every method: no map depends on its batch, nothing is changed, nothing stays behind."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import pytest
import torch

from stages.explain.registry import Explainer, single_pass
from tests.repetitions import ALL
from tests.stages.explain.brute_force import HEADS, TARGET, network

pytestmark = pytest.mark.usefixtures("few_steps")


@pytest.fixture
def images():
    return torch.randn(5, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def applicable(head: str) -> list[Explainer]:
    cut = network(head)
    return [one for one in single_pass().values() if cut.head is not None or not one.needs_linear_head]


SLOW = ("groupcam", "scorecam", "ablationcam")
"""Methods of very many forward passes."""
EVERY = [
    pytest.param(head, one, id=f"{one.name}-{head}", marks=[pytest.mark.slow] if one.name in SLOW else [])
    for head in HEADS
    for one in applicable(head)
]


@pytest.mark.parametrize(("head", "method"), EVERY)
def test_a_map_does_not_depend_on_the_other_images_of_its_batch(images, head, method):
    """To 1e-9 of its largest value in float64: matrix products round as their sizes have it."""
    cut = network(head)

    def maps(pictures, target):
        return method.function(cut.trace(pictures), target).detach()

    together = maps(images, TARGET)
    tolerance = {"rtol": 0, "atol": 1e-9 * float(together.abs().max())}
    order = torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(maps(images[order], TARGET[order]), together[order], **tolerance)
    torch.testing.assert_close(maps(images[:1], TARGET[:1]), together[:1], **tolerance)
    loud = torch.cat([images[:2], 100 * images, torch.zeros_like(images)])
    padded = maps(loud, torch.cat([TARGET[:2], TARGET, TARGET]))
    torch.testing.assert_close(padded[:2], together[:2], **tolerance)


@pytest.mark.parametrize(("head", "method"), EVERY)
def test_an_image_that_is_not_finite_stays_alone(images, head, method):
    cut = network(head)
    clean = method.function(cut.trace(images), TARGET).detach()
    broken = images.clone()
    broken[1] = float("nan")
    maps = method.function(cut.trace(broken), TARGET).detach()
    others = [0, 2, 3, 4]
    torch.testing.assert_close(maps[others], clean[others], rtol=0, atol=1e-9 * float(clean.abs().max()))
    assert not maps[1].isfinite().all()


@pytest.mark.parametrize(("head", "method"), EVERY)
def test_nothing_is_changed_and_nothing_survives(images, head, method):
    cut = network(head)
    state = {name: tensor.clone() for name, tensor in cut.module.state_dict().items()}
    hooks = [len(part._forward_hooks) + len(part._backward_hooks) for part in cut.module.modules()]
    trace = cut.trace(images)
    maps = method.function(trace, TARGET).detach()
    leaf, logits = weakref.ref(trace.activations), weakref.ref(trace.logits)
    del trace  # and with it all the rest, without the help of the garbage collector
    assert maps.isfinite().all() and maps.ndim == 3 and len(maps) == 5
    assert leaf() is None and logits() is None
    assert not images.requires_grad and images.grad is None
    assert [len(part._forward_hooks) + len(part._backward_hooks) for part in cut.module.modules()] == hooks
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in cut.module.parameters())
    assert not any(part.training for part in cut.module.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in cut.module.state_dict().items())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("head", "method"), EVERY)
def test_a_silent_layer_gives_finite_maps(head, method):
    trace = network(head).trace(torch.zeros(2, 3, 32, 32, dtype=torch.float64))
    with torch.no_grad():
        trace.activations.zero_()
    assert method.function(trace, TARGET[:2]).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gap", pytest.param("flatten", marks=ALL)])
def test_memory_is_flat_over_two_thousand_batches(images, head):
    """Two thousand batches over all methods leave no more tensors behind than two hundred, and no more bytes."""
    cut, methods = network(head), applicable(head)
    tracemalloc.start()
    try:
        for batch in range(2000):
            methods[batch % len(methods)].function(cut.trace(images[:2]), TARGET[:2])
            if batch == 199:
                gc.collect()
                tensors, size = live_tensors(), tracemalloc.get_traced_memory()[0]
        gc.collect()
        assert live_tensors() == tensors
        assert tracemalloc.get_traced_memory()[0] < size + 200_000
    finally:
        tracemalloc.stop()


def live_tensors() -> int:
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
