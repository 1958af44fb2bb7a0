"""Opening of images from their headers, in any of the formats that are read; no pixel is decoded."""

from __future__ import annotations

import struct
import warnings
from typing import IO, Any

from PIL import Image, UnidentifiedImageError
from PIL.BmpImagePlugin import DibImageFile
from PIL.IcoImagePlugin import IcoFile, IcoImageFile
from PIL.PngImagePlugin import PngImageFile

from stages.ingest.image_formats import FORMATS
from stages.ingest.wide_tiff import WideTiff

# The causes (too many pixels, damaged metadata) become an error row or do not affect the pixels; without the
# name of the image the warnings would only be noise.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

PNG = b"\x89PNG\r\n\x1a\n"
_ICON = b"\0\0\1\0"
_TIFF = (b"II*\0", b"MM\0*")
SIGNATURES = (b"\xff\xd8\xff", PNG, b"GIF8", b"BM", *_TIFF, b"RIFF")
"""First bytes of the usual formats, by which a file is known that ends within its header."""
_OTHERS = tuple(name for name in FORMATS if name != "ICO")


def open_image(file: IO[bytes]) -> Image.Image:
    """Open an image from its header.

    Args:
        file: The file, at least its header.

    Raises:
        UnidentifiedImageError: It is in no format that is read.
        ValueError: It is a TIFF of a kind that is not read.
        Exception: Whatever else Pillow raises for bytes that are cut off.
    """
    start = file.read(4)
    file.seek(0)
    if start == _ICON:
        try:
            return _Icon(file)
        except (SyntaxError, IndexError, TypeError, struct.error):  # Pillow's signs of another format.
            file.seek(0)
    try:
        return Image.open(file, formats=_OTHERS)
    except UnidentifiedImageError as error:
        if start not in _TIFF:
            raise
        file.seek(0)
        try:
            return WideTiff(file)
        except ValueError:
            raise
        except Exception:  # The directory is broken, for which Pillow may raise anything.
            raise error from None


class _Icon(IcoImageFile):
    """A Windows icon. Pillow's own decodes the picture when it is opened, and only then knows its true size."""

    def _open(self) -> None:
        assert self.fp is not None
        self.ico: Any = IcoFile(self.fp)
        self.fp.seek(self.ico.entry[0].offset)
        packed = self.fp.read(len(PNG)) == PNG
        self.fp.seek(self.ico.entry[0].offset)
        picture = PngImageFile(self.fp) if packed else DibImageFile(self.fp)
        width, height = picture.size
        self._size = width, height if packed else height // 2  # Below the picture lies its transparency.
        self._mode = picture.mode

    def load(self) -> Any:
        """Decode the picture."""
        if self._im is None:
            picture = self.ico.frame(0)
            picture.load()
            self.im, self._mode, self._size, self.palette = picture.im, picture.mode, picture.size, picture.palette
        return Image.Image.load(self)
