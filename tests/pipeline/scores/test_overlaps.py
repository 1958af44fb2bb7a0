"""Labels of one image whose boxes are the same."""

from __future__ import annotations

import pyarrow as pa

from pipeline.scores.overlaps import overlapping_labels

WHOLE, MOST, HALF = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 8.0], [0.0, 0.0, 10.0, 5.0]
ROWS = [
    (1, "cam", 0, "ok", WHOLE),
    (1, "cam", 0, "ok", MOST),
    (1, "cam", 1, "ok", WHOLE),  # a prediction
    (1, "gradcam", 0, "ok", WHOLE),
    (2, "cam", 0, "ok", WHOLE),
    (2, "cam", 0, "ok", HALF),
    (2, "cam", 0, "empty_map", WHOLE),
    (3, "cam", 0, "ok", WHOLE),
]


class Parts:
    """A run of two parts."""

    def predictions(self, columns: list[str]) -> list[pa.Table]:
        names = ["image_id", "method", "target_rank", "box_status", "box"]
        table = pa.table(dict(zip(names, zip(*ROWS, strict=True), strict=True)))
        return [table.select(columns).slice(0, 4), table.select(columns).slice(4)]


def test_pairs_of_labels_are_counted_image_by_image() -> None:
    assert overlapping_labels(Parts(), "cam") == {"pairs": 2, "overlapping": 1}
    assert overlapping_labels(Parts(), "gradcam") == {"pairs": 0, "overlapping": 0}
