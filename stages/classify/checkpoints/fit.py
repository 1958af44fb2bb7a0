"""Which tensors of a checkpoint are those of an architecture.

A prefix fits if every tensor of the architecture stands in the checkpoint under the prefix and its own name. It may be
any: the keys of the containers around a state dict and the names of the modules around a network are alike here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from stages.classify.checkpoints.find import Found

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of an architecture's tensors, by name."""

LISTED = 5
"""Number of names that a message lists."""


class Fit(NamedTuple):
    """Tensors that fit an architecture.

    Attributes:
        prefixes: What stands in front of the architecture's names: one prefix, or two where the head stands apart.
        paths: Paths of the tensors in the checkpoint, by the architecture's names.
    """

    prefixes: tuple[str, ...]
    paths: dict[str, str]

    @property
    def place(self) -> str:
        """The prefixes, for people."""
        return " and ".join(self.prefixes) or "the file itself"

    @property
    def starts(self) -> tuple[str, ...]:
        """What paths begin with under the prefixes."""
        return tuple(f"{prefix}." if prefix else "" for prefix in self.prefixes)


class Places(NamedTuple):
    """The places of an architecture's names in a checkpoint.

    Attributes:
        found: All tensors of the checkpoint, by path.
        shapes: Shapes of the architecture's tensors.
        by_prefix: Paths by name, by prefix.
    """

    found: Mapping[str, Found]
    shapes: Shapes
    by_prefix: dict[str, dict[str, str]]

    @classmethod
    def of(cls, found: Mapping[str, Found], shapes: Shapes) -> Places:
        """Look every name up."""
        by_prefix: dict[str, dict[str, str]] = {}
        for path in found:
            parts = path.split(".")
            for start in range(len(parts)):
                name = ".".join(parts[start:])
                if name in shapes:
                    by_prefix.setdefault(".".join(parts[:start]), {})[name] = path
        return cls(found, shapes, by_prefix)

    def fits(self) -> list[Fit]:
        """All prefixes under which every name stands with its shape; others may stand there too, see :meth:`extra`."""
        needed = required(self.shapes)
        whole = [Fit((prefix,), paths) for prefix, paths in self.by_prefix.items() if needed <= paths.keys()]
        if not whole:
            whole = [fit for prefix in self.by_prefix for fit in self._with_head_apart(prefix, needed)]
        return [fit for fit in whole if not self.misshapen(fit) and len(self.one_channel(fit)) < 2]

    def of_parameters(self, whole: Fit, buffers: Collection[str]) -> list[Fit]:
        """The prefixes under which the parameters alone stand, as some averages are kept; each with another's buffers.

        Args:
            whole: Fit whose buffers are used.
            buffers: Names of the architecture's buffers.
        """
        needed = required(self.shapes)
        borrowed = {name: path for name, path in whole.paths.items() if name in buffers}
        found = [
            Fit((prefix,), borrowed | own)
            for prefix, own in self.by_prefix.items()
            if (lacking := needed - own.keys()) and lacking <= set(buffers)
        ]
        return [fit for fit in found if not self.misshapen(fit)]

    def misshapen(self, fit: Fit) -> list[str]:
        """Names under which a tensor of another shape stands, in order, but for :meth:`one_channel`."""
        needed, grey = required(self.shapes), self.one_channel(fit)
        return [
            name
            for name, shape in self.shapes.items()
            if name in needed and name not in grey and self.found[fit.paths[name]].tensor.shape != shape
        ]

    def one_channel(self, fit: Fit) -> list[str]:
        """Names of convolutions of colours that are of one channel in the checkpoint."""
        return [
            name
            for name, path in fit.paths.items()
            if len(shape := self.shapes[name]) == 4
            and shape[1] == 3
            and self.found[path].tensor.shape == (shape[0], 1, *shape[2:])
        ]

    def extra(self, fit: Fit) -> list[str]:
        """Paths of tensors among those of a fit for which the architecture has no name."""
        holders = {self.found[path].holder for path in fit.paths.values()}
        used = set(fit.paths.values())
        return [
            path
            for path, one in self.found.items()
            if path not in used and one.holder in holders and path.startswith(fit.starts)
        ]

    def nearest(self) -> Fit | None:
        """The prefix under which most names stand; the shortest of several."""
        needed = required(self.shapes)
        ranked = sorted(self.by_prefix, key=lambda prefix: (-len(needed & self.by_prefix[prefix].keys()), len(prefix)))
        return Fit((ranked[0],), self.by_prefix[ranked[0]]) if ranked else None

    def _with_head_apart(self, prefix: str, needed: set[str]) -> list[Fit]:
        """The fit of a prefix and the only sibling that holds all the names it lacks."""
        own = self.by_prefix[prefix]
        lacking = needed - own.keys()
        if len(lacking) > len(needed) // 2:
            return []
        parent = prefix.rpartition(".")[0]
        siblings = [
            (other, paths)
            for other, paths in self.by_prefix.items()
            if other != prefix and other and other.rpartition(".")[0] == parent and lacking <= paths.keys()
        ]
        if len(siblings) != 1:
            return []
        other, paths = siblings[0]
        return [Fit((prefix, other), own | {name: paths[name] for name in lacking})]


def required(shapes: Shapes) -> set[str]:
    """The names without which a network is another one. Counts of batches are used in training only."""
    return {name for name in shapes if not name.endswith("num_batches_tracked")}


def without_wrappers(found: Mapping[str, Found], shapes: Shapes) -> tuple[dict[str, Found], list[str]]:
    """The checkpoint without the names of wrappers inside its paths, and these names.

    Compilation and sharding put modules around parts of a network, and begin their names with an underscore.
    """
    own = {part for name in shapes for part in name.split(".")}
    wrappers: dict[str, None] = {}
    shorter: dict[str, Found] = {}
    for path, one in found.items():
        parts = path.split(".")
        kept = [part for part in parts if not part.startswith("_") or part in own]
        wrappers.update(dict.fromkeys(part for part in parts if part not in kept))
        shorter.setdefault(".".join(kept), one)
    return shorter, list(wrappers)
