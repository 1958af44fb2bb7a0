from __future__ import annotations

import json

import pytest
import yaml

from pipeline.config.describe import commented, json_schema, keys, reference
from pipeline.config.load import CONFIGS, config_names, known_keys, load_config
from pipeline.config.recipe import Recipe
from pipeline.config.sections import Config
from pipeline.config.training import TRAININGS, TrainConfig, load_training

KINDS = pytest.mark.parametrize(("kind", "folder"), [(Config, CONFIGS), (TrainConfig, TRAININGS)])


@KINDS
def test_the_reference_and_the_schema_are_current(kind, folder):
    """Made by python -m pipeline.config.describe configs."""
    assert (folder / "README.md").read_text(encoding="utf-8").endswith(f"\n\n{reference(kind, folder)}")
    assert (folder / "schema.json").read_text(encoding="utf-8") == json_schema(kind)


@KINDS
def test_every_key_is_explained(kind, folder):
    found = list(keys(kind))
    assert [key.name for key in found] == known_keys(kind)
    for key in found:
        assert key.meaning.endswith((".", ")")) and key.kind and key.default, key


@pytest.mark.parametrize("name", config_names(TRAININGS))
def test_what_show_prints_is_the_training_again(name, tmp_path):
    _, config = load_training(name, ["optimizer.epochs=3"])
    (tmp_path / "shown.yaml").write_text(commented(config), encoding="utf-8")
    assert load_training(str(tmp_path / "shown.yaml"), [])[1] == config


@pytest.mark.parametrize("name", config_names())
def test_what_show_prints_is_the_configuration_again(name, tmp_path):
    _, config = load_config(name, ["box.protocol=gradcam2017"])
    text = commented(config, Recipe.of(config).protocol)
    (tmp_path / "shown.yaml").write_text(text, encoding="utf-8")
    assert load_config(str(tmp_path / "shown.yaml"), [])[1] == config
    assert "threshold: null  # 0.15\n" in text


@KINDS
def test_the_schema_allows_what_is_shipped_and_refuses_a_misspelt_key(kind, folder):
    validator = pytest.importorskip("jsonschema").Draft202012Validator(json.loads(json_schema(kind)))
    for name in config_names(folder):
        tree = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        assert validator.is_valid(tree)
        assert not validator.is_valid(tree | {"boxes": {}})
