"""Files that people take for checkpoints: what they are, and the way out."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from stages.errors import ConfigurationError

_STARTS = {
    b"": "is empty",
    b"\x1f\x8b": "is compressed with gzip; unpack it with gunzip",
    b"BZh": "is compressed with bzip2; unpack it with bunzip2",
    b"\xfd7zXZ": "is compressed with xz; unpack it with unxz",
    b"\x89HDF": "is an HDF5 file, as Keras writes it, not a checkpoint of PyTorch",
    b"version https://git-lfs": "is only a pointer to a file in Git LFS; fetch the file with git lfs pull",
    b"<": "is a web page, not a checkpoint; download it again",
}


def check_start(path: Path, start: bytes) -> None:
    """Refuse a file whose first bytes say that it is something else.

    Raises:
        ConfigurationError: It is.
    """
    for sign, what in _STARTS.items():
        if start.startswith(sign) if sign else not start:
            raise ConfigurationError(f"{path} {what}", about="network")


def check_archive(path: Path, members: Collection[str]) -> None:
    """Refuse a zip file that is not an archive of a checkpoint, from the names in it: nothing of a program runs.

    Raises:
        ConfigurationError: It is something else.
    """
    names = {name.partition("/")[2] or name for name in members}
    programs = {
        "constants.pkl": ("a TorchScript archive", f"torch.jit.load({path.name!r}).state_dict()"),
        "models/model.json": ("an exported program", f"torch.export.load({path.name!r}).state_dict"),
        "serialized_exported_program.json": ("an exported program", f"torch.export.load({path.name!r}).state_dict"),
    }
    for name, (kind, tensors) in programs.items():
        if name in names:
            raise ConfigurationError(
                f"{path} is {kind}, which would run code, not a checkpoint of tensors; save those of it, by "
                f"torch.save({tensors}, 'tensors.pt')",
                about="network",
            )
    if "data.pkl" not in names:
        held = next((name for name in members if name.endswith((".pt", ".pth", ".bin", ".ckpt", ".safetensors"))), "")
        way_out = f"unpack it and name {held}" if held else "it holds no checkpoint of PyTorch"
        raise ConfigurationError(f"{path} is a zip file; {way_out}", about="network")
