"""Pickles read without running anything in them.

A pickle names functions and classes of any module and has them called. Here a name means one of two things: a row
of the small table below, whose functions are this module's own and only describe tensors, or a
:class:`Foreign`, which keeps what it is given and does nothing. No module is imported, and no class of another
library is made, so a checkpoint may hold the objects of libraries that are not installed.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from io import BytesIO
from typing import IO, Any

import torch

from stages.classify.checkpoints.storages import Storage, Stored, cut, view

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    # Quantized numbers, whose tensors are foreign.
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
    "UntypedStorage": None,
}


_MAGIC = 0x1950A86A20F9469CFC6C
"""The first object of PyTorch's older files."""


class Foreign:
    """Stands for any object of a class that is not known here.

    Attributes:
        origin: Dotted name of the class or function.
        given: The arguments that it was to be called with.
        state: The attributes that it was to have, by name.
        entries: The items that it was to hold, by key or number.
    """

    origin = ""
    given: tuple[Any, ...]
    state: dict[Any, Any]
    entries: dict[Any, Any]

    def __new__(cls, *given: object, **named: object) -> Foreign:
        """Keep the arguments; the class that was named does not exist here."""
        self = super().__new__(cls)
        self.given, self.state, self.entries = given, dict(named), {}
        return self

    def __init__(self, *given: object, **named: object) -> None:
        """Nothing is done with the arguments."""

    def __setstate__(self, state: object) -> None:
        """Keep the attributes; ``__setstate__`` of the class that was named does not exist here."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.state.update(part)
            else:
                self.given += (part,)

    def __call__(self, *given: object, **named: object) -> Foreign:
        """Stand for what a function or a method would return."""
        return Foreign(*given, **named)

    def __setitem__(self, key: object, value: object) -> None:
        self.entries[key] = value

    def append(self, value: object) -> None:
        """Keep an element of a foreign list or set."""
        self.entries[len(self.entries)] = value

    add = append

    def extend(self, values: list[object]) -> None:
        """Keep elements of a foreign list."""
        for value in values:
            self.append(value)


class Mapping(dict[Any, Any]):
    """A dict of any kind; what else such a dict keeps, such as the default of a ``defaultdict``, is left out."""

    def __init__(self, pairs: object = None, *_: object) -> None:
        super().__init__(pairs if isinstance(pairs, list | dict) else ())

    def __setstate__(self, state: object) -> None:
        """PyTorch's versions of modules are kept here; they are not used."""


def read_pickle(file: IO[bytes], storage: Callable[[Any], object]) -> Any:
    """The next object of a file of pickles.

    Args:
        file: The file, whose position moves behind the pickle.
        storage: Called with what a pickle says of each of its storages; returns what stands for it.

    Raises:
        Exception: The bytes are not a pickle; the type may be any.
    """
    return _Reader(file, storage).load()


def read_legacy(file: IO[bytes], content: memoryview) -> Any:
    """A stream of pickles, with the numbers of the storages behind them; or a plain pickle.

    Args:
        file: The file, at its beginning.
        content: All its bytes.

    Raises:
        Exception: The bytes are something else; the type may be any.
    """
    storages: dict[str, Storage] = {}

    def storage(about: Any) -> object:
        if isinstance(about, tuple) and about[:1] == ("module",):
            return about[1]  # A class, which is saved with its source.
        key, dtype = storage_key(about)
        if len(about) > 5 and about[5] is not None:
            raise ValueError("its storages overlap, as before PyTorch 0.4; save it again")
        return storages.setdefault(key, Storage(dtype))

    root = read_pickle(file, storage)
    if not isinstance(root, int) or root != _MAGIC:
        return root
    _protocol, _machine, root, keys = (read_pickle(file, storage) for _ in range(4))
    for key in keys:
        one = storages[str(key)]
        size = int.from_bytes(file.read(8), "little") * (one.dtype.itemsize if one.dtype else 1)
        start = file.tell()
        one.content = cut(content, start, size)
        file.seek(start + size)
    return root


def storage_key(about: Any) -> tuple[str, torch.dtype | None]:
    """The key and type of a storage, from what a pickle says of it.

    Raises:
        ValueError: It says something else.
    """
    if isinstance(about, tuple) and len(about) >= 5 and about[0] == "storage" and isinstance(about[1], _Type):
        return str(about[2]), about[1].dtype
    raise ValueError("a storage of an unknown kind")


class _Type:
    """The class of a storage, which only says the type of its numbers."""

    def __init__(self, dtype: torch.dtype | None) -> None:
        self.dtype = dtype

    def __setstate__(self, state: object) -> None:
        """Nothing in a pickle changes it."""


class _Function:
    """A function of the table, to which a pickle can add no attributes."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self.call = call

    def __call__(self, *given: object) -> object:
        return self.call(*given)

    def __setstate__(self, state: object) -> None:
        """Nothing in a pickle changes it."""


class _Reader(pickle.Unpickler):
    def __init__(self, file: IO[bytes], storage: Callable[[Any], object]) -> None:
        super().__init__(file, encoding="latin1")  # Python 2's strings; every byte is a character.
        self._storage = storage

    def persistent_load(self, pid: Any) -> object:
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.storage", "torch.cuda") and name in _STORAGES:
            return _Type(_STORAGES[name])
        # Not getattr, for which torch imports parts of itself.
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        return type("Foreign", (Foreign,), {"origin": f"{module}.{name}"})


def _tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> Stored:
    return view(storage, offset, shape, stride)


def _typed_tensor(storage: object, offset: object, shape: object, stride: object, *more: object) -> Stored:
    dtype = more[2] if len(more) > 2 else None
    if not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor without a type")
    return view(storage, offset, shape, stride, dtype)


def _first(value: object, *_: object) -> object:
    return value


def _of_type(rebuild: object, _type: object, given: tuple[object, ...], *_: object) -> object:
    """A tensor of a subclass: the tensor that it is."""
    return rebuild(*given) if isinstance(rebuild, _Function) else Foreign(*given)


def _elements(values: object = (), *_: object) -> tuple[object, ...]:
    return tuple(values) if isinstance(values, list | tuple | set | frozenset) else ()


def _nested(content: bytes) -> object:
    """A storage inside a plain pickle of tensors: PyTorch's file of one storage, as bytes."""
    return read_legacy(BytesIO(content), memoryview(bytearray(content)))


_KNOWN: dict[tuple[str, str], Any] = {
    **{("collections", name): Mapping for name in ("OrderedDict", "defaultdict", "Counter")},
    **{(module, "dict"): Mapping for module in ("builtins", "__builtin__")},
    **{
        (module, name): _Function(_elements)
        for module in ("builtins", "__builtin__")
        for name in ("list", "tuple", "set", "frozenset")
    },
    ("torch", "Size"): _Function(_elements),
    ("torch.storage", "_load_from_bytes"): _Function(_nested),
    ("torch._utils", "_rebuild_tensor"): _Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _Function(_typed_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): _Function(_first),
    ("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"): _Function(_first),
    ("torch._tensor", "_rebuild_from_type"): _Function(_of_type),
    ("torch._tensor", "_rebuild_from_type_v2"): _Function(_of_type),
}
