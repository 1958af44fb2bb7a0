"""Classes of datasets and networks, and the 1000 classes of ILSVRC."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class ClassInfo:
    """A class of a dataset or of a network.

    Attributes:
        name: Readable name, unique within its list.
        wnid: WordNet id such as ``n01440764``, where there is one.
    """

    name: str
    wnid: str | None = None


@cache
def imagenet_classes() -> tuple[ClassInfo, ...]:
    """The classes of ILSVRC in the order that every pretrained network uses: by wnid.

    Each has its wnid and torchvision's unique name.

    >>> imagenet_classes()[0]
    ClassInfo(name='tench', wnid='n01440764')
    """
    return tuple(ClassInfo(name=name, wnid=wnid) for wnid, name, _ in _imagenet_table())


@cache
def ilsvrc_ids() -> dict[int, int]:
    """Indices of the classes of :func:`imagenet_classes` by ILSVRC id, the devkit's number of a class, 1 to 1000.

    >>> ilsvrc_ids()[449]
    0
    """
    return {int(number): index for index, (_, _, number) in enumerate(_imagenet_table())}


def _imagenet_table() -> list[list[str]]:
    """Rows of wnid, name and ILSVRC id."""
    table = files("stages").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    return [line.split("\t") for line in table.splitlines()]
