"""Conversion of encoded bytes to the displayed RGB image, whatever the format and mode, and to the network input."""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from stages.batch import Answer, Batch, ImageError, Resources, length
from stages.errors import UserError, unknown
from stages.ingest.geometry import FITS, fit_transform, resized_shape
from stages.ingest.header import orientation_of
from stages.ingest.levels import Levels
from stages.ingest.opening import SIGNATURES, open_image
from stages.ingest.rgb import scaled_to_rgb, to_rgb
from stages.ingest.samples import MAX_BYTES, decoded_bytes, kind_of
from stages.ingest.scans import MOST_SCANS, has_too_many_scans
from stages.ingest.uris import read_file

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# Beyond this aspect ratio only the crop is resized: the whole resized image would need 4 GB at 20000 x 1.
_LONGEST_ASPECT = 32


class DecodeError(Exception):
    """Reason why one image cannot be used.

    Attributes:
        code: Stable CamelCase identifier.
        message: One readable line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def decode(data: bytes, max_bytes: int = MAX_BYTES, levels: Levels | None = None) -> Image.Image:
    """The displayed image: orientation applied, first frame, mode RGB.

    The format is detected from the content. Transparency is composed over white; samples of more than 8 bits are
    scaled to 0..255.

    Args:
        data: The whole encoded file.
        max_bytes: Most bytes of its decoded values, see :func:`stages.ingest.samples.decoded_bytes`; checked before
            any pixel is decoded.
        levels: Black and white of its dataset's images with more than 8 bits, as
            :func:`stages.ingest.depth.find_levels` gives them; found from this image alone where they are missing.

    Raises:
        DecodeError: ``Empty``, ``NotAnImage``, ``Truncated``, ``TooManyPixels``, ``TooManyScans`` or ``Unreadable``.
    """
    if not data:
        raise DecodeError("Empty", "the file is empty; fetch it again")
    try:
        with open_image(BytesIO(data)) as image:
            needed = decoded_bytes(image, kind_of(image, data))
            if needed > max_bytes:
                what = f"{image.width} x {image.height} pixels take {needed:,} bytes"
                raise DecodeError("TooManyPixels", f"{what}, over the limit of {max_bytes:,}")
            if has_too_many_scans(data):
                raise DecodeError("TooManyScans", f"a JPEG of more than {MOST_SCANS} scans; save it again")
            return displayed(image, levels, data)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError("TooManyPixels", _one_line(error)) from error
    except UnidentifiedImageError as error:
        if data.startswith(SIGNATURES):
            raise DecodeError("Truncated", "the file ends within its header; fetch it again") from error
        raise DecodeError("NotAnImage", "the bytes are in no image format that Pillow knows") from error
    # Pillow's plugins may raise anything for broken files: OSError, SyntaxError, struct.error, IndexError ...
    except Exception as error:
        cut_off = isinstance(error, EOFError) or "truncated" in str(error).lower()
        raise DecodeError("Truncated" if cut_off else "Unreadable", _one_line(error)) from error


def displayed(image: Image.Image, levels: Levels | None = None, data: bytes | None = None) -> Image.Image:
    """The current frame of an opened image as it is displayed: orientation applied, mode RGB.

    Args:
        image: The image.
        levels: Black and white, as in :func:`decode`.
        data: The image's file; None for an image of which only the decoded values are known.

    Raises:
        Exception: Whatever Pillow raises for pixels that it cannot decode.
    """
    kind = kind_of(image, data)
    image.load()
    # After load(): Pillow itself applies a TIFF's orientation and then drops the tag.
    method = _UPRIGHT.get(orientation_of(image))
    rgb = to_rgb(image) if kind is None else scaled_to_rgb(image, kind, levels, data)
    return rgb.transpose(method) if method is not None else rgb


def read_image(uri: str, max_bytes: int = MAX_BYTES, levels: Levels | None = None) -> Image.Image:
    """The displayed image behind a path or uri, see :func:`decode`.

    Raises:
        DecodeError: ``Missing``, or as :func:`decode`.
        UserError: The disk or store does not answer, or a package that the uri needs is not installed.
    """
    return decode(_read(uri), max_bytes, levels)


class _Row(NamedTuple):
    """One image on its way into the batch."""

    pixels: np.ndarray | None
    transform: np.ndarray
    width: int
    height: int
    error: ImageError | None


class Decode:
    """Reads, decodes and fits the images of a batch.

    Reads ``uri`` and the manifest's ``width`` and ``height`` (0 where unknown). Adds ``image`` (N, size,
    size, 3) uint8 RGB, ``transform`` (N, 4) float64 (see :mod:`stages.ingest.geometry`), ``width`` and
    ``height`` int32 of the displayed image. A row that its answer lists among the errors has a black image, the
    identity as its transform and the manifest's size.

    Args:
        size: Side of the network input in pixels.
        fit: ``squash``, ``center_crop`` or ``letterbox``.
        resample: ``bilinear`` or ``bicubic``, as Pillow does them: antialiased, on the full resolution.
        crop_ratio: Share of the short side that ``center_crop`` keeps.
        fill: RGB around a letterboxed image.
        max_bytes: Most bytes of the decoded values of an image, as in :func:`decode`.
        levels: Black and white of images with more than 8 bits, as in :func:`decode`.

    Raises:
        ConfigurationError: Unknown fit or resample.
    """

    reads = ("image_id", "uri", "width", "height")
    adds = ("image", "transform", "width", "height")
    resources = Resources(cpus=1)

    def __init__(
        self,
        size: int,
        fit: str,
        resample: str,
        crop_ratio: float,
        fill: tuple[int, int, int],
        max_bytes: int = MAX_BYTES,
        levels: Levels | None = None,
    ) -> None:
        if fit not in FITS:
            raise unknown("fit", fit, list(FITS), about="fit")
        if resample not in _RESAMPLE:
            raise unknown("resample", resample, list(_RESAMPLE))
        self.size, self.fit, self.crop_ratio, self.fill = size, fit, crop_ratio, fill
        self.resample = _RESAMPLE[resample]
        self.max_bytes, self.levels = max_bytes, levels

    def setup(self) -> None:
        """Let Pillow open what ``max_bytes`` allows: by default it refuses more than twice its own limit."""
        if Image.MAX_IMAGE_PIXELS is not None:
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, self.max_bytes // 4)

    def __call__(self, batch: Batch) -> Answer:
        """Decode one batch; the order of its rows is kept."""
        columns = batch["uri"], batch["width"].tolist(), batch["height"].tolist()
        rows = list(map(self._row, *columns))
        count = length(batch)
        image = np.zeros((count, self.size, self.size, 3), dtype=np.uint8)
        for index, row in enumerate(rows):
            if row.pixels is not None:
                image[index] = row.pixels
        decoded = batch | {
            "image": image,
            "transform": np.array([row.transform for row in rows], dtype=np.float64).reshape(count, 4),
            "width": np.array([row.width for row in rows], dtype=np.int32),
            "height": np.array([row.height for row in rows], dtype=np.int32),
        }
        return Answer(decoded, {index: row.error for index, row in enumerate(rows) if row.error})

    def _row(self, uri: str, width: int, height: int) -> _Row:
        try:
            image = read_image(uri, self.max_bytes, self.levels)
            if width and height and image.size != (width, height):
                raise DecodeError(
                    "SizeMismatch",
                    f"the annotations say {width} x {height}, the image has {image.width} x {image.height}: "
                    "its boxes belong to another version of it",
                )
            return _Row(*self.fitted(image), *image.size, None)
        except DecodeError as error:
            failure = ImageError("decode", error.code, error.message)
        except MemoryError:
            failure = ImageError("decode", "Unreadable", "not enough memory to decode it")
        return _Row(None, np.array([1.0, 1.0, 0.0, 0.0]), width, height, failure)

    def fitted(self, image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        """The network's input from a displayed image.

        Returns:
            (size, size, 3) uint8 pixels, and the transform (4,) float64 to their frame.
        """
        transform = fit_transform(*image.size, self.size, self.fit, self.crop_ratio)
        return np.asarray(self._resized(image, transform)), transform

    def _resized(self, image: Image.Image, transform: np.ndarray) -> Image.Image:
        size = self.size
        resized = resized_shape(*image.size, size, self.fit, self.crop_ratio)
        left, top = (int(shift) for shift in transform[2:])
        if self.fit == "center_crop":
            if max(resized) > _LONGEST_ASPECT * min(resized):
                (sx, sy), (tx, ty) = transform[:2], transform[2:]
                seen = (-tx / sx, -ty / sy, (size - tx) / sx, (size - ty) / sy)
                return image.resize((size, size), self.resample, box=seen)
            return image.resize(resized, self.resample).crop((-left, -top, size - left, size - top))
        if self.fit == "letterbox":
            canvas = Image.new("RGB", (size, size), self.fill)
            canvas.paste(image.resize(resized, self.resample), (left, top))
            return canvas
        return image.resize(resized, self.resample)


def _read(uri: str) -> bytes:
    """The bytes of one image.

    Raises:
        DecodeError: ``Missing`` or ``Unreadable``.
        UserError: A requirement of the whole run is missing.
    """
    try:
        return read_file(uri)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise DecodeError("Missing", "no such file; restore it or remove it from the dataset") from error
    except Exception as error:
        raise DecodeError("Unreadable", _one_line(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
