from __future__ import annotations

import pickle
import weakref

import numpy as np
import pytest

from pipeline.engine.plan import Limit, Outcome, plan, process
from stages.batch import Answer, Batch, ImageError, Resources, Stage, ragged, take
from stages.classify.stage import Classify
from stages.errors import OutOfMemoryError
from stages.evaluate.faithfulness.stage import Faithfulness
from stages.explain.stage import Explain
from tests.stages.toys import tiny_network


class Add:
    """Adds a column; rows of odd ids fail where ``fails`` is set."""

    def __init__(self, reads, adds, gpus=0.0, fails=False):
        self.reads, self.adds, self.fails = reads, adds, fails
        self.resources = Resources(gpus=gpus)

    def setup(self):
        pass

    def __call__(self, batch):
        odd = np.flatnonzero(batch["image_id"] % 2 == 1) if self.fails else []
        errors = {int(row): ImageError("add", "Odd", "odd") for row in odd}
        return Answer(batch | dict.fromkeys(self.adds, batch["image_id"] * 2), errors)


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
    assert outcome.rows["b"].tolist() == [0, 4, 8]
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


class Seen:
    """Notes what it is given, and gives it back."""

    def __init__(self, *reads: str) -> None:
        self.reads, self.adds, self.resources = reads, (), Resources()
        self.given: list[dict[str, object]] = []

    def setup(self) -> None:
        pass

    def __call__(self, batch: Batch, **context: object) -> Batch:
        self.given.append(context)
        return batch


class Making(Seen):
    """Makes context."""

    def __call__(self, batch: Batch, **context: object) -> Answer:
        super().__call__(batch, **context)
        return Answer(batch, seconds={"half": 0.5}, context={"first": 1, "second": 2})


def test_context_reaches_the_stages_that_read_it():
    blind, one, both = Seen(), Seen("second"), Seen("first", "second")
    outcome = process([Making(), blind, one, both], {"image_id": np.arange(2)})
    assert (blind.given, one.given, both.given) == ([{}], [{"second": 2}], [{"first": 1, "second": 2}])
    assert list(outcome.rows) == ["image_id"] and outcome.seconds["half"] == 0.5


class Graph:
    """Something that is large."""


def test_context_is_let_go_behind_the_last_stage_that_reads_it():
    held = []

    class Growing(Making):
        def __call__(self, batch: Batch) -> Answer:
            graph = Graph()
            held.append(weakref.ref(graph))
            return Answer(batch, context={"graph": graph})

    class Looking(Seen):
        def __call__(self, batch: Batch, **context: object) -> Batch:
            held.append(held[0]() is not None)
            return batch

    process([Growing(), Looking(), Looking("graph"), Looking()], {"image_id": np.arange(2)})
    assert held[1:] == [True, True, False]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"score": np.zeros(3)}, "image_id 2, score 3"),
        ({"score": [1, 2]}, "image_id 2, score list"),
        ({"score": np.array(1)}, "image_id 2, score ndarray"),
        ({"graph": Graph()}, "image_id 2, graph Graph"),
    ],
)
def test_a_stage_that_gives_no_batch_is_named(columns, told):
    class Wrong(Seen):
        def __call__(self, batch: Batch) -> Batch:
            return batch | columns

    with pytest.raises(ValueError, match=f"^Wrong gave no batch, which is arrays of one length: {told}$"):
        process([Wrong()], {"image_id": np.arange(2)})


class Refuse(Seen):
    """A toy stage that gives one image up, whichever of its rows it finds."""

    def __init__(self, image: int) -> None:
        super().__init__("image_id")
        self.image = image

    def __call__(self, batch: Batch) -> Answer:
        bad = ImageError("refuse", "Disliked", "not this one")
        return Answer(batch, {row: bad for row, image in enumerate(batch["image_id"]) if image == self.image})


@pytest.fixture(scope="module")
def traced() -> list[Stage]:
    """The network's stages, ready."""
    network = tiny_network()
    classify = Classify("python:tests.stages.toys:tiny_network", network.weights_sha256, ["features.1", "last"], 32)
    classify.setup()
    layers = {"cam": ["features"], "layercam": ["features.1", "features"], "gradcam++": ["features.1"]}
    methods = [*layers, "scorecam", "smooth-gradcam++"]
    scales = [1.0, 1.5]
    placed = layers | {name: ["features"] for name in methods[3:]}
    explain = Explain(methods, ["label", "top2"], True, scales, layers=placed)
    return [classify, explain, Faithfulness(["average_drop", "road", "coherency"], True, scales, 3, layers=placed)]


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_an_image_that_fails_anywhere_changes_no_other(traced, position):
    """Before the network, behind it, behind the maps and behind what is asked about them."""
    pixels = np.random.default_rng(3).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    batch = {"image_id": np.arange(10, 14), "uri": ragged("abcd"), "image": pixels, "label": np.array([4, -1, 0, 6])}
    whole = process(traced, dict(batch)).rows
    outcome = process([*traced[:position], Refuse(12), *traced[position:]], dict(batch))
    assert [(image, uri, error.code) for image, uri, error in outcome.errors] == [(12, "c", "Disliked")]
    others = take(whole, whole["image_id"] != 12)
    assert outcome.rows.keys() == others.keys() and len(set(others["image_id"])) == 3
    for name, column in others.items():
        pairs = list(zip(outcome.rows[name], column, strict=True))
        if name in ("map_by_scale", "map_foreground"):  # several maps a row
            pairs = [pair for mine, expected in pairs for pair in zip(mine, expected, strict=True)]
        for mine, expected in pairs:
            if position == 0 and name in ("prob", "map", "map_scale", "map_by_scale", "faithfulness"):
                np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-4)  # Another batch rounds otherwise.
            else:
                np.testing.assert_array_equal(mine, expected)


class Large(Add):
    """Fails with batches above some images, for want of memory."""

    def __init__(self, most: int) -> None:
        super().__init__((), ())
        self.most, self.sizes = most, []

    def __call__(self, batch):
        self.sizes.append(len(batch["image_id"]))
        if self.sizes[-1] > self.most:
            raise RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")
        return batch


def test_a_halved_batch_is_remembered():
    stage, limit = Large(4), Limit()
    for _ in range(2):
        assert len(process([stage], {"image_id": np.arange(7)}, limit).rows["image_id"]) == 7
    process([stage], {"image_id": np.arange(4)}, limit)
    assert stage.sizes == [7, 4, 3, 4, 3, 4]
    stage.most = 2  # Less memory than before: the limit follows.
    for _ in range(2):
        process([stage], {"image_id": np.arange(4)}, limit)
    assert stage.sizes[6:] == [4, 2, 2, 2, 2]


def test_columns_of_small_arrays_travel_as_one():
    maps = [np.full((2, 3), number, np.float16) for number in range(50)]
    boxes = [np.zeros((number % 3, 4)) for number in range(50)]
    sent: list[pickle.PickleBuffer] = []
    rows = {"map": ragged(maps), "boxes": ragged(boxes), "uri": ragged(["a"] * 50), "n": np.arange(50)}
    data = pickle.dumps(Outcome(rows), 5, buffer_callback=sent.append)
    assert len(sent) < 60
    found = pickle.loads(data, buffers=sent).rows
    assert list(found) == list(rows)
    for name, column in rows.items():
        assert found[name].dtype == column.dtype and found[name].shape == column.shape
        assert all(np.array_equal(one, other) for one, other in zip(found[name], column, strict=True))
