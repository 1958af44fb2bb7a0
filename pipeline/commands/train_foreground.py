"""The foreground of a run that did not fit one, from its images and its network."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.config.keys import named_keys
from pipeline.config.recipe import resolve
from pipeline.engine.fit import Means, fit_to_sample
from pipeline.engine.interrupt import draining
from pipeline.engine.prepare import examine, resolve_run, survey
from pipeline.engine.workers import executor_of, pin, place
from pipeline.store.fit import FIT_FILE, remove_cells
from pipeline.store.holding import holding
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError
from stages.explain.foreground.file import Fit
from stages.explain.table import FOREGROUND


@named_keys()
def train_foreground(run: str | Path) -> Fit:
    """Fit the foreground to a run's images and write ``fit/foreground.npz`` there, for other runs to begin with.

    Nothing else of the run changes. The same call resumes.

    Args:
        run: The run, finished or not.

    Returns:
        The fit.

    Raises:
        UserError: The run has one already, its data or network are away or have changed, or its maps are not sure
            of anything.
    """
    config = RunDir(run).config()
    with holding(RunDir, run, config) as directory:
        if directory.exists(FIT_FILE):
            raise ConfigurationError(f"{directory} has {FIT_FILE} already; name the run in explain.foreground")
        methods = resolve(config).fitted or [FOREGROUND]
        explain = config.explain.model_copy(update={"methods": methods, "foreground": "fit"})
        found = survey(resolve_run(config.model_copy(update={"explain": explain})), directory.info().levels)
        info, _ = examine(directory, found)
        executor = executor_of(config.runtime)
        device, workers = place(config.runtime, executor)
        batch_size = pin(directory, info, config.runtime, device)
        with draining() as stop:
            fit = fit_to_sample(directory, found.recipe, info, Means(executor, device, batch_size, workers, stop))
            if fit is not None:
                _check_the_same(fit, info.fit_sha256, directory)
                directory.write(FIT_FILE, fit.to_bytes())
                remove_cells(directory)
    assert fit is not None, "a request to stop has been raised"
    return fit


def _check_the_same(fit: Fit, fitted: str, directory: RunDir) -> None:
    """A run that has lost the foreground of its maps gets that one, or none."""
    if fitted and hashlib.sha256(fit.to_bytes()).hexdigest() != fitted:
        raise DataError(
            f"{directory} was made with another foreground than this machine fits to it; restore {FIT_FILE}"
        )
