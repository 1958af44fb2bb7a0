"""One run scored by many rules: maps are made once, everything behind them once for each choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.config import load_config, protocol_of
from pipeline.relocalize import rescore
from pipeline.run import Progress, run
from pipeline.rundir import RunDir
from pipeline.variants import LAYER, RULES, variants


def sweep(
    name: str, overrides: list[str], out: str | None = None, watch: Callable[[Progress], None] = lambda progress: None
) -> list[dict[str, Any]]:
    """Carry out a run, and score its maps by every combination of the rules that are listed.

    All methods and all rules share one decode and one forward pass of each image; layers, which
    ``explain.layer=[A,B]`` lists, take one run each. The same call resumes.

    Args:
        name: As for a run.
        overrides: As for a run; keys of ``box`` and ``explain.layer`` may list their values.
        out: Folder of the run directories, one for each combination; ``runs/NAME-HASH-sweep`` where not given.
        watch: Called with the progress.

    Returns:
        What each one's ``metrics.json`` holds, with ``variant``, its name, and ``run_dir``.

    Raises:
        UserError: What the user can mend, in one line.
    """
    chosen = variants(overrides, (*RULES, LAYER))
    # Every combination is checked before the first image is read.
    stems, configs = zip(*(load_config(name, one.overrides) for one in chosen), strict=True)
    for config in configs:
        protocol_of(config)
    out = out or f"runs/{stems[0]}-{configs[0].hash()[:8]}-sweep"
    made: dict[str, str] = {}
    results = []
    for one, config in zip(chosen, configs, strict=True):
        folder, layer = one.folder(out), str(config.explain.layer)  # A list of layers is one choice, too.
        if layer in made:
            metrics = rescore(RunDir(made[layer]), config, folder, watch)
        else:
            made[layer] = folder
            metrics = run(config, folder, watch)
        results.append(metrics | {"variant": one.name, "run_dir": folder})
    return results
