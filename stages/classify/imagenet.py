"""The 1000 classes of ILSVRC, in the order that every pretrained network uses: sorted wnid."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from stages.ingest.dataset import ClassInfo


@cache
def imagenet_classes() -> tuple[ClassInfo, ...]:
    """The classes by output index, each with its wnid and torchvision's unique name.

    >>> imagenet_classes()[0]
    ClassInfo(name='tench', wnid='n01440764')
    """
    table = files("stages.classify").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines())
    return tuple(ClassInfo(name=name, wnid=wnid) for wnid, name in rows)
