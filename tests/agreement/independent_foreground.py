"""GT-known localization of foreground-cam at three scales, computed a second time from the recipe's text.

It shares no code with the package: the network is timm's, the ridge regression is scikit-free least squares on all
cells at once, maps are resized by torch, components labelled by scipy. Run as a script it prints the scores:

    python tests/agreement/independent_foreground.py FOLDER
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from tests.agreement.independent_scores import overlap, published_network

SIDES = 224, 320, 448
GRID = 56
FRAME = 224


def on_grid(map: np.ndarray, side: int = GRID) -> np.ndarray:
    """A map on the common grid."""
    return interpolate(torch.from_numpy(map)[None, None].double(), (side, side), mode="bilinear")[0, 0].numpy()


def fused(cams: list[np.ndarray]) -> np.ndarray:
    """The sum of maps divided by their maxima, minus its 30 % quantile, clipped, divided by its maximum."""
    total = sum(on_grid(cam) / on_grid(cam).max() for cam in cams)
    total = (total - np.percentile(total, 30)).clip(min=0)
    return total / total.max()


def chosen(map: np.ndarray, shape: tuple[int, int]) -> list[tuple[int, float]]:
    """The sure cells of each kind, or those in the middle of 20 equal shares of them, with their targets."""
    cells = adaptive_avg_pool2d(torch.from_numpy(map)[None], shape)[0].numpy().reshape(-1)
    sure = []
    for target, places in ((1.0, np.flatnonzero(cells > 0.45)), (0.0, np.flatnonzero(cells < 0.03))):
        middles = (np.arange(20) + 0.5) * len(places) / 20
        sure += [(int(place), target) for place in (places if len(places) <= 20 else places[middles.astype(int)])]
    return sure


def ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and bias of raw features, by stacked least squares on standardised ones."""
    mean, spread = x.mean(0), x.std(0) + 0.05
    z = (x - mean) / spread
    rows = np.concatenate([z, np.sqrt(0.1 * len(z)) * np.eye(z.shape[1])])
    found = np.linalg.lstsq(rows, np.concatenate([y - y.mean(), np.zeros(z.shape[1])]), rcond=None)[0] / spread
    return found, float(y.mean() - mean @ found)


def box_of(map: np.ndarray, width: int, height: int) -> tuple[float, ...]:
    """The largest component above a quarter of the maximum, its box by the size rule."""
    map = on_grid(map, FRAME)
    labels, count = ndimage.label(map > 0.25 * map.max(), structure=np.ones((3, 3)))
    areas = ndimage.sum_labels(np.ones_like(labels), labels, range(1, count + 1))
    rows, columns = ndimage.find_objects(labels)[int(np.argmax(areas))]
    x0, x1, y0, y1 = (one / FRAME for one in (columns.start, columns.stop, rows.start, rows.stop))
    factor = min(1, np.sqrt((x1 - x0) * (y1 - y0)) / 0.7)
    x, y, half_w, half_h = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 * factor, (y1 - y0) / 2 * factor
    return (x - half_w) * width, (y - half_h) * height, (x + half_w) * width, (y + half_h) * height


def scores(root: Path) -> dict[str, float]:
    """GT-known localization at IoU 0.5 and 0.7, and the mean IoU."""
    wnids = sorted(line.split()[0] for line in (root / "LOC_synset_mapping.txt").read_text().splitlines())
    module = published_network()
    weight = module.classifier.weight.detach().numpy()
    seen, x, y = [], [], []
    with open(root / "LOC_val_solution.csv", newline="") as file:
        for entry in csv.DictReader(file):
            fields = entry["PredictionString"].split()
            boxes = [[int(value) for value in fields[at + 1 : at + 5]] for at in range(0, len(fields), 5)]
            image = Image.open(root / "ILSVRC/Data/CLS-LOC/val" / f"{entry['ImageId']}.JPEG").convert("RGB")
            pixels = np.asarray(image.resize((SIDES[-1],) * 2, Image.Resampling.BICUBIC), dtype=np.float32)
            largest = torch.from_numpy(((pixels / 255 - 0.498) / 0.502).transpose(2, 0, 1))[None]
            maps = []
            for side in SIDES:
                scaled = interpolate(largest, (side, side), mode="bilinear", antialias=True)
                with torch.inference_mode():
                    maps.append(module.forward_features(scaled)[0].numpy())
            of_class = fused([np.tensordot(weight[wnids.index(fields[0])], one, 1) for one in maps])
            for place, target in chosen(of_class, maps[-1].shape[1:]):
                x.append(maps[-1].reshape(len(maps[-1]), -1)[:, place])
                y.append(target)
            seen.append((image.size, boxes, of_class, maps[-1]))
    weights, bias = ridge(np.array(x, np.float64), np.array(y))
    ious = []
    for size, boxes, of_class, features in seen:
        foreground = on_grid(np.tensordot(weights, features.astype(np.float64), 1) + bias).clip(1e-4, 1)
        found = box_of(foreground**0.65 * of_class**0.35 + 1e-6, *size)
        ious.append(max(overlap(found, (x0, y0, x1 + 1, y1 + 1)) for x0, y0, x1, y1 in boxes))
    found = np.array(ious)
    return {"0.5": float((found >= 0.5).mean()), "0.7": float((found >= 0.7).mean()), "mean_iou": float(found.mean())}


if __name__ == "__main__":
    print(json.dumps(scores(Path(sys.argv[1]))))
