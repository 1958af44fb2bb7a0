from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from stages.errors import ConfigurationError
from stages.formats import read_dataset
from stages.ingest.digits import render
from stages.ingest.uris import read_bytes


@pytest.mark.slow
def test_eval_has_a_thousand_canvases_with_exact_boxes() -> None:
    dataset = read_dataset("digits", None)
    assert [info.name for info in dataset.classes] == list("0123456789")
    assert [record.image_id for record in dataset.records] == list(range(1, 1001))

    record = dataset.records[17]
    canvas, box, label = render("eval", 17, 0)
    assert record.uri == "digits://eval/17?seed=0"
    assert record.file_name == "eval/00017.png"
    assert record.label == label and record.box_labels.tolist() == [label]
    np.testing.assert_array_equal(record.boxes, box[None])
    assert record.boxes.dtype == np.float32
    with Image.open(io.BytesIO(read_bytes(record.uri))) as image:
        assert image.size == (record.width, record.height)
        np.testing.assert_array_equal(np.asarray(image), canvas)


def test_a_split_that_is_not_there_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="no split 'val'") as caught:
        read_dataset("digits", None, split="val")
    assert caught.value.about == "split"
