from __future__ import annotations

import numpy as np
import pytest

from pipeline.engine.plan import plan, process
from stages.batch import ImageError, Resources, ragged
from stages.errors import OutOfMemoryError


class Add:
    """Adds a column; rows of odd ids fail where ``fails`` is set."""

    def __init__(self, reads, adds, gpus=0.0, fails=False):
        self.reads, self.adds, self.fails = reads, adds, fails
        self.resources = Resources(gpus=gpus)

    def setup(self):
        pass

    def __call__(self, batch):
        odd = batch["image_id"] % 2 == 1
        errors = (
            {"error": ragged(ImageError("add", "Odd", "odd") if bad else None for bad in odd)} if self.fails else {}
        )
        return batch | dict.fromkeys(self.adds, batch["image_id"] * 2) | errors


def test_without_a_gpu_everything_is_one_group():
    stages = [Add(("uri",), ("image",)), Add(("image",), ("map",)), Add(("map",), ("box",))]
    assert [group.stages for group in plan(stages)] == [stages]


def test_with_a_gpu_its_stages_stand_alone():
    stages = [
        Add(("uri",), ("image",)),
        Add(("image",), ("trace",), 1),
        Add(("trace",), ("map",), 1),
        Add(("map",), ()),
    ]
    groups = plan(stages)
    assert [len(group.stages) for group in groups] == [1, 2, 1]
    assert [group.resources.gpus for group in groups] == [0, 1, 0]


def test_a_column_that_nobody_adds_is_found_before_any_image():
    with pytest.raises(ValueError, match=r"Add reads \['map'\], which no stage before it adds"):
        plan([Add(("uri",), ("image",)), Add(("map",), ())])


def test_failed_images_leave_and_the_others_go_on():
    batch = {"image_id": np.arange(5), "uri": ragged(f"/{number}" for number in range(5))}
    outcome = process([Add((), ("a",), fails=True), Add(("a",), ("b",))], batch)
    assert outcome.rows["b"].tolist() == [0, 4, 8] and "error" not in outcome.rows
    assert [(image, uri, error.code) for image, uri, error in outcome.errors] == [(1, "/1", "Odd"), (3, "/3", "Odd")]


def test_a_batch_whose_images_all_fail_is_empty():
    batch = {"image_id": np.array([1, 3]), "uri": ragged(["/1", "/3"])}
    outcome = process([Add((), ("a",), fails=True), Add(("a",), ("b",))], batch)
    assert outcome.rows == {} and len(outcome.errors) == 2


class Failing(Add):
    """Fails with an error of the given kind, whatever the batch."""

    def __init__(self, error: Exception) -> None:
        super().__init__((), ())
        self.error, self.calls = error, 0

    def __call__(self, batch):
        self.calls += 1
        raise self.error


@pytest.mark.parametrize("count", [1, 4])
def test_a_batch_is_halved_once_and_one_image_never(count):
    stage = Failing(RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"))
    with pytest.raises(OutOfMemoryError, match=rf"runtime\.batch_size: out of memory with {count} images"):
        process([stage], {"image_id": np.arange(count)})
    assert stage.calls == min(count, 2)


def test_other_errors_pass_through_at_once():
    stage = Failing(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        process([stage], {"image_id": np.arange(4)})
    assert stage.calls == 1
