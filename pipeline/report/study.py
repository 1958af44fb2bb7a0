"""The page of a study: its trainings in one table, each compared with the first."""

from __future__ import annotations

from typing import Any

from pipeline.report.scores import Column, cell
from pipeline.report.templates import template
from pipeline.store.files import Files
from stages.printable import printable


def write_study_page(folder: Files, found: dict[str, Any]) -> None:
    """Write ``report/index.html`` of a study, which has no times and no paths.

    Args:
        folder: Its folder.
        found: The content of its ``study.json``.
    """
    rows = []
    column = Column("top1")
    for one in found["trainings"]:
        training = one["training"]
        rows.append(
            {
                "name": one["variant"],
                "accuracy": cell(column, one["classification"], {}),
                "difference": _difference(found["differences"].get(one["variant"])),
                "parameters": training["parameters"],
                "epochs": f"{training['best_epoch']} of {training['epochs']}",
                "validation": f"{training['validation']['loss']:.3f}",
            }
        )
    first = found["trainings"][0]
    guess = cell(column, {"top1": first["baselines"]["most_frequent_class"]["top1"]}, {})
    page = template("study.html.jinja").render(rows=rows, guess=guess, images=first["training"]["images"])
    folder.write("report/index.html", printable(page).encode())


def _difference(score: dict[str, Any] | None) -> str:
    """A difference in percent with its interval, and whether it is noise."""
    if score is None:
        return ""
    low, high = score["ci95"]
    verdict = "noise" if score["noise"] else "more than noise"
    return f"{100 * score['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], {verdict}"
