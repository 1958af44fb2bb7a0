from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.boxes.iou import iou
from stages.classify.architectures.head_shape import HeadShape
from stages.classify.architectures.headed import make_head
from stages.ingest.records import ImageRecord
from stages.train.boxes import displayed_boxes, learnt_boxes
from stages.train.head import Examples, Settings, measure, outputs_of, train_head
from stages.train.tasks.classify import Classify
from stages.train.tasks.localize import Localize

TASK = Localize(Classify(exclusive=True), alpha=0.5)


def record(boxes: list[list[float]], labels: list[int], label: int = 0) -> ImageRecord:
    given = np.array(boxes, np.float32).reshape(-1, 4)
    return ImageRecord(1, "x", "x", label, 200, 100, given, np.array(labels, np.int32))


@pytest.mark.parametrize("fit", ["squash", "center_crop", "letterbox"])
def test_the_largest_box_of_the_label_there_and_back(fit):
    records = [
        record([[60, 10, 90, 40], [80, 20, 140, 80], [0, 0, 200, 100]], [0, 0, 1]),
        record([[0, 0, 9, 9]], [1]),
        record([], []),
    ]
    boxes, boxed = learnt_boxes(records, 64, fit, 1.0)
    assert boxed.tolist() == [True, False, False]
    assert displayed_boxes(boxes[:1], records[:1], 64, fit, 1.0)[0] == pytest.approx([80, 20, 140, 80], abs=1e-3)
    if fit == "squash":
        assert boxes[0] == pytest.approx([0.55, 0.5, 0.3, 0.6])


def test_what_a_crop_has_nothing_of_is_no_box():
    assert learnt_boxes([record([[0, 0, 20, 100]], [0])], 64, "center_crop", 1.0)[1].tolist() == [False]


def test_images_without_a_box_teach_their_class_alone():
    targets = {
        "classes": torch.eye(2)[[0, 1, 0]],
        "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.4, 0.4, 0.6, 0.6], [9.0, 9.0, 9.0, 9.0]]),
        "boxed": torch.tensor([1.0, 1.0, 0.0]),
    }
    boxes = torch.full((3, 4), 0.5, requires_grad=True)
    outputs = {"logits": torch.zeros(3, 2), "boxes": boxes}
    loss = TASK.loss(outputs, targets)
    loss.backward()
    assert boxes.grad is not None and boxes.grad[2].abs().max() == 0 and boxes.grad[:2].abs().max() > 0
    others = {**targets, "boxes": targets["boxes"].clone()}
    others["boxes"][2] = -5
    assert TASK.loss(outputs, others).item() == loss.item()
    expected = iou(np.array([[0.25, 0.25, 0.75, 0.75]] * 2), np.array([[0.4, 0.4, 0.6, 0.6], [0.1, 0.1, 0.7, 0.7]]))
    assert TASK.metrics({"logits": outputs["logits"], "boxes": boxes.detach()}, targets) == {
        "accuracy": pytest.approx(2 / 3),
        "iou": pytest.approx(expected.mean(), abs=1e-6),
    }


def test_mirrored_twice_is_the_same():
    targets = {"classes": torch.eye(2), "boxes": torch.rand(2, 4), "boxed": torch.ones(2)}
    once = TASK.mirrored(targets)
    assert once["boxes"][:, 0].tolist() == pytest.approx((1 - targets["boxes"][:, 0]).tolist())
    assert torch.allclose(TASK.mirrored(once)["boxes"], targets["boxes"])


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True])
def test_boxes_are_learnt_with_the_classes(flip):
    generator = torch.Generator().manual_seed(0)

    def examples(count: int) -> Examples:
        labels = torch.randint(0, 2, (count,), generator=generator)
        places = torch.randint(0, 5, (count, 2), generator=generator)
        features = torch.rand(count, 4, 6, 6, generator=generator) * 0.1
        for row, (x, y) in enumerate(places.tolist()):
            features[row, labels[row], y : y + 2, x : x + 2] += 2
        boxes = torch.cat([(places + 1) / 6, torch.full((count, 2), 1 / 3)], dim=1)
        return Examples(features, {"classes": torch.eye(2)[labels], "boxes": boxes, "boxed": torch.ones(count)})

    train, others = examples(300), examples(60)
    torch.manual_seed(0)
    head = make_head("gap", HeadShape(4, 6, 2, 8, 1), boxed=True)
    settings = Settings(12, 12, 32, 0.003, 0.0, seed=1, flip=flip)
    *_, last = train_head(head, TASK, train, others, settings)
    head.load_state_dict(last.head)
    found = measure(head, TASK, others)
    assert found["accuracy"] >= 0.95 and found["iou"] >= 0.8
    assert outputs_of(head, TASK, others.features)["boxes"].shape == (60, 4)
