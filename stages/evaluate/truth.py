"""The ground truth that a row is scored by: that of its image's label, or of another class that the image shows."""

from __future__ import annotations

import numpy as np

from stages.batch import Batch, Resources, take


class Truth:
    """Gives rows of further labels (rank 0, but not of the image's label) the ground truth of their own class.

    ``label``, ``boxes``, ``masks`` and ``ignore`` become those of the class. Drops ``others``.
    """

    reads = ("label", "others", "boxes", "masks", "ignore", "target_rank", "class_index")
    adds = ()
    resources = Resources(cpus=1)

    def setup(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Look at every row."""
        classes, of_label = batch["label"].copy(), batch["target_rank"] == 0
        classes[of_label] = batch["class_index"][of_label]
        rows = of_classes(batch, classes)
        del rows["others"]
        return rows


def of_classes(rows: Batch, classes: np.ndarray) -> Batch:
    """Rows with the ground truth of the given classes.

    Args:
        rows: Columns ``label``, ``boxes``, ``masks``, ``ignore`` and ``others``, as
            :func:`pipeline.store.manifest.read_shard` gives them.
        classes: (R,) the label of each row, or a key of its ``others``. Of those no pixels are known: which region
            is not scored is stated for the label's class alone.
    """
    further = np.flatnonzero(classes != rows["label"])
    found = dict(rows)
    if not len(further):
        return found
    for name in ("boxes", "masks", "ignore"):
        found[name] = rows[name].copy()
    for row in further:
        found["boxes"][row] = rows["others"][row][int(classes[row])]
        found["masks"][row] = found["ignore"][row] = None
    found["label"] = classes.astype(np.int32)
    return found


def every_label(images: Batch) -> Batch:
    """One row per image and class that it shows, the label first; an image without any keeps its row.

    Args:
        images: Columns as in :func:`of_classes`.
    """
    shown = [
        [label] * (label >= 0 or not others) + list(others)
        for label, others in zip(images["label"].tolist(), images["others"], strict=True)
    ]
    rows = take(images, np.repeat(np.arange(len(shown)), [len(own) for own in shown]))
    return of_classes(rows, np.array([index for own in shown for index in own], np.int32))
