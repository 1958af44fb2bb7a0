"""The papers' formulas, written out with loops over a network that is not cut."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from stages.trace.cut import CutNetwork
from tests.stages.toys import FlattenHead, GapLinear, seeded

TARGET = torch.tensor([2, 5, 0, 6, 3])
HEADS = {"gap": (GapLinear, "features"), "flatten": (FlattenHead, "features.2")}


def network(head: str, black: torch.Tensor | None = None) -> CutNetwork:
    factory, layer = HEADS[head]
    module = seeded(factory).requires_grad_(False)
    cut = CutNetwork(module, [layer], 32, black=black)  # the probe runs in float32
    module.double()
    return cut


class Whole:
    """The same network without a cut: the whole graph, one image at a time."""

    def __init__(self, head: str, image: torch.Tensor) -> None:
        factory, layer = HEADS[head]
        self.module = seeded(factory).double()
        self.layer = self.module.get_submodule(layer)
        self.image = image
        self.replacement = None
        self.layer.register_forward_hook(self._hook)
        self.logits = self.module(image[None])[0]

    def _hook(self, _module, _inputs, output):
        if self.replacement is not None:
            return self.replacement[None]
        self.maps = output

    def gradient(self, score):
        return torch.autograd.grad(score, self.maps, retain_graph=True)[0][0]

    def logits_of(self, maps):
        self.replacement = maps
        out = self.module(self.image[None])[0]
        self.replacement = None
        return out.detach()

    def logits_of_image(self, image):
        return self.module(image[None])[0].detach()


def gradcam(whole, c):
    gradient, maps = whole.gradient(whole.logits[c]), whole.maps[0].detach()
    return sum(gradient[k].mean() * maps[k] for k in range(len(maps)))


def gradcam_plus_plus(whole, c):
    # Eq. 19 as it stands, with the derivatives of exp(y), each image's exp(y) divided out at the end.
    gradient, maps = whole.gradient(whole.logits[c]), whole.maps[0].detach()
    first, second, third = gradient, gradient**2, gradient**3
    out = torch.zeros_like(maps[0])
    for k in range(len(maps)):
        weight = 0.0
        for at in np.ndindex(*maps[k].shape):
            denominator = 2 * second[k][at] + maps[k].sum() * third[k][at]
            alpha = second[k][at] / denominator if denominator != 0 else 0.0
            weight += alpha * max(first[k][at], 0)
        out += weight * maps[k]
    return out


def sharpen_focus(whole, c):
    gradient, maps = whole.gradient(whole.logits[c]), whole.maps[0].detach()
    return sum(gradient[k].clamp(min=0).mean() * maps[k] for k in range(len(maps)))


def xgradcam(whole, c):
    gradient, maps = whole.gradient(whole.logits[c]), whole.maps[0].detach()
    live = [k for k in range(len(maps)) if maps[k].sum() != 0]
    return sum((gradient[k] * maps[k] / maps[k].sum()).sum() * maps[k] for k in live)


def hirescam(whole, c):
    return (whole.gradient(whole.logits[c]) * whole.maps[0].detach()).sum(0)


def layercam(whole, c):
    return (whole.gradient(whole.logits[c]).clamp(min=0) * whole.maps[0].detach()).sum(0)


def bagcam(whole, c):
    product = whole.gradient(whole.logits[c]) * whole.maps[0].detach()
    return sum(F.relu((product[k] + 1).mean() * product[k]) for k in range(len(product)))


def ablationcam(whole, c):
    maps, score = whole.maps[0].detach(), whole.logits[c].detach()
    out = torch.zeros_like(maps[0])
    for k in range(len(maps)):
        without = maps.clone()
        without[k] = 0
        out += (score - whole.logits_of(without)[c]) / score * maps[k]
    return out


def reciprocam(whole, c):
    maps = whole.maps[0].detach()
    out = torch.zeros_like(maps[0])
    for row, column in np.ndindex(*out.shape):
        alone = torch.zeros_like(maps)
        alone[:, row, column] = maps[:, row, column]
        out[row, column] = whole.logits_of(alone).softmax(0)[c]
    return out


def eigencam(whole, c):
    features = whole.maps[0].detach().flatten(1).T
    centred = features - features.mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    projection = u[:, 0] * s[0]
    projection = projection * torch.sign((projection * centred.mean(1)).sum())
    return projection.view(whole.maps.shape[2:])


def finercam(whole, c):
    distance = (whole.logits - whole.logits[c]).abs().detach()
    nearest = [d for d in distance.argsort().tolist() if d != c][:3]
    score = whole.logits[c] - 0.6 * sum(whole.logits[d] for d in nearest) / 3
    gradient, maps = whole.gradient(score), whole.maps[0].detach()
    return sum(gradient[k].mean() * maps[k] for k in range(len(maps)))


def seen_through_channels(whole, c, baseline):
    """By channel: how much more the masked image scores than the baseline image; constant channels left out."""
    maps = whole.maps[0].detach()
    nothing = whole.logits_of_image(baseline)[c]
    scores = {}
    for k in range(len(maps)):
        span = maps[k].max() - maps[k].min()
        if span > 0:
            mask = F.interpolate(maps[k][None, None], whole.image.shape[1:], mode="bilinear")
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            scores[k] = whole.logits_of_image(whole.image * mask[0])[c] - nothing
    return maps, scores


def scorecam(whole, c):
    maps, scores = seen_through_channels(whole, c, torch.zeros_like(whole.image))
    weights = torch.stack(list(scores.values())).softmax(0)
    return sum(weight * maps[k] for weight, k in zip(weights, scores, strict=True))


def scorecam_lecture(whole, c):
    maps, scores = seen_through_channels(whole, c, whole.image)
    return sum(score * maps[k] for k, score in scores.items())


BRUTE_FORCE = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "sharpen-focus": sharpen_focus,
    "xgradcam": xgradcam,
    "hirescam": hirescam,
    "layercam": layercam,
    "bagcam": bagcam,
    "ablationcam": ablationcam,
    "reciprocam": reciprocam,
    "eigencam": eigencam,
    "finercam": finercam,
    "scorecam": scorecam,
    "scorecam-lecture": scorecam_lecture,
}
