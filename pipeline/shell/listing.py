"""The tables of ``list``: everything that a configuration can name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.config.describe import summary
from pipeline.config.keys import named_keys
from pipeline.config.load import config_names
from pipeline.config.training import TRAININGS
from stages.classes import comparable
from stages.errors import ConfigurationError, unknown

if TYPE_CHECKING:
    from stages.boxes.protocols import Protocol
    from stages.evaluate.faithfulness.registry import Metric


def listing(what: str, spec: str | None = None, search: str = "") -> dict[str, Any]:
    """The table of that name.

    Args:
        what: Name of the table.
        spec: The network whose classes are listed; for ``classes`` only.
        search: Only entries that contain this text, compared as names of classes are.

    Raises:
        ConfigurationError: There is no such table, or no such network.
    """
    table = _table(what, spec)
    wanted = comparable(search)
    return {key: entry for key, entry in table.items() if not search or wanted in comparable(_words(key, entry))}


def _words(key: str, entry: Any) -> str:
    values = entry.values() if isinstance(entry, dict) else [entry]
    return " ".join(map(str, [key, *values]))


def _table(what: str, spec: str | None) -> dict[str, Any]:
    if what == "classes":
        return _classes(spec)
    tables: dict[str, Callable[[], dict[str, Any]]] = {
        "configs": _configs,
        "datasets": _datasets,
        "models": _models,
        "explainers": _explainers,
        "protocols": _protocols,
        "metrics": _metrics,
        "formats": _formats,
    }
    if what not in tables:
        raise unknown("table", what, [*tables, "classes"])
    if spec is not None:
        raise ConfigurationError(f"{spec}: list {what} takes nothing more; --search TEXT shortens the list")
    return tables[what]()


def _configs() -> dict[str, Any]:
    """Each configuration with its purpose; those of ``train`` behind that word."""
    runs = {name: summary(name) for name in config_names()}
    return runs | {f"train {name}": summary(name, TRAININGS) for name in config_names(TRAININGS)}


def _datasets() -> dict[str, str]:
    from stages.formats.table import readable

    return {name: one.title for name, one in readable().items()}


def _formats() -> dict[str, dict[str, str]]:
    """Options with their values, the default first; ``...`` stands for any other."""
    from stages.formats.table import FORMATS, choices, defaults

    rows = {}
    for name, one in FORMATS.items():
        values = {key: (default, "...") for key, default in defaults(name).items()} | choices(name) if one.read else {}
        options = " ".join(f"{key}={'|'.join(map(str, known))}" for key, known in values.items())
        rows[name] = {"read": _yes(one.read), "write": _yes(one.write), "options": options or "none"}
    return rows


def _yes(something: object) -> str:
    return "yes" if something else "no"


def _models() -> dict[str, Any]:
    """Sources of networks, and the explained layer of the networks that were tested."""
    from stages.classify.catalog import NETWORKS
    from stages.classify.sources import SOURCES

    sources: dict[str, Any] = {
        prefix: {"source": one.summary, "example": one.example} for prefix, one in SOURCES.items()
    }
    for name, known in NETWORKS.items():
        described = {"layer": known.layer, "maps": "x".join(map(str, known.maps)), "head": known.head}
        sources[name] = sources.get(name, {}) | described
    return sources


def _classes(spec: str | None) -> dict[str, Any]:
    """The classes of a network by output."""
    from stages.classify.sources.known_classes import known_classes

    if spec is None:
        raise ConfigurationError("say whose classes: list classes SPEC, such as list classes lite0")
    with named_keys():
        found = known_classes(spec)
    if not found:
        raise ConfigurationError(f"{spec} does not name its classes; a class map takes the numbers of its outputs")
    return {
        str(index): {"name": info.name} | ({"wnid": info.wnid} if info.wnid else {}) for index, info in enumerate(found)
    }


def _explainers() -> dict[str, Any]:
    """Explainers, with costs as in :class:`Explainer`; ``same_map_as`` holds for a GAP + linear head."""
    from stages.explain.registry import closed_form, explainers

    return {
        name: {
            "formula": one.formula,
            "cost": one.cost,
            "needs": one.needs,
            "source": one.source,
        }
        | ({"same_map_as": closed_form(name, True, [1.0])[0].name} if one.same_as else {})
        for name, one in sorted(explainers().items())
    }


def _protocols() -> dict[str, Any]:
    from stages.boxes.protocols import PROTOCOLS, fingerprint

    return {name: {**_rules(one), "fingerprint": fingerprint(one)} for name, one in PROTOCOLS.items()}


def _rules(protocol: Protocol) -> dict[str, Any]:
    return {key: value for key, value in asdict(protocol).items() if key != "name"}


def _metrics() -> dict[str, Any]:
    from stages.evaluate.faithfulness.registry import metrics
    from stages.evaluate.metrics.table import COMPOSITES, METRICS

    return {
        **{name: one.definition for name, one in METRICS.items()},
        **COMPOSITES,
        **{f"faithfulness.{name}": _faithfulness(one) for name, one in metrics().items()},
    }


def _faithfulness(metric: Metric) -> dict[str, str]:
    """A faithfulness metric; ``cost`` counts F forward passes and M explanations of other images, all per image."""
    return {"definition": metric.definition, "better": metric.better, "cost": metric.passes, "source": metric.source}
