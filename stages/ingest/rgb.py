"""Loaded images in mode RGB, whatever their mode and depth."""

from __future__ import annotations

import numpy as np
from PIL import Image

from stages.ingest.levels import WHOLE, Levels, alpha_of, in_8_bits, ranges_for
from stages.ingest.samples import Kind, samples_of
from stages.ingest.wide_tiff import WideTiff

_BLOCK = 1 << 22


def to_rgb(image: Image.Image) -> Image.Image:
    """An image whose values Pillow gives in 8 bits, or as a share of 16: transparency is composed over white."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return Image.fromarray(in_8_bits(np.asarray(image), WHOLE)).convert("RGB")
    if image.has_transparency_data:
        return _over_white(image)
    return image.convert("RGB")


def scaled_to_rgb(image: Image.Image, kind: Kind, levels: Levels | None, data: bytes | None) -> Image.Image:
    """An image of more than 8 bits per sample, scaled to 8.

    Args:
        image: The image, loaded.
        kind: What its file says of its samples.
        levels: Black and white of its dataset; found from this image alone where they lack its kind.
        data: Its file; None for an image of which only the decoded values are known.
    """
    by_pillow = kind.colour and not isinstance(image, WideTiff)
    if by_pillow and levels and levels.get(kind.name) == WHOLE == levels.get(alpha_of(kind.name), WHOLE):
        return to_rgb(image)  # Pillow has kept the upper 8 bits, which are those that count.
    samples = samples_of(image, kind, data)
    own, alpha = ranges_for(kind, samples, levels)
    if by_pillow and own == alpha == WHOLE:
        return to_rgb(image)
    channels = in_8_bits(samples.values, own)
    if samples.alpha is not None:
        channels = np.dstack([channels, in_8_bits(samples.alpha, alpha)])
    return to_rgb(Image.fromarray(channels))


def _over_white(image: Image.Image) -> Image.Image:
    """An image with transparency, composed some rows at a time: the whole would take four more copies."""
    rgb = Image.new("RGB", image.size)
    width, height = image.size
    rows = max(1, _BLOCK // width)
    for top in range(0, height, rows):
        rgba = image.crop((0, top, width, min(top + rows, height))).convert("RGBA")
        rgb.paste(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"), (0, top))
    return rgb
