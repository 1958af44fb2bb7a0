"""The file of a fitted student: ``fit/foreground.npz`` of a run, which others can use."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from stages.errors import DataError
from stages.explain.foreground.student import Student


@dataclass(frozen=True)
class Fit:
    """A student and what it was fitted to.

    Attributes:
        student: The student.
        weights_sha256: Digest of the network's weights.
        layer: Dotted name of the layer.
        images: Number of images that gave cells.
        cells: Number of cells.
        of_foreground: Number of them that are foreground.
    """

    student: Student
    weights_sha256: str
    layer: str
    images: int
    cells: int
    of_foreground: int

    def to_bytes(self) -> bytes:
        """The file; equal fits give equal bytes."""
        sink = io.BytesIO()
        np.savez(
            sink,
            weights=self.student.weights.astype(np.float32),
            bias=np.float32(self.student.bias),
            weights_sha256=self.weights_sha256,
            layer=self.layer,
            counts=np.array([self.images, self.cells, self.of_foreground], np.int64),
        )
        return sink.getvalue()

    @classmethod
    def of_bytes(cls, data: bytes, where: str) -> Fit:
        """The fit that a file holds.

        Args:
            data: The file.
            where: Its name, for messages.

        Raises:
            DataError: It is none.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                if found["weights"].dtype.kind != "f":
                    raise ValueError("its weights are no real numbers")
                weights, bias = found["weights"].astype(np.float64), float(found["bias"])
                sha256, layer = str(found["weights_sha256"]), str(found["layer"])
                images, cells, of_foreground = map(int, found["counts"])
        except (
            *(OSError, ValueError, KeyError, TypeError, EOFError, OverflowError, MemoryError),
            *(RuntimeError, zipfile.BadZipFile),  # what zipfile says of encrypted files and unknown compression
        ) as error:
            raise DataError(f"{where} is no fitted foreground: {error}") from None
        if weights.ndim != 1 or not (np.isfinite(weights).all() and np.isfinite(bias)):
            raise DataError(f"{where} is no fitted foreground: its weights are not finite numbers")
        return cls(Student(weights, bias), sha256, layer, images, cells, of_foreground)
