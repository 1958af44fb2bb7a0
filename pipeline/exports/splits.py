"""Division of a dataset into parts such as train and val."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from stages.errors import ConfigurationError
from stages.formats.labels import Labelled


def parse_shares(text: str) -> dict[str, float]:
    """Shares of the images by the name of their part.

    Raises:
        ConfigurationError: It is not of the form ``train=0.8,val=0.2``, or does not add up to 1.

    >>> parse_shares("train=0.8, val=0.2")
    {'train': 0.8, 'val': 0.2}
    """
    shares: dict[str, float] = {}
    for pair in text.split(","):
        name, _, number = (word.strip() for word in pair.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        # A part of that name would take the place of another key of YOLO's data.yaml.
        taken = {one.lower() for one in shares}  # Some disks take train and Train for one folder.
        usable = name.isidentifier() and name.lower() not in {*taken, "names", "nc", "path"}
        if not (usable and 0 < share <= 1):
            raise ConfigurationError(f"{pair.strip() or text!r} is no part; write train=0.8,val=0.2", about="parts")
        shares[name] = share
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise ConfigurationError(f"the parts of {text} add up to {sum(shares.values()):g}, not to 1", about="parts")
    return shares


def divided(images: Sequence[Labelled], shares: dict[str, float], seed: int) -> dict[str, list[Labelled]]:
    """The images of each part, each class divided by the same shares.

    Which part an image is in depends on the seed and on the ids of the images of its class.

    Args:
        images: The images.
        shares: Shares by part, as :func:`parse_shares` returns them.
        seed: Seed of the order in which the images of a class are dealt out.
    """
    by_class: dict[int, list[Labelled]] = {}
    for one in images:
        by_class.setdefault(one.image.label, []).append(one)
    part_of: dict[int, str] = {}
    carried = dict.fromkeys(shares, 0.0)  # What rounding took from a part in the classes before.
    for own in by_class.values():
        own.sort(key=lambda one: hashlib.sha256(f"{seed} {one.image.image_id}".encode()).digest())
        for one in own:
            for name, share in shares.items():
                carried[name] += share
            chosen = max(carried, key=carried.__getitem__)
            carried[chosen] -= 1
            part_of[one.image.image_id] = chosen
    return {name: [one for one in images if part_of[one.image.image_id] == name] for name in shares}
