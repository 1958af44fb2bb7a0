"""Small image classifiers that end in global average pooling, to be trained from scratch.

``lecture_*`` are the two networks of the shift experiment in Boracchi's lecture "GAP, Localization and CNN
Explanations": one trunk of three valid 3x3 convolutions, and the heads that are compared on it.
"""

from __future__ import annotations

from torch import Tensor, nn


class GapClassifier(nn.Module):
    """Features, their mean over all positions, a head (Lin, Chen & Yan 2014, section 3.2).

    Colour images are averaged to one channel first; any side that the features can shrink will do.

    Args:
        features: Maps (N, 1, S, S) to (N, K, h, w).
        classifier: Maps (N, K) to (N, C) logits. A single linear layer has an exact class activation map.
    """

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x.mean(1, keepdim=True)).mean((2, 3)))
        return logits


def digits_cnn(num_classes: int = 10) -> GapClassifier:
    """The demo's network: 135,786 parameters, one linear layer after the pooling.

    Everything is padded to the same extent on all sides, so cell (i, j) of the map is centred on pixels
    [4 j, 4 j + 4) x [4 i, 4 i + 4) exactly; valid convolutions would shift and stretch the map. The
    receptive field, 34 pixels, is about as large as a digit.
    """
    features = nn.Sequential(
        *_normalised_conv(1, 16, kernel=4, stride=2),
        *_normalised_conv(16, 32),
        nn.MaxPool2d(2),
        *_normalised_conv(32, 64),
        *_normalised_conv(64, 64),
        *_normalised_conv(64, 128),
    )
    return GapClassifier(features, nn.Linear(128, num_classes))


def lecture_gap() -> GapClassifier:
    """Trunk, GAP, dense 64, dense 10: 101,578 parameters, whatever the side of the image."""
    return GapClassifier(_lecture_trunk(), _dense(128))


def lecture_flatten() -> nn.Sequential:
    """Trunk, flatten, dense 64, dense 10: 388,298 parameters, for (N, 1, 64, 64) alone."""
    return nn.Sequential(_lecture_trunk(), nn.Flatten(), _dense(128 * 6 * 6))


def _normalised_conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def _lecture_trunk() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)


def _dense(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 10))
