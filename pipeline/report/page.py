"""The page of a run: one self-contained HTML file without scripts."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from pipeline.config.keys import named_keys
from pipeline.config.recipe import FullRecipe
from pipeline.config.sections import Config
from pipeline.report import breakdown as strata
from pipeline.report import charts, scores
from pipeline.report.gallery import galleries
from pipeline.report.rows import FIRST, LABEL, Overview, read_overview
from pipeline.report.templates import template
from pipeline.store.rundir import RunDir
from stages.boxes.protocols import Protocol, get_protocol
from stages.errors import ConfigurationError
from stages.evaluate.label_order import label_order_warning
from stages.printable import printable

FAILURES = 50
"""Number of file names listed for each error code."""


@named_keys()
def write_report(run: RunDir, recipe: FullRecipe, dest: Path | None = None) -> str:
    """Write the page of a run whose ``metrics.json`` exists.

    The page depends on the run's configuration and results alone: it has no times and no paths of the run.

    Args:
        run: The run.
        recipe: The run's recipe.
        dest: The file to write; ``report/index.html`` of the run where not given.

    Returns:
        Path or uri of the page.

    Raises:
        DataError: The run is not finished, or a part is damaged.
        ConfigurationError: Its configuration is missing, or ``dest`` cannot be written.
    """
    page = _render(run, recipe).encode()
    if dest is None:
        run.write("report/index.html", page)
        return run.where("report/index.html")
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        dest.write_bytes(page)
    except OSError as error:
        raise ConfigurationError(f"--dest: cannot write to {dest}: {error.strerror}") from None
    return str(dest)


def _render(run: RunDir, recipe: FullRecipe) -> str:
    metrics, origins = run.read_json("metrics.json"), run.info()
    config, protocol, methods = recipe.config, recipe.protocol, recipe.methods
    overview = read_overview(run, methods)
    delta = recipe.main_delta
    names = charts.titles(methods, overview)
    shown, left_out = galleries(run, overview, recipe)
    page = template("page.html.jinja").render(
        config=config,
        config_text=yaml.safe_dump(config.model_dump(exclude={"runtime"}), sort_keys=False, allow_unicode=True),
        metrics=metrics,
        origins=origins,
        size=recipe.frame_side,
        delta=f"{delta:g}",
        names=names,
        same_as=overview.same_as,
        headline=_headline(metrics, methods[0], f"{delta:g}"),
        table=scores.score_table(metrics, f"{delta:g}"),
        faithfulness=scores.faithfulness_table(metrics),
        all_scores={method: scores.all_scores(metrics["methods"][method]) for method in methods},
        curves=charts.curves(metrics, names, protocol.threshold),
        histogram=charts.histogram(overview, methods, names),
        bins=charts.BINS,
        funnel=charts.funnel(metrics, overview, methods, names, delta),
        trust=charts.trust(overview, 0, recipe.seed),
        classes=charts.frequent_classes(overview),
        strata=strata.strata_rows(metrics, list(names), f"{delta:g}"),
        errors=strata.error_rows(metrics, list(names), f"{delta:g}"),
        class_score=f"{scores.Column('gt_known_loc').title}, {scores.Column('gt_known_loc').unit}",
        class_ends=strata.class_rows(metrics["methods"][methods[0]], f"{delta:g}", overview.names.__getitem__),
        galleries=shown,
        left_out=left_out,
        label_shown=overview.rank == LABEL,
        failures=_failures(run),
        failures_listed=FAILURES,
        protocol=_rules(protocol, config),
        threshold=protocol.threshold,
        warning=_label_warning(overview),
    )
    return printable(page)


def _headline(metrics: dict[str, Any], method: str, delta: str) -> list[tuple[str, str, scores.Cell]]:
    """Title, unit and value of the headline numbers: the first method's and the classifier's."""
    found = metrics["methods"][method] | metrics.get("classification", {})
    columns = [scores.Column(key, delta) for key in ("gt_known_loc", "top1_loc")]
    columns += [scores.Column(key) for key in ("mean_iou", "top1", "top5")]
    return [
        (f"{column.title} at IoU {delta}" if column.delta else column.title, column.unit, cell)
        for column in columns
        if (cell := scores.cell(column, found, metrics.get("zero_line", {})))
    ]


def _label_warning(overview: Overview) -> str | None:
    rows = overview.of(0, FIRST)
    labelled = rows["label"] >= 0
    return label_order_warning(*(rows[name][labelled] for name in ("label", "class_index", "prob")))


def _rules(protocol: Protocol, config: Config) -> list[tuple[str, Any, bool]]:
    """Every choice of the protocol, and whether the configuration changed it."""
    named = asdict(get_protocol(config.box.protocol))
    return [(key, value, value != named[key]) for key, value in asdict(protocol).items() if key != "name"]


def _failures(run: RunDir) -> list[dict[str, Any]]:
    """Counts and first file names of failed images by error code, the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for part in run.errors():
        for row in part.select(["image_id", "stage", "error_code", "message"]).to_pylist():
            key = row["error_code"], row["stage"]
            counts[key] += 1
            if counts[key] <= FAILURES:
                first.setdefault(key, []).append((row["image_id"], row["message"]))
    ids = np.array([image_id for rows in first.values() for image_id, _ in rows], dtype=np.int64)
    picked = pc.field("image_id").isin(pa.array(ids))
    known = pq.read_table(run.manifest, columns=["image_id", "file_name"], filters=picked)
    file_names = dict(zip(known["image_id"].to_pylist(), known["file_name"].to_pylist(), strict=True))
    return [
        {
            "code": key[0],
            "stage": key[1],
            "count": counts[key],
            "images": [(file_names[image_id], message) for image_id, message in first[key]],
        }
        for key in sorted(counts, key=lambda key: (-counts[key], key))
    ]
