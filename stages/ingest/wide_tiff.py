"""TIFF files whose samples Pillow does not know, such as 64-bit floats and float colours, read by OpenCV."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _FORMAT = 256, 257, 258, 274, 339  # tags
# Sample formats: 1 unsigned, 2 signed, 3 float.
_KNOWN = {(1, 16), (1, 32), (2, 16), (2, 32), (3, 32), (3, 64)}


class WideTiff(ImageFile.ImageFile):
    """A TIFF that is opened from its tags; its ``values``, upright, are there once it is loaded.

    Attributes:
        values: (H, W) or (H, W, 3 or 4) RGB or RGBA, of the file's own type.
        tag_v2: Tags by number, without the orientation.
    """

    format = "TIFF"
    values: np.ndarray

    def _open(self) -> None:
        assert self.fp is not None
        self.tag_v2: Any = ImageFileDirectory_v2(self.fp.read(8))
        self.fp.seek(self.tag_v2.next)
        self.tag_v2.load(self.fp)
        bits, numbers = self.tag_v2[_BITS], self.tag_v2.get(_FORMAT, (1,))
        if len(bits) not in (1, 3, 4) or len(set(bits)) > 1 or (max(numbers), bits[0]) not in _KNOWN:
            raise ValueError(
                f"a TIFF of {len(bits)} x {max(bits)} bits in sample format {max(numbers)}, which is not read; "
                "save it as PNG"
            )
        size = self.tag_v2[_WIDTH], self.tag_v2[_HEIGHT]
        self._size = size[::-1] if self.tag_v2.pop(_ORIENTATION, 1) >= 5 else size
        self._mode = {1: "F", 3: "RGB", 4: "RGBA"}[len(bits)]

    def load(self) -> Any:
        """Read the values; the picture that Pillow holds stays empty.

        Raises:
            OSError: OpenCV cannot read them.
        """
        if self.fp is not None:
            from stages.ingest.opencv import decode_unchanged

            self.fp.seek(0)
            found = decode_unchanged(self.fp.read())
            channels = len(self.getbands())
            if found is None or found.dtype == np.uint8 or found.shape[1::-1] != self.size:
                raise OSError("its values cannot be read; the file is damaged, or of a kind of TIFF that is not known")
            if channels > 1:  # In place: the values may take most of the memory that an image may have.
                blue = found[..., 0].copy()
                found[..., 0], found[..., 2] = found[..., 2], blue
            self.values = found
            self.im = Image.new(self.mode, self.size).im
            self.fp = None
        return Image.Image.load(self)
