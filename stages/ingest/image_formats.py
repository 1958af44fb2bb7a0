"""The image formats that the installed Pillow decodes by itself, and the extensions of their files."""

from __future__ import annotations

from PIL import Image, ImageFile

Image.init()

# EPS starts Ghostscript; of MPEG, Pillow reads the header only.
_NOT_DECODED = ("EPS", "MPEG")
_EXTENSIONS = Image.registered_extensions()


def _decodes(name: str) -> bool:
    """Whether Pillow makes pixels of a format that it recognises: a stub needs a program that others install."""
    factory = Image.OPEN[name][0]
    stub = isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    return not stub and name not in _NOT_DECODED and name in _EXTENSIONS.values()


FORMATS = tuple(sorted(filter(_decodes, Image.ID), key=lambda name: Image.OPEN[name][1] is None))
"""Names of the formats in the order in which they are tried: those without a signature, such as TGA, come last."""

# MPO is opened as JPEG. Photo CDs are no longer made, and the .pcd files of today are point clouds.
EXTENSIONS = frozenset(suffix for suffix, name in _EXTENSIONS.items() if name in (*FORMATS, "MPO")) - {".pcd"}
"""Extensions of the formats, in lower case and with the dot."""
