"""The explained layer of well-known networks, for documentation; a run finds the layer by trying."""

from __future__ import annotations

from typing import NamedTuple

GAP_LINEAR = "GAP + linear"
CLASS_MAPS = "class maps"
MLP = "MLP"
TOKENS = "tokens"


class Known(NamedTuple):
    """A network that was tried.

    Attributes:
        layer: Layer that is explained by default.
        maps: Shape (K, h, w) of the layer's output.
        size: Side of the image in pixels.
        head: Part that follows the layer: GAP + linear and class maps have closed forms; an MLP (anything else
            that reads a map) and tokens (a transformer's last block) need gradients.
    """

    layer: str
    maps: tuple[int, int, int]
    size: int
    head: str


NETWORKS = {
    "lite0": Known("features", (1280, 7, 7), 224, GAP_LINEAR),
    "lite1": Known("features", (1280, 8, 8), 240, GAP_LINEAR),
    "lite2": Known("features", (1280, 9, 9), 260, GAP_LINEAR),
    "nin": Known("features", (1000, 6, 6), 224, CLASS_MAPS),
    "torchvision:alexnet": Known("features.11", (256, 13, 13), 224, MLP),
    "torchvision:vgg16": Known("features.29", (512, 14, 14), 224, MLP),
    "torchvision:squeezenet1_1": Known("classifier.2", (1000, 13, 13), 224, CLASS_MAPS),
    "torchvision:googlenet": Known("inception5b", (1024, 7, 7), 224, GAP_LINEAR),
    "torchvision:inception_v3": Known("Mixed_7c", (2048, 8, 8), 299, GAP_LINEAR),
    "timm:inception_v4": Known("features", (1536, 8, 8), 299, GAP_LINEAR),
    "timm:inception_resnet_v2": Known("conv2d_7b", (1536, 8, 8), 299, GAP_LINEAR),
    "torchvision:resnet50": Known("layer4", (2048, 7, 7), 224, GAP_LINEAR),
    "torchvision:wide_resnet50_2": Known("layer4", (2048, 7, 7), 224, GAP_LINEAR),
    "torchvision:resnext50_32x4d": Known("layer4", (2048, 7, 7), 224, GAP_LINEAR),
    "torchvision:densenet121": Known("features", (1024, 7, 7), 224, GAP_LINEAR),
    "torchvision:efficientnet_b0": Known("features", (1280, 7, 7), 224, GAP_LINEAR),
    "torchvision:mobilenet_v2": Known("features", (1280, 7, 7), 224, GAP_LINEAR),
    "torchvision:mobilenet_v3_small": Known("features", (576, 7, 7), 224, MLP),
    "torchvision:shufflenet_v2_x1_0": Known("conv5", (1024, 7, 7), 224, GAP_LINEAR),
    "torchvision:convnext_tiny": Known("features", (768, 7, 7), 224, MLP),
    "torchvision:swin_t": Known("permute", (768, 7, 7), 224, GAP_LINEAR),
    "timm:swin_tiny_patch4_window7_224": Known("norm", (768, 7, 7), 224, GAP_LINEAR),
    "torchvision:vit_b_16": Known("encoder.layers.encoder_layer_11.ln_1", (768, 14, 14), 224, TOKENS),
    "timm:vit_tiny_patch16_224": Known("blocks.11.norm1", (192, 14, 14), 224, TOKENS),
    "timm:deit_tiny_distilled_patch16_224": Known("blocks.11.norm1", (192, 14, 14), 224, TOKENS),
}
