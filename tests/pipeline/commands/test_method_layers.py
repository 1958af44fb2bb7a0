"""METHOD@LAYER in a run: what the layer's own run gives, whatever stands beside it."""

from __future__ import annotations

import json

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.commands.run import run
from pipeline.commands.sanity import check
from pipeline.config.sections import ExplainConfig
from stages.errors import ConfigurationError

COMMON = ("explain.targets=[label,top1]", "evaluate.faithfulness=[average_drop]", "data.limit=8", "explain.flip=true")


@pytest.fixture(scope="module")
def together(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("placed") / "run"
    methods = "explain.methods=[gradcam@features.1,gradcam,layercam@features.3,cam@last]"
    return out, run(tiny(methods, *COMMON), out)


@pytest.mark.parametrize(
    ("placed", "method", "layer"),
    [
        ("gradcam@features.1", "gradcam", "features.1"),
        ("gradcam", "gradcam", "last"),
        ("layercam@features.3", "layercam", "features.3"),
        ("cam@last", "cam", "last"),
    ],
)
def test_a_placed_method_is_the_one_of_its_layers_own_run(together, tiny, tmp_path, placed, method, layer):
    out, metrics = together
    alone = run(tiny(f"explain.methods=[{method}]", f"explain.layer={layer}", *COMMON), tmp_path / "alone")
    own, expected = metrics["methods"][placed], alone["methods"][method]
    assert {name: own[name] for name in expected} == expected and "faithfulness" in expected
    rows = pq.read_table(out / "predictions").filter(pc.field("method") == placed)
    assert rows.num_rows and rows.drop(["method"]).equals(
        pq.read_table(tmp_path / "alone" / "predictions").drop(["method"])
    )


def test_the_same_map_is_said_of_one_layer_only(together):
    out, metrics = together
    assert json.loads((out / "run.json").read_text())["same_map_as"] == {"cam@last": "gradcam"}
    assert "same_map_as" not in metrics["methods"]["gradcam@features.1"]


def test_sanity_looks_at_the_methods_own_layer(tiny):
    def similarity(*overrides):
        return check(tiny(*overrides), 4)["methods"]

    placed = similarity("explain.methods=[gradcam@features.1,gradcam]")
    alone = similarity("explain.methods=[gradcam]", "explain.layer=features.1")
    assert placed["gradcam@features.1"] == alone["gradcam"] != placed["gradcam"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["explain.methods=[gradcam@nosuch]"], r"explain\.methods: gradcam@nosuch: the network has no layer 'nosuch'"),
        (["explain.methods=[cam@features.1]"], r"cam@features\.1 needs a network that ends in GAP"),
        (["explain.methods=[gradcam@fc]"], "name a convolutional layer"),
        (
            ["explain.methods=[gradcam,gradcam@features.1]", "explain.dilate=true"],
            r"explain\.dilate: one layer can be dilated, not several",
        ),
    ],
)
def test_what_cannot_be_is_said_before_the_first_image(tiny, tmp_path, overrides, message):
    with pytest.raises(ConfigurationError, match=message):
        run(tiny(*overrides), tmp_path / "run")


@pytest.mark.parametrize("entry", ["gradcam@", "@features", ""])
def test_half_an_entry(entry):
    with pytest.raises(ValidationError, match="is not a method; write METHOD, or METHOD@LAYER"):
        ExplainConfig(methods=[entry])
