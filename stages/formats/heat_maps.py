"""Heat maps of other programs: one ``.npy`` file per image in a folder, or the arrays of one ``.npz``."""

from __future__ import annotations

import zipfile
import zlib
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from stages.batch import Answer, Batch, ImageError, Resources, ragged
from stages.errors import DataError
from stages.formats.source import Notes
from stages.ingest.records import ImageRecord
from stages.ingest.uris import open_file

Parts = tuple[str, ...]

_OF_NONE = "maps left out: they are of no image; name them by image id"


def find_maps(path: Path, records: list[ImageRecord], notes: Notes) -> dict[int, str]:
    """The map of each image that has one.

    A map's name, without ``.npy``, is the image's file name with or without its extension, or the image's id, with
    or without zeros in front. Of folders in either name, those that both have must be the same. A map that may be of
    several images is left out, as are several maps of one image.

    Args:
        path: A folder, with subfolders, or a ``.npz`` file.
        records: The images.
        notes: Gets the findings.

    Returns:
        The file in the folder or the name in the archive, by image id.

    Raises:
        DataError: No such folder or file, or no map belongs to an image.
    """
    owners: dict[Parts, set[int]] = defaultdict(set)
    for record in records:
        file = PurePosixPath(record.file_name)
        for parts in (file.parts, file.with_suffix("").parts, (str(record.image_id),)):
            for start in range(len(parts)):
                owners[parts[start:]].add(record.image_id)
    maps: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in _names(path):
        agreeing, images = _owners(PurePosixPath(name.removesuffix(".npy")).parts, owners)
        if len(images) == 1:
            maps[min(images)][agreeing].append(name)
        elif images:
            example = f"{name} is of images {', '.join(map(str, sorted(images)[:2]))}"
            notes.count("maps left out: they may be of several images; name them by the file's path", example=example)
        else:
            notes.count(_OF_NONE, example=name)
    found = {}
    for image, candidates in maps.items():
        first, *others = candidates.pop(max(candidates))
        for name in chain(*candidates.values()):
            notes.count(_OF_NONE, example=name)
        if others:
            notes.count("images have several maps: none is taken", example=f"{first} and {others[0]} of image {image}")
        else:
            found[image] = first
    if not found:
        raise DataError(f"{path} has no map of an image of the ground truth: {'; '.join(notes.lines())}", about="maps")
    return found


def _owners(parts: Parts, owners: Mapping[Parts, set[int]]) -> tuple[int, set[int]]:
    """The number of parts of a name, from its end, that images have too, and these images."""
    tails = [parts[start:] for start in range(len(parts))]
    if parts and parts[-1].isascii() and parts[-1].isdigit():
        tails.append((parts[-1].lstrip("0") or "0",))
    return next(((len(tail), owners[tail]) for tail in tails if tail in owners), (0, set()))


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


def _load(path: Path) -> np.ndarray:
    with open_file(str(path)) as file:  # A pipe or a device would block, or never end.
        return np.asarray(np.load(file))


class LoadMaps:
    """Reads maps of any size. Adds ``map``, as stored in the file, and ``map_scale``, 1.

    An image whose ``map_name`` is empty, or whose map cannot be read, fails.
    """

    reads = ("map_name",)
    adds = ("map", "map_scale")
    resources = Resources(cpus=1)

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def __call__(self, batch: Batch) -> Answer:
        """Read each row's map."""
        with nullcontext() if self.path.is_dir() else np.load(self.path) as archive:
            found = [self._read(name, archive) for name in batch["map_name"]]
        errors = {row: one for row, one in enumerate(found) if isinstance(one, ImageError)}
        maps = ragged(np.zeros((1, 1)) if row in errors else one for row, one in enumerate(found))
        return Answer({**batch, "map": maps, "map_scale": np.ones(len(maps), np.float32)}, errors)

    def _read(self, name: str, archive: Mapping[str, np.ndarray] | None) -> np.ndarray | ImageError:
        if not name:
            return ImageError("maps", "NoMap", f"no map of it in {self.path}")
        try:
            values = _load(self.path / name) if archive is None else np.asarray(archive[name])
        except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            return ImageError("maps", "Unreadable", f"{name} in {self.path} cannot be read: {error}")
        shape = values.shape
        while values.ndim > 2 and 1 in (len(values), values.shape[-1]):
            values = values[0] if len(values) == 1 else values[..., 0]
        if values.ndim != 2 or values.dtype.kind not in "bfiu" or not values.size:
            what = f"{name} in {self.path} holds {values.dtype} of shape {shape}"
            return ImageError("maps", "WrongShape", f"{what}; save one number per pixel, height x width")
        exact = values.dtype.kind == "f" and values.dtype.itemsize <= 4
        return values.astype(np.float32 if exact else np.float64)
