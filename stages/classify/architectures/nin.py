"""Network in Network (Lin, Chen & Yan 2014): its last maps are the classes, and their means the logits."""

from __future__ import annotations

from torch import Tensor, nn


class NetworkInNetwork(nn.Module):
    """The ImageNet network of the paper's authors, for images of 224 pixels.

    Four blocks, each a convolution and two of 1x1 (a perceptron that slides over the map). The last block has
    one map per class, followed by a ReLU, so that the map is its own class activation map.

    Args:
        num_classes: Number of classes C.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_mlpconv(3, (96, 96, 96), kernel=11, stride=4),
            nn.MaxPool2d(3, 2, ceil_mode=True),  # as Caffe pools
            *_mlpconv(96, (256, 256, 256), kernel=5, padding=2),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_mlpconv(256, (384, 384, 384), kernel=3, padding=1),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Dropout(),
            *_mlpconv(384, (1024, 1024, num_classes), kernel=3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, S, S) images to logits (N, C)."""
        maps: Tensor = self.features(x)
        return maps.mean((2, 3))


def _mlpconv(
    inputs: int, outputs: tuple[int, int, int], kernel: int, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    first, second, third = outputs
    return [
        *(nn.Conv2d(inputs, first, kernel, stride, padding), nn.ReLU(inplace=True)),
        *(nn.Conv2d(first, second, 1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(second, third, 1), nn.ReLU(inplace=True)),
    ]
