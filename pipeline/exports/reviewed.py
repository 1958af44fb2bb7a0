"""What people said of a run's images, as ground truth."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.store.manifest import read_records
from pipeline.store.review import read_stored
from pipeline.store.rundir import RunDir
from stages.errors import DataError
from stages.formats.coco.write import ground_truth_text
from stages.formats.labels import Label, Labelled


def reviewed_truth(run: RunDir) -> Iterator[bytes]:
    """A COCO dataset of the images that were reviewed, with the categories of the run's own results.

    Args:
        run: A finished run.

    Raises:
        DataError: Nothing was reviewed, or the run is not complete.
    """
    reviews, network = read_stored(run), run.classes()
    if not reviews:
        raise DataError(f"nobody reviewed {run}; import corrections with wsl-pipeline import-review", "ground_truth")
    output_of = {info.name: output for output, info in reversed(list(enumerate(network)))} | run.info().dataset_classes

    def images() -> Iterator[Labelled]:
        for record in (one for group in read_records(run.manifest) for one in group if one.image_id in reviews):
            own = reviews[record.image_id]
            labels = [
                Label(record.image_id, output_of[name], box, None, None, own.by or "review", "reviewed")
                for name, box in own.boxes
            ]
            yield Labelled(record, labels)

    return ground_truth_text(images, network, f"reviews of {run}")
