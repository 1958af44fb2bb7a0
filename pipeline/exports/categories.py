"""The classes of an export: those of the dataset, in its own words and order."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.store.rundir import RunDir
from stages.classes import ClassInfo


class Categories:
    """The classes of a run's labels.

    They are the dataset's, used or not, and behind them those of other boxes in the network's words. Where the dataset
    has the network's own classes or none, they are the classes that occur.

    Args:
        run: The run.
        used: Classes of the run, by number, that boxes and labels have.
        named: Names that reviewed boxes have.

    Attributes:
        classes: The classes in order.
        index_of: Place in them by class of the run.
        index_named: Place in them by name: in the dataset's words, or else in the network's.
    """

    def __init__(self, run: RunDir, used: Iterable[int] = (), named: Iterable[str] = ()) -> None:
        network, own = run.classes(), run.info().dataset_classes
        output_of = {info.name: output for output, info in reversed(list(enumerate(network)))}
        self.index_of: dict[int, int] = {}
        self.classes: list[ClassInfo] = []
        for name, output in own.items():
            if output >= 0:
                self.index_of.setdefault(output, len(self.classes))
            self.classes.append(ClassInfo(name, network[output].wnid if output >= 0 else None))
        further = {*used, *(output_of[name] for name in named if name not in own and name in output_of)} - {-1}
        for output in sorted(further - self.index_of.keys()):
            self.index_of[output] = len(self.classes)
            self.classes.append(network[output])
        in_words = {name: self.index_of[output] for name, output in output_of.items() if output in self.index_of}
        self.index_named = in_words | {info.name: place for place, info in enumerate(self.classes)}
