from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from pydantic import ValidationError

from pipeline.config.sections import CONFIGS, DataConfig, config_names, differing_keys, load_config, with_format_options
from stages.errors import ConfigurationError
from stages.formats.table import FORMATS, Format

MINIMAL = "data: {format: imagefolder, root: pictures}\nmodel: {spec: lite0}\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def test_every_shipped_configuration_is_valid_and_says_what_it_is():
    assert {"demo", "imagenet-val", "imagefolder", "coco", "photos"} <= set(config_names())
    for name in config_names():
        assert load_config(name, [])[0] == name
        assert (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


def test_paths_are_relative_to_whoever_wrote_them(file, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_config(str(file), [])[1].data.root == str(tmp_path / "pictures")
    assert load_config(str(file), ["data.root=pictures"])[1].data.root == str(elsewhere / "pictures")
    assert load_config(str(file), ["data.root=s3://bucket/pictures"])[1].data.root == "s3://bucket/pictures"


def test_overrides_are_yaml(file):
    _, config = load_config(str(file), ["explain.methods=[cam, gradcam]", "box.threshold=0.15", "seed=7"])
    assert config.explain.methods == ["cam", "gradcam"] and config.box.threshold == 0.15 and config.seed == 7


def test_the_hash_covers_everything_but_the_runtime(file):
    base = load_config(str(file), [])[1].hash()
    assert load_config(str(file), ["runtime.workers=3", "runtime.executor=inline"])[1].hash() == base
    for override in ("box.threshold=0.2", "seed=1", "data.limit=5", "explain.layer=x", "evaluate.sweep=false"):
        assert load_config(str(file), [override])[1].hash() != base


def test_a_format_has_its_own_options(file):
    def data(*overrides: str) -> DataConfig:
        return load_config(str(file), list(overrides))[1].data

    assert data().split == "val" and data("data.split=train").options == {"split": "train"}
    assert data("data.format=digits").split == "eval"
    assert data("data.format=photos").options == {}
    # Runs of 0.2.1 have the default split for every format.
    assert data("data.format=photos", "data.split=val") == data("data.format=photos")
    for overrides, message in (
        (("data.format=photos", "data.split=x"), r"data\.split: the format photos has no option split; it has none"),
        (("data.format=digits", "data.split=val"), r"data\.split: .* no split 'val'; choose eval or train"),
        (("data.format=imagenet", "data.split=train"), r"data\.split: .* no split 'train'; choose val"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            data(*overrides)


def test_an_option_of_a_format_is_a_key(monkeypatch):
    @dataclass(frozen=True)
    class Options:
        order: Literal["up", "down"] = "up"
        pages: int = 3

    monkeypatch.setitem(FORMATS, "toy", Format("A toy.", Options, read="toy"))
    section = with_format_options(DataConfig)
    assert section(format="toy").options == {} and section(format="toy").model_dump()["order"] is None
    assert section(format="toy", order="down", pages=1).options == {"order": "down", "pages": 1}
    assert section(format="coco").options == {"split": "val"}
    with pytest.raises(ConfigurationError, match=r"data\.order: the format coco has no option order; .*are split"):
        section(format="coco", order="up")
    with pytest.raises(ValidationError, match="'up' or 'down'"):
        section(format="toy", order="sideways")


def test_differing_keys_are_named(file):
    one = load_config(str(file), [])[1].model_dump()
    other = load_config(str(file), ["box.threshold=0.1", "data.split=train", "runtime.workers=2"])[1].model_dump()
    assert differing_keys(one, other) == ["box.threshold", "data.split"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("box.treshold=0.1", r"unknown key box\.treshold; did you mean box\.threshold\?"),
        ("explian.methods=[cam]", r"unknown key explian\.methods; did you mean explain\.methods\?"),
        ("box.threshold=big", r"box\.threshold: .*number.*found 'big'"),
        ("box.threshold=2", r"box\.threshold: .*less than or equal to 1; found 2"),
        ("explain.targets=[top7]", r"explain\.targets: unknown target 'top7'; known: label, top1"),
        ("explain.methods=[cam,cam]", r"explain\.methods: the same name stands twice"),
        ("explain.methods=cam", r"explain\.methods: .*list; found 'cam'"),
        ("data.format=imagnet", r"data\.format: unknown format 'imagnet'; did you mean imagenet\?"),
        ("data.split=../x", r"data\.split: .*found '\.\./x'"),
        ("data.splt=x", r"unknown key data\.splt; did you mean data\.split\?"),
        ("runtime.shard_size=0", r"runtime\.shard_size: "),
        ("threshold", "write overrides as KEY=VALUE"),
        ("box.threshold=[", r"box\.threshold: not valid YAML"),
        ("seed.x=1", r"seed\.x: seed is not a section"),
        ("model=1", r"model: "),
    ],
)
def test_mistakes_in_one_line(file, override, message):
    file.write_text(MINIMAL + "seed: 0\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_config(str(file), [override])
    assert "\n" not in str(caught.value)


def test_names_and_files_that_are_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"unknown configuration 'imagnet-val'; did you mean imagenet-val\?"):
        load_config("imagnet-val", [])
    with pytest.raises(ConfigurationError, match=r"no configuration file .*none\.yaml"):
        load_config(str(tmp_path / "none.yaml"), [])
    for text, message in (
        ("- a\n", "expected KEY: VALUE"),
        ("a: [", "not valid YAML"),
        ("model: {spec: x}", "data is not set"),
    ):
        (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=message):
            load_config(str(tmp_path / "bad.yaml"), [])
