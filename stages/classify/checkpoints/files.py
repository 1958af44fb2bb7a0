"""Files of tensors: PyTorch's archives, its older streams of pickles, plain pickles and safetensors.

The content decides, not the name. No number is read here: the file is mapped into memory, and tensors are views of it.
"""

from __future__ import annotations

import json
import math
import mmap
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import torch

from stages.classify.checkpoints.other_kinds import check_archive, check_start
from stages.classify.checkpoints.pickles import Mapping, read_legacy, read_pickle, storage_key
from stages.classify.checkpoints.storages import CUT_OFF, Storage, Stored, contiguous, cut
from stages.errors import ConfigurationError, UserError, WeightsUnavailableError, first_line

_SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_file(path: Path) -> object:
    """What a file holds: containers and foreign objects with :class:`Stored` tensors in them.

    Raises:
        WeightsUnavailableError: The file does not exist.
        ConfigurationError: It is damaged, or of a kind that holds no tensors by name.
    """
    if path.is_dir():
        raise ConfigurationError(f"{path} is a folder; name the file of weights in it", about="network")
    if not path.is_file():
        raise WeightsUnavailableError(f"no weights at {path}", about="network")
    try:
        with open(path, "rb") as file:
            start = file.read(64)
            check_start(path, start)
            # Copy on write: PyTorch asks for writable memory, and nothing writes to the file.
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            file.seek(0)
            if start.startswith(b"PK\x03\x04"):
                return _read_archive(path, file, content)
            if start[5:9] == b"\0\0\0{":  # The length of a header, and the header.
                return _read_safetensors(content)
            return read_legacy(file, content)
    except UserError:
        raise
    except (BadZipFile, EOFError):
        raise ConfigurationError(f"{path} {CUT_OFF}", about="network") from None
    except Exception as error:  # Bytes that are not a checkpoint may raise anything.
        message = f"{path} is not a readable checkpoint of tensors: {first_line(error)}"
        raise ConfigurationError(message, about="network") from None


def _read_archive(path: Path, file: IO[bytes], content: memoryview) -> Any:
    with ZipFile(file) as archive:
        members = {one.filename: one for one in archive.infolist()}
        check_archive(path, members)
        folder = next(name for name in members if name.rpartition("/")[2] == "data.pkl").removesuffix("data.pkl")
        order = members.get(f"{folder}byteorder")
        if order and bytes(_bytes_of(order, archive, content)) != b"little":
            raise ValueError("its numbers are big-endian")
        storages: dict[str, Storage] = {}

        def storage(about: Any) -> Storage:
            key, dtype = storage_key(about)
            if key not in storages:
                storages[key] = Storage(dtype, _bytes_of(members[f"{folder}data/{key}"], archive, content))
            return storages[key]

        return read_pickle(BytesIO(_bytes_of(members[f"{folder}data.pkl"], archive, content)), storage)


def _bytes_of(member: ZipInfo, archive: ZipFile, content: memoryview) -> memoryview:
    """The content of a member; its checksum is not compared, because PyTorch may be told to write none."""
    if member.compress_type != ZIP_STORED:
        return memoryview(bytearray(archive.read(member)))
    # The header in front of a member, whose last two fields are the lengths of what follows it.
    start = member.header_offset + 30
    lengths = (int.from_bytes(content[at : at + 2], "little") for at in (start - 4, start - 2))
    return cut(content, start + sum(lengths), member.file_size)


def _read_safetensors(content: memoryview) -> dict[str, Stored]:
    begin = 8 + int.from_bytes(content[:8], "little")
    found = Mapping()
    for name, about in json.loads(bytes(cut(content, 8, begin - 8))).items():
        dtype = _SAFETENSORS.get(about.get("dtype"))
        if dtype is None:
            continue  # A remark about the file, or numbers that PyTorch does not have.
        size = math.prod(about["shape"]) * dtype.itemsize
        storage = Storage(dtype, cut(content, begin + about["data_offsets"][0], size))
        found[name] = contiguous(storage, dtype, about["shape"])
    return found
