"""Heat maps of other programs: one ``.npy`` file per image in a folder, or the arrays of one ``.npz``."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.batch import Batch, Resources, ragged
from stages.errors import DataError
from stages.ingest.records import ImageRecord


def find_maps(path: Path, records: list[ImageRecord]) -> dict[int, str]:
    """The map of each image that has one.

    A map's name, without ``.npy``, is the image's file name with or without its extension, the last part of
    that name, or the image's id.

    Args:
        path: A folder, with subfolders, or a ``.npz`` file.
        records: The images.

    Returns:
        The file in the folder or the name in the archive, by image id.

    Raises:
        DataError: No such folder or file; a map that belongs to no image or to several; two maps of one image.
    """
    owners: dict[str, set[int]] = {}
    for record in records:
        file = Path(record.file_name)
        for known in {file.as_posix(), file.with_suffix("").as_posix(), file.name, file.stem, str(record.image_id)}:
            owners.setdefault(known, set()).add(record.image_id)
    found: dict[int, str] = {}
    for name in _names(path):
        images = owners.get(name.removesuffix(".npy"), set())
        if len(images) != 1:
            what = "no image" if not images else f"{len(images)} images, such as {min(images)}"
            raise DataError(
                f"{name} in {path} belongs to {what} of the ground truth; name maps by image id", about="maps"
            )
        (image,) = images
        if image in found:
            raise DataError(
                f"{found[image]} and {name} in {path} are maps of one image, {image}; keep one", about="maps"
            )
        found[image] = name
    return found


def _names(path: Path) -> list[str]:
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.npy"))
    elif path.suffix == ".npz" and path.is_file():
        try:
            archive = np.load(path)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is not an .npz archive: {error}", about="maps") from None
        if isinstance(archive, np.ndarray):
            raise DataError(f"{path} is one array, not an .npz archive; save the maps with numpy.savez", about="maps")
        with archive:
            names = sorted(archive.files)
    else:
        raise DataError(f"{path} is neither a folder of .npy files nor a .npz file", about="maps")
    if not names:
        raise DataError(f"{path} holds no maps; save one .npy per image", about="maps")
    return names


class LoadMaps:
    """Reads maps of any size. Adds ``map``, as stored in the file, and ``map_scale``, 1."""

    reads = ("map_name",)
    adds = ("map", "map_scale")
    resources = Resources(cpus=1)

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Read each row's map.

        Raises:
            DataError: A file is not an array of numbers, height x width.
        """
        if self.path.is_dir():
            maps = [self._checked(name, lambda one: np.load(self.path / one)) for name in batch["map_name"]]
        else:
            with np.load(self.path) as archive:
                maps = [self._checked(name, archive.__getitem__) for name in batch["map_name"]]
        return {**batch, "map": ragged(maps), "map_scale": np.ones(len(maps), np.float32)}

    def _checked(self, name: str, load: Callable[[str], np.ndarray]) -> np.ndarray:
        try:
            values = np.asarray(load(name))
        except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
            raise DataError(f"{name} in {self.path} cannot be read: {error}", about="maps") from None
        if values.ndim != 2 or values.dtype.kind not in "fiu" or not values.size:
            raise DataError(
                f"{name} in {self.path} holds {values.dtype} of shape {values.shape}; "
                "save one number per pixel, height x width",
                about="maps",
            )
        return values.astype(np.float64 if values.dtype.kind in "iu" else values.dtype)
