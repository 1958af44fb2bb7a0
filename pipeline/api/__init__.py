"""The Python interface, see :mod:`pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from pipeline import frames
from pipeline.api.arithmetic import kept_arithmetic
from pipeline.api.explained import Explained
from pipeline.api.explaining import explain
from pipeline.api.runs import Run
from pipeline.commands.compare import compare as compare_runs
from pipeline.commands.run import default_directory
from pipeline.commands.run import run as carry_out
from pipeline.config.load import load_config
from pipeline.config.overrides import Overrides, parsed
from pipeline.engine.interrupt import Interruption
from pipeline.shell.console import watching
from pipeline.store.rundir import RunDir
from stages.errors import DataError

__all__ = ["Explained", "Run", "compare", "explain", "load", "run"]


def load(place: str | Path) -> Run:
    """Open an existing run, finished or not.

    Args:
        place: Its directory: a local path, or a uri such as ``s3://BUCKET/RUN``.

    Raises:
        DataError: No run was begun there.

    Example:
        >>> import pipeline as wsl
        >>> wsl.load("runs/tiny").boxes(method="cam", rank=1)[["image_id", "class_name", "x0", "y0"]].head(2)
           image_id class_name     x0       y0
        0         1    class 4   0.00  33.2500
        1         2    class 4  12.75   4.6875
    """
    directory = RunDir(place)
    if not directory.begun:
        raise DataError(f"{directory} holds no run, or one that has not reached its first image")
    return Run(directory)


def run(
    name: str | Path,
    overrides: Overrides = (),
    out: str | Path | None = None,
    executor: Literal["ray", "inline"] | None = None,
    limit: int | None = None,
    quiet: bool = False,
) -> Run:
    """Turn a dataset into maps, boxes and scores, as ``wsl-pipeline run`` does; the same call resumes the run.

    Args:
        name: A name of ``wsl-pipeline list configs``, or a ``.yaml`` file.
        overrides: Values by dotted key, such as ``{"data.root": "/data/imagenet", "explain.methods": ["cam"]}``. Paths
            are relative to the working directory.
        out: The run directory, a path or a uri; ``runs/NAME-HASH`` where not given.
        executor: Worker processes (``ray``) or threads of this process (``inline``); by default what the configuration
            says.
        limit: Only the first images by id.
        quiet: Show no progress on stderr.

    Returns:
        The finished run. Images that failed are in its :meth:`Run.errors`.

    Raises:
        UserError: What is wrong with the configuration, the data or the network, in one line.
        KeyboardInterrupt: After Ctrl-C, once the shards under way are committed.

    Example:
        >>> import pipeline as wsl
        >>> made = wsl.run("tiny.yaml", {"explain.methods": ["cam"]}, out="runs/three", limit=3, quiet=True)
        >>> made.boxes().shape
        (18, 15)
    """
    changes = parsed(overrides)
    changes += parsed({"runtime.executor": executor} if executor else {})
    changes += parsed({} if limit is None else {"data.limit": limit})
    stem, config = load_config(str(name), changes)
    directory = RunDir(out or default_directory(stem, config))
    try:
        with watching(quiet) as watch, kept_arithmetic():
            carry_out(config, directory.uri, watch)
    except Interruption:
        raise KeyboardInterrupt(f"{directory} is not complete; the same call resumes it") from None
    return Run(directory)


def compare(*runs: Run | str | Path) -> pd.DataFrame:
    """Paired differences between runs, or between the methods of one run, and which of them are noise.

    Args:
        *runs: Complete runs over the same images by the same protocol.

    Returns:
        A row per pair, metric and IoU level: ``a``, ``b``, ``metric``, ``level``, ``value_a``, ``value_b``,
        ``difference`` (b - a), ``low`` and ``high`` (its 95 % bootstrap interval over images), ``n`` (images that
        both have a score for), ``mcnemar_p`` (exact, McNemar 1947; NaN for means) and ``noise``.

    Raises:
        UserError: A run is not complete, or the runs cannot be compared.

    Example:
        >>> import pipeline as wsl
        >>> wsl.compare("runs/tiny")[["a", "b", "metric", "level", "difference", "noise"]].head(1)
             a        b        metric  level  difference  noise
        0  cam  gradcam  gt_known_loc    0.3         0.0   True
    """
    return frames.differences(compare_runs([one.uri if isinstance(one, Run) else one for one in runs]))
