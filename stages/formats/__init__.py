"""Readers and writers of datasets, one folder per format.

:mod:`stages.formats.table` lists them. A new format is a folder and a row there: ``__init__.py`` with its
``Options``, ``read.py`` with ``read(root, options)``, ``write.py`` with ``write(images, classes, description)``.
"""

from __future__ import annotations

import os
from dataclasses import replace

from stages.errors import DataError, UserError
from stages.formats.content import ANNOTATION_LIMIT, annotations_within
from stages.formats.table import FORMATS, check_root, options_of
from stages.ingest.paths import local_path
from stages.ingest.records import Dataset


def read_dataset(format: str, root: str | None, annotation_limit: int = ANNOTATION_LIMIT, **options: object) -> Dataset:
    """Read a dataset's records; no image is decoded and nothing is written.

    Args:
        format: A name in :data:`stages.formats.table.FORMATS`.
        root: Local path or uri; ignored by formats that come with a package.
        annotation_limit: Most MiB of an annotation file, unpacked.
        **options: Options of the format, such as ``split``.

    Returns:
        The dataset, with its records in order of ``image_id``; sizes and boxes are as annotated until
        :func:`stages.ingest.sizes.fill_sizes` has seen the images.

    Raises:
        ConfigurationError: Unknown format, or an option that the format does not have.
        DataError: Missing root, no images, or annotations that contradict each other.
    """
    chosen = options_of(format, options)
    row = FORMATS[format]
    place = ""
    check_root(format, root)
    if root is not None and row.needs_root:
        path = local_path(root)
        # The uris go to workers that may have another working directory.
        place = root if path is None else os.path.abspath(path)
    try:
        with annotations_within(annotation_limit):
            return replace(row.reader()(place, chosen).collect(), frame=row.frame)
    except UserError as error:
        error.about = error.about or "root"
        raise
    except OSError as error:
        raise DataError(f"cannot read {root}: {' '.join(str(error).split())}", about="root") from error
    except Exception as error:  # Parsers may raise anything for foreign annotation files.
        what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(
            f"the annotations under {root} cannot be read ({what}); fix them or fetch them again", about="root"
        ) from error
