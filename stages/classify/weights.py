"""Weights on disk: fingerprinted, and loaded into a network without running code from the file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from stages.classify.checkpoints.choose import choose, is_average
from stages.classify.checkpoints.files import read_file
from stages.classify.checkpoints.find import find_tensors
from stages.classify.checkpoints.fit import Fit, Places, without_wrappers
from stages.classify.checkpoints.misfit import is_counter, misfit
from stages.errors import ConfigurationError


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
    """All tensors of a file, by name.

    Raises:
        WeightsUnavailableError: The file does not exist.
        ConfigurationError: The file is damaged or of another kind.
    """
    return {name: one.tensor.read().clone() for name, one in find_tensors(read_file(path)).items()}


def load_into(module: nn.Module, path: Path, weights: str = "", architecture: str = "the network") -> list[str]:
    """Load every tensor of a network from a checkpoint, wherever in the checkpoint they are.

    Numbers of any type become those of the network's own type. A first convolution with one input channel in the
    checkpoint becomes one in the network.

    Args:
        module: The network.
        path: The checkpoint.
        weights: Which of several weights that fit, see :func:`stages.classify.checkpoints.choose.choose`.
        architecture: Name of the network, for messages.

    Returns:
        What was chosen, stripped and cast, one line each.

    Raises:
        WeightsUnavailableError: The file does not exist.
        ConfigurationError: It is damaged or does not fit; the message names the first keys of both sides.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found, wrappers = find_tensors(read_file(path)), list[str]()
    places = Places.of(found, shapes)
    if not places.fits():
        unwrapped, names = without_wrappers(found, shapes)
        if names and (inner := Places.of(unwrapped, shapes)).fits():
            places, wrappers = inner, names
    whole = places.fits()
    if whole:
        buffers = [name for name, _ in module.named_buffers()]
        whole += [one for one in places.of_parameters(whole[0], buffers) if is_average(one, places)]
    claimed = {path for fit in whole for path in fit.paths.values()}
    fits = [fit for fit in whole if all(path in claimed or is_counter(path, places) for path in places.extra(fit))]
    if not fits:
        raise ConfigurationError(f"{path} {misfit(places, architecture)}", about="network")
    try:
        taken, notes = choose(fits, places, weights, path)
        _check_real(module, taken, places, path)
        _load(module, taken, places)
    except (RuntimeError, ValueError):  # From PyTorch, on a view beyond its storage.
        message = f"{path} is damaged: a tensor in it has more numbers than are there"
        raise ConfigurationError(message, about="network") from None
    return [*notes, *_noted(taken, places, wrappers, claimed, named=bool(notes))]


def _check_real(module: nn.Module, fit: Fit, places: Places, path: Path) -> None:
    """Whole numbers in place of weights are rounded ones, whose scale stands elsewhere."""
    real = {name for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
    taken = [place for name, place in fit.paths.items() if name in real]
    whole = [place for place in taken if not places.found[place].tensor.dtype.is_floating_point]
    if whole:
        kind = str(places.found[whole[0]].tensor.dtype).removeprefix("torch.")
        raise ConfigurationError(
            f"{path} has {len(whole)} tensors of {kind} where the network has real numbers, first {whole[0]}: it is "
            "quantized; save the weights from before that",
            about="network",
        )


def _load(module: nn.Module, fit: Fit, places: Places) -> None:
    grey = places.one_channel(fit)
    for name in grey:
        convolution = module.get_submodule(name.rpartition(".")[0])
        if isinstance(convolution, nn.Conv2d):
            shape = places.found[fit.paths[name]].tensor.shape
            convolution.weight, convolution.in_channels = nn.Parameter(torch.empty(shape)), 1
    tensors = {name: places.found[path].tensor for name, path in fit.paths.items()}
    # Counts of batches may have the shape of older versions.
    fitting = {name: one.read() for name, one in tensors.items() if one.shape == places.shapes[name] or name in grey}
    module.load_state_dict(fitting, strict=False)


def _noted(fit: Fit, places: Places, wrappers: list[str], claimed: set[str], named: bool) -> list[str]:
    """What the user should know about the tensors that were taken; their place only if no other line names it."""
    taken = [places.found[path] for path in fit.paths.values()]
    holders = list(dict.fromkeys(one.holder for one in taken))
    stripped = []
    for prefix in fit.prefixes:
        holder = next((one for one in holders if one and f"{prefix}.".startswith(f"{one}.")), "")
        stripped.append(prefix.removeprefix(holder).removeprefix("."))
    stripped = [f"{name}." for name in [*stripped, *wrappers] if name]
    said = [f"taken from {' and '.join(holders)}"] if any(holders) and not named else []
    said += [f"{' and '.join(map(repr, stripped))} stripped from the names"] if stripped else []
    notes = [f"weights: {', '.join(said)}"] if said else []
    if borrowed := [path for path in fit.paths.values() if not path.startswith(fit.starts)]:
        notes.append(f"weights: they are parameters alone; {len(borrowed)} buffers are {borrowed[0]} and others")
    if taken[0].network:
        notes.append(f"weights: the tensors of a pickled {taken[0].network}, none of whose code was run")
    others = {str(one.tensor.dtype).removeprefix("torch.") for one in taken if one.tensor.dtype.is_floating_point}
    if others := others - {"float32"}:
        notes.append(f"weights: {', '.join(sorted(others))} in the file, computed in float32")
    beside = [path for path, one in places.found.items() if one.holder in holders and path not in claimed]
    beside = [path for path in beside if not is_counter(path, places)]
    if beside:
        notes.append(f"weights: {len(beside)} tensors beside them are not used, first {beside[0]}")
    return notes
