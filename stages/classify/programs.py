"""Networks that come as programs: TorchScript and exported ones, told apart from checkpoints of tensors."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.errors import ConfigurationError, first_line


def check_tensors(path: Path) -> None:
    """Check that a file is no program, from the names in its archive alone: nothing of it runs.

    Raises:
        ConfigurationError: It is one; the message says how its tensors are taken out.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except zipfile.BadZipFile:
        return  # Whoever reads it says what is wrong with it.
    if "constants.pkl" in names:
        kind, tensors = "a TorchScript archive", f"torch.jit.load({path.name!r}).state_dict()"
    elif names & {"models/model.json", "serialized_exported_program.json"}:
        kind, tensors = "an exported program", f"torch.export.load({path.name!r}).state_dict"
    else:
        return
    raise ConfigurationError(
        f"{path} is {kind}, which would run code, not a checkpoint of tensors; save those of it, by "
        f"torch.save({tensors}, 'tensors.pt')",
        about="network",
    )


def as_module(made: Any) -> Any:
    """The tree of modules of an exported program; anything else itself.

    Raises:
        ConfigurationError: A program that has no layers to explain, or whose layers are not known.
    """
    if isinstance(made, torch.jit.ScriptModule):
        raise ConfigurationError(
            "a TorchScript network cannot be explained, because no map can be taken out of it; give the nn.Module that "
            "it was made from, with its tensors: module.load_state_dict(script.state_dict())",
            about="network",
        )
    export: Any = sys.modules.get("torch.export")  # If it was never imported, nothing was exported.
    if export is None or not isinstance(made, export.ExportedProgram):
        return made
    try:
        module: nn.Module = export.unflatten(made)
    except Exception as error:  # It may have been exported without its modules.
        raise ConfigurationError(
            f"the layers of the exported program are not known ({first_line(error)}); give the nn.Module that it was "
            "made from",
            about="network",
        ) from error
    return module
