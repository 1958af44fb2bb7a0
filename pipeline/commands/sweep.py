"""One run scored by many rules: maps are made once, everything after them once for each choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.commands.relocalize import rescore
from pipeline.commands.run import default_directory, run
from pipeline.config.keys import named_keys
from pipeline.config.load import load_config
from pipeline.config.overrides import RULES, Override, Overrides, parsed
from pipeline.config.recipe import resolve
from pipeline.config.variants import check_list, variants
from pipeline.engine.progress import Progress
from pipeline.store.rundir import RunDir
from stages.explain.method_layers import AT

LAYER = "explain.layer"


@named_keys()
def sweep(
    name: str, overrides: Overrides, out: str | None = None, watch: Callable[[Progress], None] = lambda progress: None
) -> list[dict[str, Any]]:
    """Carry out a run, and score its maps by every combination of the rules that are listed.

    All methods, layers and rules share one decode and one forward pass of each image. Layers that
    ``explain.layer=[A,B]`` lists become methods of one run, ``METHOD@LAYER``. The same call resumes.

    Args:
        name: A name of ``wsl-pipeline list configs``, or a ``.yaml`` file.
        overrides: Those of a run; keys of ``box`` and ``explain.layer`` may list their values.
        out: Folder of the run directories, one for each combination; ``runs/NAME-HASH-sweep`` where not given.
        watch: Called with the progress.

    Returns:
        The content of each ``metrics.json``, with ``variant``, its name, and ``run_dir``.

    Raises:
        UserError: Something that the user can fix, in one line.
    """
    chosen = variants(_at_each_layer(name, parsed(overrides, RULES)))
    # Every combination is checked before the first image is read.
    stems, configs = zip(*(load_config(name, one.overrides) for one in chosen), strict=True)
    for config in configs:
        resolve(config)
    out = out or default_directory(stems[0], configs[0], "-sweep")
    folders = [one.folder(out) for one in chosen]
    results = [run(configs[0], folders[0], watch)]
    origin = RunDir(folders[0])
    results += [rescore([origin], *rest, watch) for rest in zip(configs[1:], folders[1:], strict=True)]
    return [
        metrics | {"variant": one.name, "run_dir": folder}
        for metrics, one, folder in zip(results, chosen, folders, strict=True)
    ]


def _at_each_layer(name: str, overrides: list[Override]) -> list[Override]:
    """The overrides with a list of layers replaced by a list of methods, each at each layer."""
    given = [one for one in overrides if one.key == LAYER]
    if not given or not isinstance(given[-1].value, list):
        return overrides
    check_list(given[-1])
    others = [one for one in overrides if one.key != LAYER]
    methods = load_config(name, variants(others)[0].overrides)[1].explain.methods
    placed = [method if AT in method else f"{method}{AT}{layer}" for layer in given[-1].value for method in methods]
    return [*others, Override("explain.methods", list(dict.fromkeys(placed)))]
