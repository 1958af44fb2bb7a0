from __future__ import annotations

import json

import pytest
import yaml

from pipeline.config.describe import commented, json_schema, keys, reference
from pipeline.config.load import CONFIGS, config_names, known_keys, load_config
from pipeline.config.recipe import Recipe
from pipeline.config.sections import Config


def test_the_reference_and_the_schema_are_current():
    """Made by python -m pipeline.config.describe configs."""
    assert (CONFIGS / "README.md").read_text(encoding="utf-8").endswith(f"\n\n{reference()}")
    assert (CONFIGS / "schema.json").read_text(encoding="utf-8") == json_schema()


def test_every_key_is_explained():
    found = list(keys())
    assert [key.name for key in found] == known_keys(Config)
    for key in found:
        assert key.meaning.endswith((".", ")")) and key.kind and key.default, key


@pytest.mark.parametrize("name", config_names())
def test_what_show_prints_is_the_configuration_again(name, tmp_path):
    _, config = load_config(name, ["box.protocol=gradcam2017"])
    text = commented(config, Recipe.of(config).protocol)
    (tmp_path / "shown.yaml").write_text(text, encoding="utf-8")
    assert load_config(str(tmp_path / "shown.yaml"), [])[1] == config
    assert "threshold: null  # 0.15\n" in text


def test_the_schema_allows_what_is_shipped_and_refuses_a_misspelt_key():
    validator = pytest.importorskip("jsonschema").Draft202012Validator(json.loads(json_schema()))
    for name in config_names():
        tree = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
        assert validator.is_valid(tree)
        assert not validator.is_valid(tree | {"boxes": {}})
