"""The choice among weights of a checkpoint that fit alike, such as plain and averaged ones."""

from __future__ import annotations

import re

import torch

from stages.classify.checkpoints.fit import Fit, Places
from stages.errors import ConfigurationError

EMA, PLAIN = "ema", "plain"
OPTIMIZER = re.compile(r"optim\w*|(max_)?exp_avg\w*|momentum(_buffers?)?|grads?|gradients?")
"""Names of what an optimizer keeps for each parameter, in the shape of the parameter."""


def choose(fits: list[Fit], places: Places, weights: str, path: object) -> tuple[Fit, list[str]]:
    """One of several fits, and what the user should know about it.

    Where nothing is asked for, ``state_dict`` or ``model`` comes before other places, and the trained weights before
    their averages: what is called so is what most programs go on training, test and publish, and it is what versions
    before the choice existed took.

    Args:
        fits: The fits, at least one.
        places: The checkpoint.
        weights: ``ema`` or ``plain``, or the place itself, such as ``student``; empty for none.
        path: The file, for messages.

    Raises:
        ConfigurationError: There are no such weights, or several.
    """
    distinct = _distinct([fit for fit in fits if not _of_optimizer(fit)] or fits, places)
    average = {fit.place: is_average(fit, places) for fit in distinct}
    wanted = [fit for fit in distinct if not weights or _is_called(fit, weights, average[fit.place])]
    if not wanted:
        offered = ", ".join(f"{place} ({EMA if averaged else PLAIN})" for place, averaged in average.items())
        raise ConfigurationError(f"weights={weights}: {path} has no such weights that fit, only {offered}", "network")

    def rank(fit: Fit) -> tuple[bool, int, bool]:
        inside_network = any(places.found[one].network for one in fit.paths.values())
        top = fit.prefixes[0].partition(".")[0]
        return inside_network, {"": 0, "state_dict": 0, "model": 1}.get(top, 2), average[fit.place]

    wanted.sort(key=rank)
    taken, *others = wanted
    if others and rank(others[0]) == rank(taken):
        raise ConfigurationError(
            f"{path} holds several networks that fit: {', '.join(fit.place for fit in wanted)}; "
            f"choose one with &weights={taken.place}",
            "network",
        )
    rest = [fit for fit in distinct if fit is not taken]
    return taken, _said(taken, rest, average)


def _said(taken: Fit, rest: list[Fit], average: dict[str, bool]) -> list[str]:
    if not any(average.values()):
        others = ", ".join(fit.place for fit in rest)
        return [f"weights: {taken.place} was taken; {others} would fit too, with &weights=NAME"] if rest else []
    kind = "averaged (EMA)" if average[taken.place] else "plain"
    line = f"weights: the {kind} ones were taken, {taken.place}"
    other = next((fit for fit in rest if average[fit.place] != average[taken.place]), None)
    if other:
        option = PLAIN if average[taken.place] else EMA
        line += f"; &weights={option} takes the {'plain' if option == PLAIN else 'averaged'} ones, {other.place}"
    return [line]


def _distinct(fits: list[Fit], places: Places) -> list[Fit]:
    """The fits without those whose tensors another one has under other names."""
    found: list[Fit] = []
    for fit in fits:
        if not any(_same(fit, other, places) for other in found):
            found.append(fit)
    return found


def _same(one: Fit, other: Fit, places: Places) -> bool:
    for name, path in one.paths.items():
        first, second = (places.found[where].tensor for where in (path, other.paths.get(name, path)))
        if first != second and (first.shape != second.shape or not torch.equal(first.read(), second.read())):
            return False
    return True


def _of_optimizer(fit: Fit) -> bool:
    """Whether the tensors are moments or gradients, which fit as well as the weights that they belong to."""
    return any(OPTIMIZER.fullmatch(part.lower()) for prefix in fit.prefixes for part in prefix.split("."))


def _is_called(fit: Fit, weights: str, averaged: bool) -> bool:
    if weights in (EMA, PLAIN):
        return averaged == (weights == EMA)
    return any(f".{weights}." in f".{prefix}." for prefix in fit.prefixes)


def is_average(fit: Fit, places: Places) -> bool:
    """Whether weights are averages over training steps: by the names around them, or a count of what was averaged."""
    top = fit.prefixes[0].partition(".")[0]
    tops = {path.partition(".")[0] for path in places.found}
    # Two trainers put the average where the trained weights usually stand, because it is what they evaluate:
    # mmengine, whose averages count their steps, and Lightning's WeightAveraging.
    swapped = "ema_state_dict.steps" in places.found or "current_model_state" in tops
    if swapped and top in ("state_dict", "ema_state_dict", "current_model_state"):
        return top == "state_dict"
    holders = {places.found[path].holder for path in fit.paths.values()}
    counted = any(f"{holder}.n_averaged".removeprefix(".") in places.found for holder in holders)
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", " ".join(fit.prefixes))
    return counted or any(re.fullmatch(r"ema|swa|avg|averag\w*|shadow|polyak", word.lower()) for word in words)
