"""From a dataset's classes to a network's outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from stages.classes import ClassInfo, Names, shown
from stages.classify.class_map import ClassMap, mapped_outputs
from stages.errors import ConfigurationError


@dataclass(frozen=True)
class Match:
    """The classes of a run: those of the network, in which the outputs of a dataset's class are one.

    Attributes:
        outputs: Network outputs of each class of the dataset, ascending; none where the network has no such class.
        classes: Classes by network output. A class with several outputs has the number of the first; those of the
            others are not used.
        unknown: Why a class of the dataset has no outputs, by its index.
        notes: Oddities of the match, one line each.
    """

    outputs: list[tuple[int, ...]]
    classes: list[ClassInfo]
    unknown: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[int]:
        """The class of the run for each class of the dataset, -1 for none."""
        return [outputs[0] if outputs else -1 for outputs in self.outputs]

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """The outputs of each class that has several."""
        return sorted({outputs for outputs in self.outputs if len(outputs) > 1})


def match_classes(
    dataset: Sequence[ClassInfo], network: Sequence[ClassInfo], num_outputs: int, class_map: ClassMap | None = None
) -> Match:
    """The network outputs of every class of a dataset.

    They are those that the class map names, else the one with the wnid of the class, else the one with its name as
    it stands, else the one whose name is the same in the form of :func:`stages.classes.comparable`. Without a map,
    and where the network does not name its classes, the position decides.

    Args:
        dataset: The dataset's classes in label order.
        network: The network's classes in output order; empty where their names are unknown.
        num_outputs: Number of the network's outputs.
        class_map: Names, wnids or numbers of network outputs by the name of a dataset's class.

    Raises:
        ConfigurationError: The map names no class of the network, or puts one under two classes of the dataset.
    """
    if not (network or class_map) and len(dataset) == num_outputs > 0:
        first = shown(dataset[0].name)
        note = f"the network does not name its classes: they are taken in the dataset's order, {first} first"
        return Match([(index,) for index in range(num_outputs)], list(dataset), notes=[note])
    named = list(network) or [ClassInfo(str(index)) for index in range(num_outputs)]
    known = Names([info.name for info in named])
    wnids = {info.wnid: index for index, info in enumerate(named) if info.wnid}
    mapped, notes = mapped_outputs(class_map or {}, Names([info.name for info in dataset]), known, wnids)
    _check_apart(dataset, mapped, known)
    taken = {index: label for label, outputs in mapped.items() for index in outputs}
    # Two wnids are two classes, whatever they are called, if both are of one kind.
    strict = any(info.wnid in wnids for info in dataset)
    outputs, unknown = [], {}
    for label, info in enumerate(dataset):
        found, reason = [], ""
        if label in mapped:
            found, reason = mapped[label], "the class map gives it none"
        elif network:
            found = [wnids[info.wnid]] if info.wnid in wnids else known.find(info.name)
            found = [one for one in found if not (strict and info.wnid and named[one].wnid not in (None, info.wnid))]
            found, reason = (found, "") if len(found) == 1 else ([], _reason(info, found, known))
            owner = taken.get(found[0]) if found else None
            if owner is not None and mapped[owner] != found:
                reason = f"the class map gives {shown(known.names[found[0]])} to {shown(dataset[owner].name)}"
                found = []
        outputs.append(tuple(found))
        if not found:
            unknown[label] = reason
    if dataset and not network:
        notes.append(f"the network does not name its {num_outputs} classes")
    notes += _repeated(known) + _shared(dataset, outputs, known)
    return Match(outputs, _renamed(dataset, named, outputs, mapped), unknown, notes)


def _reason(info: ClassInfo, found: list[int], known: Names) -> str:
    if found:
        return f"it may be any of {known.listed(found)}"
    near = known.nearest(info.name)
    return f"nearest: {shown(near)}" if near else ""


def _check_apart(dataset: Sequence[ClassInfo], mapped: dict[int, list[int]], known: Names) -> None:
    """Check that classes share all of their outputs or none: otherwise a prediction would be of two classes."""
    owner: dict[int, int] = {}
    for label, outputs in mapped.items():
        for index in outputs:
            other = owner.setdefault(index, label)
            if mapped[other] != outputs:
                raise ConfigurationError(
                    f"{shown(known.names[index])} belongs to {shown(dataset[other].name)} and to "
                    f"{shown(dataset[label].name)}; give each class of the network to one",
                    about="class_map",
                )


def _repeated(known: Names) -> list[str]:
    """A note on the names that several outputs have."""
    repeated = [shown(name) for name, times in Counter(known.names).items() if times > 1]
    return [f"{len(repeated)} names stand several times among the network's: {', '.join(repeated)}"] if repeated else []


def _shared(dataset: Sequence[ClassInfo], outputs: list[tuple[int, ...]], known: Names) -> list[str]:
    """A note on every group of classes that are one class of the network."""
    owners: dict[tuple[int, ...], list[str]] = {}
    for info, group in zip(dataset, outputs, strict=True):
        owners.setdefault(group, []).append(shown(info.name))
    return [
        f"the classes {', '.join(names)} are one class of the network, {known.listed(group)}, and scored as one"
        for group, names in owners.items()
        if group and len(names) > 1
    ]


def _renamed(
    dataset: Sequence[ClassInfo],
    named: list[ClassInfo],
    outputs: list[tuple[int, ...]],
    mapped: dict[int, list[int]],
) -> list[ClassInfo]:
    """The network's classes, with the dataset's words for those of a map, and every name still once."""
    words: dict[int, ClassInfo] = {}
    for label in sorted(mapped, reverse=True):
        if group := outputs[label]:
            wnid = named[group[0]].wnid if len(group) == 1 else dataset[label].wnid
            words[group[0]] = ClassInfo(dataset[label].name, wnid)
    taken = {info.name for info in words.values()}
    classes = [words.get(index, info) for index, info in enumerate(named)]
    return [
        ClassInfo(f"{info.name} ({info.wnid or index})", info.wnid)
        if index not in words and info.name in taken
        else info
        for index, info in enumerate(classes)
    ]
