"""Why a checkpoint does not fit an architecture, in words."""

from __future__ import annotations

from collections import Counter

from stages.classify.checkpoints.fit import LISTED, Fit, Places, required

_OF_PROFILERS = ("total_ops", "total_params")
"""Buffers that a well-known counter of operations leaves in every module."""


def is_counter(path: str, places: Places) -> bool:
    """Whether a tensor is a single number that counts something, and no part of the computation."""
    tensor = places.found[path].tensor
    single = sum(tensor.shape) == len(tensor.shape)
    return single and (not tensor.dtype.is_floating_point or path.endswith(_OF_PROFILERS))


def misfit(places: Places, architecture: str) -> str:
    """The end of a sentence that begins with the file: what does not fit, with the first keys of both sides.

    Args:
        places: The checkpoint.
        architecture: Name of the network.
    """
    if not places.found:
        return "is not a readable checkpoint of tensors: it holds none by name; save model.state_dict()"
    near = places.nearest()
    needed = required(places.shapes)
    names = [name for name in places.shapes if name in needed]
    if near is None or len(needed & near.paths.keys()) * 2 < len(needed):
        near = Fit((_largest_holder(places),), {})
    lacking = [name for name in names if name not in near.paths]
    extra = [path for path in places.extra(near) if not is_counter(path, places)]
    if not near.paths:
        extra = [path for path, one in places.found.items() if one.holder == near.prefixes[0]]
    start = f"does not fit {architecture}: "
    if not lacking and (misshapen := places.misshapen(near)):
        return start + _of_shapes(misshapen, near, places)
    own = _keys(extra, near.prefixes[0]) or _keys(list(near.paths.values()), near.prefixes[0])
    theirs = _keys(lacking) or _keys(names)
    return start + (
        f"it lacks {len(lacking)} tensors, {'first' if lacking else 'and of'} {theirs}, "
        f"and has {len(extra)} others, {'first' if extra else 'beside'} {own}"
    )


def _of_shapes(names: list[str], fit: Fit, places: Places) -> str:
    pairs = [(places.found[fit.paths[name]].tensor.shape, places.shapes[name]) for name in names]
    counts = {(there[:1], own[:1]) for there, own in pairs}
    head = len(counts) == 1 and all(there[1:] == own[1:] for there, own in pairs)
    more = f" and {len(names) - 1} more have others" if len(names) > 1 else ""
    return f"{fit.paths[names[0]]} has shape {pairs[0][0]}, the network's {pairs[0][1]}{more}; " + (
        f"num_classes={pairs[0][0][0]} fits" if head else "is arch right?"
    )


def _largest_holder(places: Places) -> str:
    return Counter(one.holder for one in places.found.values()).most_common(1)[0][0]


def _keys(paths: list[str], prefix: str = "") -> str:
    return ", ".join(path.removeprefix(f"{prefix}.") for path in paths[:LISTED])
