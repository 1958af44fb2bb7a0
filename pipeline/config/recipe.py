"""Everything that follows from a configuration, derived once for all later modules.

There are two steps. A :class:`Recipe` holds what the configuration alone determines; it is made before any data,
weights or network is touched. The loaded network turns it into a :class:`FullRecipe`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.sections import RULES, Config
from stages.boxes.protocols import Protocol, get_protocol
from stages.classes import ClassInfo
from stages.classify.network import Preprocess
from stages.errors import ConfigurationError
from stages.evaluate.clsloc import digest, read_ids
from stages.evaluate.faithfulness.registry import check_metrics
from stages.explain.method_layers import AT, method_of
from stages.explain.several_scales import FIT_SHARES, Combination
from stages.explain.table import FITTED, check_methods
from stages.explain.targets import of_predictions
from stages.ingest.paths import check_no_secret

if TYPE_CHECKING:
    from stages.explain.foreground.student import Student
    from stages.ingest.levels import Levels


EXPLAINED_AGAIN = ("adcc", "coherency")
"""Metrics of faithfulness that compare a map with that of an altered image."""


@dataclass(frozen=True)
class Recipe:
    """Everything that a configuration alone determines.

    Attributes:
        config: The configuration.
        protocol: The named protocol with its overrides and the digest of its blacklist.
        excluded: (n,) int64 ids of the images that are not scored, ascending.
    """

    config: Config
    protocol: Protocol
    excluded: np.ndarray = field(repr=False, compare=False)

    @classmethod
    def of(cls, config: Config, blacklist: str | None = None) -> Recipe:
        """The recipe of a configuration whose names are known to be valid, such as a run's.

        Args:
            config: The configuration.
            blacklist: Digest that a run keeps of its ``evaluate.blacklist``, whose file may have changed or gone
                since; None reads the file.

        Raises:
            DataError: ``evaluate.blacklist`` cannot be read.
            ConfigurationError: The protocol is unknown or does not allow a value.
        """
        overrides = config.box.model_dump(include=set(RULES), exclude_none=True)
        excluded = np.zeros(0, np.int64)
        if blacklist is None and config.evaluate.blacklist:
            excluded = read_ids(config.evaluate.blacklist)
            blacklist = digest(excluded)
        return cls(config, get_protocol(config.box.protocol, **overrides, blacklist=blacklist or "none"), excluded)

    @property
    def methods(self) -> list[str]:
        """Entries of ``explain.methods``, in order."""
        return self.config.explain.methods

    @property
    def fitted(self) -> list[str]:
        """Those of the methods that are fitted first."""
        return [method for method in self.methods if method_of(method) in FITTED]

    @property
    def combination(self) -> Combination:
        """How ``foreground-cam`` is made."""
        of_foreground, of_maps = self.config.explain.exponents
        return Combination((of_foreground, of_maps), self.config.explain.quantile)

    @property
    def fused_below(self) -> float | None:
        """Share of the cells that become 0 where scales are fused; None where their maps' mean is taken."""
        return self.protocol.fused_below

    @property
    def deltas(self) -> tuple[float, ...]:
        """IoU levels at which a box counts as correct."""
        return tuple(self.config.evaluate.iou)

    @property
    def main_delta(self) -> float:
        """The IoU level shown where only one is: 0.5, or the middle one of the scored levels."""
        deltas = sorted(self.deltas)
        return 0.5 if 0.5 in deltas else deltas[len(deltas) // 2]

    @property
    def seed(self) -> int:
        """Seed of every random choice."""
        return self.config.seed

    def with_network(self, network: NetworkFacts) -> FullRecipe:
        """The recipe completed by its network, the second step.

        Args:
            network: Facts about the network.
        """
        return FullRecipe(**{one.name: getattr(self, one.name) for one in fields(Recipe)}, network=network)


@dataclass(frozen=True)
class NetworkFacts:
    """Facts about a network that complete a recipe.

    Attributes:
        weights_sha256: Digest of its weights.
        preprocess: Preprocessing that it expects.
        layers: Dotted names of the explained layers, by entry of ``explain.methods``.
        same_map_as: Earlier entry that gives the same map, up to scale, on this network, by entry.
        classes: Classes by network output; empty until they are needed.
        groups: Outputs that are one class, as in :attr:`stages.classify.match_classes.Match.groups`; read by stages
            that run the network.
        outputs: What its outputs stand for: ``softmax`` or ``sigmoid``.
        one_size: Whether it runs at one size only.
    """

    weights_sha256: str
    preprocess: Preprocess
    layers: Mapping[str, list[str]] = field(default_factory=dict)
    same_map_as: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[ClassInfo, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    outputs: str = "softmax"
    one_size: bool = False


@dataclass(frozen=True)
class FullRecipe(Recipe):
    """Everything that a configuration and its network determine together.

    Attributes:
        network: Facts about the network.
        levels: Black and white of the images with more than 8 bits; see :mod:`stages.ingest.depth`.
        student: The fitted student of the methods that need one, once there is one.
    """

    network: NetworkFacts
    levels: Levels = field(default_factory=dict)
    student: Student | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """Side of the network's input in pixels."""
        return self.config.model.size or self.network.preprocess.size

    @property
    def frame_side(self) -> int:
        """Side of the square on which maps are cut, in pixels."""
        return self.protocol.frame_side(self.size)

    @property
    def fit(self) -> str:
        """How an image becomes a square: ``squash``, ``center_crop`` or ``letterbox``."""
        return self.config.model.fit

    @property
    def crop_ratio(self) -> float:
        """Share of the shorter side that ``center_crop`` keeps."""
        return self.network.preprocess.crop_ratio

    @property
    def fit_scales(self) -> list[float]:
        """Scales of the maps that the foreground is fitted to: several in any case, since what one is sure of is too
        small."""
        scales = self.config.explain.scales
        return scales if len(scales) > 1 or self.network.one_size else [share * scales[0] for share in FIT_SHARES]

    @property
    def layers(self) -> list[str]:
        """The distinct layers that the methods explain."""
        return list(dict.fromkeys(layer for own in self.network.layers.values() for layer in own))

    @property
    def class_names(self) -> list[str]:
        """Class names by network output."""
        return [one.name for one in self.network.classes]

    def with_classes(self, classes: list[ClassInfo], groups: Iterable[tuple[int, ...]] = ()) -> FullRecipe:
        """The recipe with the network's classes, in output order, and the outputs that are one class."""
        return replace(self, network=replace(self.network, classes=tuple(classes), groups=tuple(groups)))

    def with_levels(self, levels: Levels) -> FullRecipe:
        """The recipe with black and white of its images with more than 8 bits."""
        return replace(self, levels=levels)

    def with_student(self, student: Student) -> FullRecipe:
        """The recipe with the fitted student."""
        return replace(self, student=student)


def resolve(config: Config) -> Recipe:
    """The recipe of a configuration, the first step, after all checks that need nothing else.

    No data, weights or network is touched, and torch is not imported.

    Raises:
        ConfigurationError: An unknown method, metric or protocol, or keys that exclude each other.
        DataError: ``evaluate.blacklist`` cannot be read.
    """
    explain, evaluate = config.explain, config.evaluate
    _check_no_secrets(config.model_dump())
    check_methods(explain.methods)
    check_metrics(evaluate.faithfulness)
    if evaluate.faithfulness and not of_predictions(explain.targets):
        raise ConfigurationError(
            "evaluate.faithfulness: needs the map of the first prediction; add top1 to explain.targets"
        )
    if evaluate.calibrate_on is not None and not evaluate.sweep:
        raise ConfigurationError(
            "evaluate.calibrate_on: without evaluate.sweep no other threshold is scored; set evaluate.sweep=true"
        )
    recipe = Recipe.of(config)
    again = [name for name in evaluate.faithfulness if name in EXPLAINED_AGAIN]
    if again and (recipe.fitted or recipe.fused_below is not None):
        raise ConfigurationError(
            f"evaluate.faithfulness: {again[0]} explains altered images in one pass each, and these maps are fitted or "
            "fused; leave it out"
        )
    several = not isinstance(explain.layer, str) and len(explain.layer) > 1
    fitted = [method for method in explain.methods if method_of(method) in FITTED]
    if fitted and len({method.partition(AT)[2] for method in fitted}) > 1:
        raise ConfigurationError(
            f"explain.methods: {' and '.join(fitted)} are fitted together; name one layer for both"
        )
    if several and any(AT not in method for method in fitted):
        raise ConfigurationError("explain.layer: foreground and foreground-cam explain one layer; name one")
    if explain.dilate and (several or any(AT in method for method in explain.methods)):
        raise ConfigurationError(
            "explain.dilate: one layer can be dilated, not several; name one in explain.layer, and none in "
            "explain.methods; a sweep lists them one after the other, so give it one"
        )
    return recipe


def _check_no_secrets(tree: Mapping[str, Any], prefix: str = "") -> None:
    """A configuration is written to the run and to its page, and so would be credentials in its uris."""
    for key, value in tree.items():
        if isinstance(value, dict):
            _check_no_secrets(value, f"{prefix}{key}.")
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                try:
                    check_no_secret(one)
                except ConfigurationError as error:
                    raise ConfigurationError(f"{prefix}{key}: {error}") from None
