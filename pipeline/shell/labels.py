"""The commands from a run to labels for other tools, and back."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pipeline.shell.arguments import Json, RunArgument
from pipeline.shell.output import print_table

labels = typer.Typer()


@labels.command()
def quality(
    run: RunArgument,
    fit_on: Annotated[str | None, typer.Option(help="A run with ground truth on which to fit a model.")] = None,
    method: Annotated[str | None, typer.Option(help="Whose boxes; default the run's first.")] = None,
    as_json: Json = False,
) -> None:
    """Say how far a run's boxes can be trusted, and fit what says so."""
    from pipeline.commands.quality import quality as judge
    from pipeline.shell.console import show_quality
    from pipeline.store.rundir import RunDir

    found = judge(RunDir(run), None if fit_on is None else RunDir(fit_on), method)
    if as_json:
        print(json.dumps(found))
    else:
        show_quality(found)


@labels.command()
def export(
    run: RunArgument,
    format: Annotated[str, typer.Option(help="As 'list formats' shows: coco, voc, yolo, labelstudio, ...")] = "",
    dest: Annotated[str, typer.Option(help="New folder.")] = "",
    method: Annotated[str | None, typer.Option(help="Whose boxes; default the run's first.")] = None,
    min_score: Annotated[float, typer.Option(help="Least probability of the class; images stay.")] = 0.0,
    min_quality: Annotated[float, typer.Option(help="Least quality of the box; images stay.")] = 0.0,
    order: Annotated[str, typer.Option(help="id, or doubtful: what to look at first.")] = "id",
    limit: Annotated[int | None, typer.Option(help="Only the first images in that order.")] = None,
    ids: Annotated[str | None, typer.Option(help="File of image ids, one per line: only those.")] = None,
    split: Annotated[str | None, typer.Option(help="Parts, such as train=0.8,val=0.2.")] = None,
    images: Annotated[str, typer.Option(help="link, copy (upright) or none.")] = "link",
    flatten: Annotated[bool, typer.Option("--flatten", help="a/b.jpg becomes a__b.jpg.")] = False,
    as_json: Json = False,
) -> None:
    """Write a run's boxes as a dataset that other tools read."""
    from pipeline.commands.export import export as write

    for value, name in ((format, "--format"), (dest, "--dest")):
        if not value:
            raise typer.BadParameter(f"say {name}")
    found = write(
        run,
        format,
        dest,
        method=method,
        min_score=min_score,
        min_quality=min_quality,
        order=order,
        limit=limit,
        ids=ids,
        split=split,
        images=images,
        flatten=flatten,
    )
    print_table(found, as_json)


@labels.command(name="import-review")
def import_review(
    run: RunArgument,
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON of Label Studio or FiftyOne, XML of CVAT.")],
    method: Annotated[str | None, typer.Option(help="Whose boxes were exported; default the run's first.")] = None,
    as_json: Json = False,
) -> None:
    """Take what people corrected in another tool: exports use it instead of the run's boxes."""
    from pipeline.commands.import_review import import_review as take
    from pipeline.store.rundir import RunDir

    print_table(take(RunDir(run), file, method), as_json)
