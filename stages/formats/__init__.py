"""Dataset formats: one module each, with a ``read(root, split)`` that makes a :class:`Dataset`."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib import import_module

from stages.errors import ConfigurationError, DataError, UserError, unknown
from stages.ingest.paths import local_path
from stages.ingest.records import Dataset


def _read(module: str, root: str, split: str) -> Dataset:
    return import_module(f"stages.formats.{module}.read").read(root, split)


# The table of contents. Modules are imported when they are used: some need an extra.
FORMATS: dict[str, Callable[[str, str], Dataset]] = {
    name: partial(_read, name) for name in ("coco", "digits", "imagefolder", "imagenet", "photos")
}

BUNDLED = ("digits", "photos")
"""Formats whose images lie in an installed package; they read no root."""


def read_dataset(format: str, root: str | None, split: str) -> Dataset:
    """Read a dataset's records; no image is decoded and nothing is written.

    Args:
        format: A name in :data:`FORMATS`.
        root: Local path or uri; None for :data:`BUNDLED` formats.
        split: Such as ``val``; each format says what it makes of it.

    Raises:
        ConfigurationError: Unknown format, or a split that the format does not have.
        DataError: Missing root, no images, or annotations that contradict each other.
    """
    if format not in FORMATS:
        raise unknown("format", format, list(FORMATS))
    if format in BUNDLED:
        return FORMATS[format]("", split)
    if root is None:
        raise ConfigurationError("data.root is not set; add data.root=FOLDER to the command")
    path = local_path(root)
    # The uris go to workers that may have another working directory.
    try:
        return FORMATS[format](root if path is None else os.path.abspath(path), split)
    except UserError:
        raise
    except OSError as error:
        raise DataError(f"data.root: cannot read {root}: {' '.join(str(error).split())}") from error
    except Exception as error:  # Annotations are strangers' files: parsers raise anything.
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(
            f"data.root: the annotations under {root} cannot be read ({what}); mend or fetch them"
        ) from error
