"""One run scored by many rules: maps are made once, everything after them once for each choice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pipeline.commands.relocalize import rescore
from pipeline.commands.run import default_directory, run
from pipeline.config.keys import named_keys
from pipeline.config.load import load_config
from pipeline.config.recipe import resolve
from pipeline.config.variants import listed, variants
from pipeline.engine.progress import Progress
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError
from stages.explain.method_layers import AT

LAYER = "explain.layer"


@named_keys()
def sweep(
    name: str, overrides: list[str], out: str | None = None, watch: Callable[[Progress], None] = lambda progress: None
) -> list[dict[str, Any]]:
    """Carry out a run, and score its maps by every combination of the rules that are listed.

    All methods, layers and rules share one decode and one forward pass of each image. Layers that
    ``explain.layer=[A,B]`` lists become methods of one run, ``METHOD@LAYER``. The same call resumes.

    Args:
        name: A name of ``wsl-pipeline list configs``, or a ``.yaml`` file.
        overrides: ``KEY=VALUE`` of a run; keys of ``box`` and ``explain.layer`` may list their values.
        out: Folder of the run directories, one for each combination; ``runs/NAME-HASH-sweep`` where not given.
        watch: Called with the progress.

    Returns:
        The content of each ``metrics.json``, with ``variant``, its name, and ``run_dir``.

    Raises:
        UserError: Something that the user can fix, in one line.
    """
    chosen = variants(_at_each_layer(name, overrides))
    # Every combination is checked before the first image is read.
    stems, configs = zip(*(load_config(name, one.overrides) for one in chosen), strict=True)
    for config in configs:
        resolve(config)
    out = out or default_directory(stems[0], configs[0], "-sweep")
    folders = [one.folder(out) for one in chosen]
    results = [run(configs[0], folders[0], watch)]
    origin = RunDir(folders[0])
    results += [rescore(origin, *rest, watch) for rest in zip(configs[1:], folders[1:], strict=True)]
    return [
        metrics | {"variant": one.name, "run_dir": folder}
        for metrics, one, folder in zip(results, chosen, folders, strict=True)
    ]


def _at_each_layer(name: str, overrides: list[str]) -> list[str]:
    """The overrides with a list of layers replaced by a list of methods, each at each layer."""
    given = [override for override in overrides if override.startswith(f"{LAYER}=")]
    layers = listed(LAYER, given[-1].partition("=")[2]) if given else None
    if layers is None:
        return overrides
    for layer in layers:
        if not isinstance(layer, str):
            raise ConfigurationError(f"{LAYER}: {layer!r} is not a name; put the names of layers in quotes")
    others = [override for override in overrides if override not in given]
    methods = load_config(name, variants(others)[0].overrides)[1].explain.methods
    placed = [method if AT in method else f"{method}{AT}{layer}" for layer in layers for method in methods]
    return [*others, f"explain.methods={json.dumps(list(dict.fromkeys(placed)))}"]
