"""Networks that come as programs: TorchScript and exported ones."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from stages.errors import ConfigurationError, first_line


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
