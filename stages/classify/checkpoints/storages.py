"""The tensors of a checkpoint before their numbers are read: storages in the file, and views of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

CUT_OFF = "ends before its last tensor: it was cut off; copy or download it again"


@dataclass(eq=False)
class Storage:
    """A row of numbers in the file.

    Attributes:
        dtype: Type of a number; None where each tensor names its own.
        content: The bytes, writable; None until their place in the file is known.
    """

    dtype: torch.dtype | None
    content: memoryview | None = None

    def __setstate__(self, state: object) -> None:
        """Nothing in a pickle changes a storage."""

    def numbers(self, dtype: torch.dtype) -> Tensor:
        """All whole numbers of a type that the bytes hold, (n,), without a copy.

        Raises:
            ValueError: The file does not contain the storage.
        """
        if self.content is None:
            raise ValueError("a storage is missing")
        count = len(self.content) // dtype.itemsize
        return torch.frombuffer(self.content, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)


class Stored(NamedTuple):
    """A tensor in the file: its shape and type are known, its numbers are read on demand.

    Attributes:
        storage: Storage that it is a view of.
        dtype: Type of its numbers.
        offset: Place of its first number in the storage, in numbers.
        shape: Its shape.
        stride: Distance of its neighbours along each axis, in numbers.
    """

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> Tensor:
        """The tensor itself, a view of the file's bytes.

        Raises:
            RuntimeError: It reaches beyond its storage.
            ValueError: The file does not contain its storage.
        """
        return self.storage.numbers(self.dtype).as_strided(self.shape, self.stride, self.offset)


def view(storage: object, offset: object, shape: object, stride: object, dtype: torch.dtype | None = None) -> Stored:
    """A checked view of a storage; the arguments come from a pickle and may be anything.

    Raises:
        ValueError: They do not describe a tensor.
    """
    found = dtype or (storage.dtype if isinstance(storage, Storage) else None)
    if not isinstance(storage, Storage) or found is None or not isinstance(offset, int):
        raise ValueError("a tensor without a storage")
    return Stored(storage, found, offset, _whole(shape), _whole(stride))


def contiguous(storage: Storage, dtype: torch.dtype, shape: Sequence[int]) -> Stored:
    """A tensor that fills its storage in row-major order."""
    strides, step = [], 1
    for side in reversed(shape):
        strides.append(step)
        step *= side
    return Stored(storage, dtype, 0, tuple(shape), tuple(reversed(strides)))


def cut(content: memoryview, start: int, size: int) -> memoryview:
    """A piece of the file.

    Raises:
        ValueError: The file ends before it.
    """
    if not 0 <= start <= start + size <= len(content):
        raise ValueError(f"it {CUT_OFF}")
    return content[start : start + size]


def _whole(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or not all(isinstance(one, int) and one >= 0 for one in values):
        raise ValueError("a tensor without a shape")
    return tuple(values)
