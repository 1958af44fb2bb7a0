"""Checkpoints on disk: read without running code from them, and fingerprinted."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.classify.programs import check_tensors
from stages.errors import ConfigurationError, WeightsUnavailableError, first_line


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_sha256(module: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of a module's tensors, for weights that do not come from a file."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        if not isinstance(tensor, Tensor):  # What get_extra_state() gives may be anything.
            continue
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of a PyTorch checkpoint.

    A training checkpoint that nests its tensors under ``state_dict`` or ``model`` is unwrapped, and
    ``module.`` prefixes of data-parallel training are removed.

    Raises:
        WeightsUnavailableError: The file does not exist.
        ConfigurationError: The file holds something other than tensors, or is damaged.
    """
    if not path.is_file():
        raise WeightsUnavailableError(f"no weights at {path}", about="network")
    check_tensors(path)
    state: object
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise ConfigurationError(f"{path} needs pip install safetensors", about="network") from None
    except pickle.UnpicklingError:
        raise ConfigurationError(
            f"{path} is not a readable checkpoint of tensors; save model.state_dict(), not the model", about="network"
        ) from None
    except Exception as error:  # The readers may raise anything for bytes that are not a checkpoint.
        message = f"{path} is not a readable checkpoint of tensors: {first_line(error)}"
        raise ConfigurationError(message, about="network") from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(nested := state.get(key), dict):
            state = nested
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ConfigurationError(f"{path} does not hold a dict of tensors", about="network")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def load_into(module: nn.Module, path: Path) -> None:
    """Load every tensor of a checkpoint into a module.

    Raises:
        ConfigurationError: Names or shapes do not fit; the message gives the number of tensors and the first name.
    """
    state = load_tensors(path)
    own = module.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in own]
    for what, names in (("lacks", missing), ("has in addition to the network's", extra)):
        if names:
            raise ConfigurationError(
                f"{path} does not fit the network: it {what} {len(names)} tensors, first {names[0]}", about="network"
            )
    for name in own:
        if name in state and own[name].shape != state[name].shape:
            raise ConfigurationError(
                f"{path} does not fit the network: {name} has shape {tuple(state[name].shape)}, "
                f"the network's {tuple(own[name].shape)}; is num_classes right?",
                about="network",
            )
    module.load_state_dict(state, strict=False)
