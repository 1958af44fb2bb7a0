"""What a run's first phase leaves: the cells of each part of its sample, and the foreground that was fitted to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.store import atomic as storage
from pipeline.store.info import RunInfo
from pipeline.store.rundir import RunDir, part_name
from pipeline.store.seal import SealError, read_sealed, seal
from stages.ingest.uris import list_folder

FIT_FILE = "fit/foreground.npz"
IMAGES = b"wsl_pipeline.images"
"""Key of a part's metadata for the number of images that gave its cells."""


def write_cells(run: RunDir, info: RunInfo, part: int, cells: np.ndarray, foreground: np.ndarray, images: int) -> None:
    """Store the cells of one part of the sample.

    Args:
        run: The run.
        info: Its ``run.json``.
        part: Number of the part.
        cells: (n, K) float32 features.
        foreground: (n,) bool.
        images: Number of images that gave them.
    """
    flat = pa.array(np.ascontiguousarray(cells, np.float32).reshape(-1))
    features = pa.FixedSizeListArray.from_arrays(flat, max(cells.shape[1], 1))
    table = pa.table({"foreground": foreground, "features": features}).replace_schema_metadata({IMAGES: str(images)})
    run.write(_name(part), seal(table, _facts(info, part)))


def read_cells(run: RunDir, info: RunInfo, part: int) -> tuple[np.ndarray, np.ndarray, int]:
    """What :func:`write_cells` stored.

    Raises:
        SealError: It is damaged, or not one of this run.
        StorageError: It cannot be read.
    """
    table = read_sealed(run.where(_name(part)), ["foreground", "features"], _facts(info, part))
    features = table["features"].combine_chunks()
    width = table.schema.field("features").type.list_size
    cells = features.flatten().to_numpy().reshape(-1, width)
    return cells, table["foreground"].to_numpy(), int(table.schema.metadata[IMAGES])


def parts_with_cells(run: RunDir, info: RunInfo, parts: int) -> Iterator[int]:
    """The parts of the sample whose cells are stored; damaged ones are set aside as ``*.bad``."""
    for part in range(parts):
        if run.exists(_name(part)):
            try:
                read_cells(run, info, part)
            except SealError:
                storage.set_aside(run.where(_name(part)))
            else:
                yield part


def remove_cells(run: RunDir) -> None:
    """Remove the stored cells, which the fit replaces."""
    for name in list_folder(run.where("fit"))[1]:
        if name.startswith("cells-"):
            storage.remove(run.where(f"fit/{name}"))


def _name(part: int) -> str:
    return f"fit/cells-{part_name(part)}"


def _facts(info: RunInfo, part: int) -> dict[str, str]:
    origin = info.model_copy(update={"fit_sha256": ""}).origin()
    return {"wsl_pipeline.origin": hashlib.sha256(f"{origin} evenly chosen cells {part}".encode()).hexdigest()}
