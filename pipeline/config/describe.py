"""Documentation of the configuration keys: a reference page, a JSON schema, and commented YAML.

``python -m pipeline.config.describe FOLDER`` writes the end of ``README.md``, and ``schema.json``, in that folder and
in its folder of trainings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml
from pydantic import BaseModel

from pipeline.config.history import Tree
from pipeline.config.load import CONFIGS, config_names
from pipeline.config.sections import Config, Section
from pipeline.config.training import TrainConfig
from stages.boxes.protocols import Protocol

BEGIN = "## Every key"
"""Line of ``configs/README.md`` at which the generated part begins."""

_COMMAND = "python -m pipeline.config.describe configs"
_WIDTH = 100
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "`null`",
    "object": "mapping",
}


@dataclass(frozen=True)
class Key:
    """One configuration key, documented.

    Attributes:
        name: Dotted name.
        kind: Type and allowed values, in words.
        default: Default as YAML; ``required`` where there is none.
        meaning: What it does, in a sentence or more.
    """

    name: str
    kind: str
    default: str
    meaning: str


def keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[Key]:
    """Every key, section by section, in the order in which the sections declare them."""
    properties = section.model_json_schema()
    definitions = properties.get("$defs", {})
    for name, info in section.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from keys(info.annotation, f"{prefix}{name}.")
            continue
        default = "required" if info.is_required() else _flow(info.get_default(call_default_factory=True))
        kind = _kind(properties["properties"][name], definitions)
        meaning = " ".join((info.description or "").split()).replace("``", "`")
        yield Key(prefix + name, kind, default, meaning)


def reference(kind: type[Section] = Config, folder: Path = CONFIGS) -> str:
    """The part of a folder's ``README.md`` from :data:`BEGIN` on: the shipped files, and every key.

    Args:
        kind: What the folder's files configure.
        folder: The folder.
    """
    lines = [BEGIN, "", f"Made by `{_COMMAND}`, like `schema.json` next to it, which tells editors the same.", ""]
    lines += ["| name | |", "|---|---|", *(f"| `{name}` | {summary(name, folder)} |" for name in config_names(folder))]
    for section, group in groupby(keys(kind), lambda key: key.name.rpartition(".")[0]):
        lines += ["", f"### {section or 'Top level'}", "", *_introduction(kind, section)]
        lines += ["| key | type and values | default | meaning |", "|---|---|---|---|"]
        lines += [f"| `{key.name}` | {key.kind} | `{key.default}` | {key.meaning} |" for key in group]
    return "\n".join(lines) + "\n"


def json_schema(kind: type[Section] = Config) -> str:
    """JSON schema for editors, ``schema.json``; files may leave out what the command line adds."""
    found = kind.model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wsl-pipeline configuration",
    }
    found["properties"]["schema"] = {"type": "integer", "description": "Number of the schema, as runs store it."}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def commented(config: Section, protocol: Protocol | None = None) -> str:
    """A configuration as YAML: every key with its value and, above it, its meaning and allowed values.

    Args:
        config: The configuration.
        protocol: The protocol that a run's resolves to; values that ``box`` leaves to it follow the key as comments.
    """
    tree, rules = config.model_dump(), asdict(protocol) if protocol else {}
    lines: list[str] = []
    for section, group in groupby(keys(type(config)), lambda key: key.name.rpartition(".")[0]):
        lines += [f"{section}:"] if section else []
        indent, values = ("  ", tree[section]) if section else ("", tree)
        for key in group:
            about = f"{key.meaning} ({key.kind}; default {key.default})".replace("`", "")
            lines += wrap(about, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
            name = key.name.rpartition(".")[2]
            by_protocol = f"  # {rules[name]}" if section == "box" and values[name] is None else ""
            lines.append(f"{indent}{name}: {_flow(values[name])}{by_protocol}")
    return "\n".join(lines) + "\n"


def summary(name: str, folder: Path = CONFIGS) -> str:
    """Purpose of a shipped configuration: its first comment that is not for editors."""
    lines = (folder / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return next(line.lstrip("# ") for line in lines if line.startswith("#") and "yaml-language-server" not in line)


def _introduction(kind: type[Section], section: str) -> list[str]:
    field = kind.model_fields.get(section)
    if field is None or not isinstance(field.annotation, type):
        return []
    return [" ".join((field.annotation.__doc__ or "").split()), ""]


def _kind(schema: Tree, definitions: Tree) -> str:
    """A JSON schema of one key in words."""
    if "$ref" in schema:
        return _kind(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(_kind(one, definitions) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'], definitions)}"
    return _WORDS[schema["type"]] + _range(schema)


def _range(schema: Tree) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if above is not None:
        return f" above {above:g}" + (f", at most {high:g}" if high is not None else "")
    return f", at least {low:g}" if low is not None else ""


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=sys.maxsize)
    return text.removesuffix("...\n").strip()


if __name__ == "__main__":
    for configured, folder in ((Config, Path(sys.argv[1])), (TrainConfig, Path(sys.argv[1]) / "train")):
        page = folder / "README.md"
        by_hand = page.read_text(encoding="utf-8").partition(BEGIN)[0]
        page.write_text(by_hand + reference(configured, folder), encoding="utf-8")
        (folder / "schema.json").write_text(json_schema(configured), encoding="utf-8")
