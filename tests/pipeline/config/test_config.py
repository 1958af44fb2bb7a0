from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from pydantic import ValidationError

from pipeline.config import history
from pipeline.config.history import Change, config_hash, differing_keys, former_hash, migrated
from pipeline.config.load import CONFIGS, config_names, load_config, stored_config
from pipeline.config.sections import Config, DataConfig, with_format_options
from stages.errors import ConfigurationError
from stages.formats.table import FORMATS, Format

MINIMAL = "data: {format: imagefolder, root: pictures}\nmodel: {spec: lite0}\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def test_every_shipped_configuration_is_valid_and_says_what_it_is():
    assert {"demo", "imagenet-val", "imagefolder", "coco", "photos", "cub", "openimages", "imagenet-train"} <= set(
        config_names()
    )
    for name in config_names():
        assert load_config(name, [])[0] == name
        assert (
            (CONFIGS / f"{name}.yaml")
            .read_text(encoding="utf-8")
            .startswith("# yaml-language-server: $schema=schema.json\n# ")
        )


def test_paths_are_relative_to_whoever_wrote_them(file, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_config(str(file), [])[1].data.root == str(tmp_path / "pictures")
    assert load_config(str(file), ["data.root=pictures"])[1].data.root == str(elsewhere / "pictures")
    assert load_config(str(file), ["data.root=s3://bucket/pictures"])[1].data.root == "s3://bucket/pictures"
    spec = load_config(str(file), ["model.spec=file:../a?/m.pt?classes=n.txt&arch=lite0"])[1].model.spec
    assert spec == f"file:{tmp_path}/a?/m.pt?classes={elsewhere}/n.txt&arch=lite0"


def test_overrides_are_yaml(file):
    _, config = load_config(str(file), ["explain.methods=[cam, gradcam]", "box.threshold=0.15", "seed=7"])
    assert config.explain.methods == ["cam", "gradcam"] and config.box.threshold == 0.15 and config.seed == 7


def test_the_hash_covers_everything_but_the_runtime(file):
    base = config_hash(load_config(str(file), [])[1])
    assert config_hash(load_config(str(file), ["runtime.workers=3", "runtime.executor=inline"])[1]) == base
    for override in ("box.threshold=0.2", "seed=1", "data.limit=5", "explain.layer=x", "evaluate.sweep=false"):
        assert config_hash(load_config(str(file), [override])[1]) != base


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
    one = load_config(str(file), [])[1]
    other = load_config(str(file), ["box.threshold=0.1", "data.split=train", "runtime.workers=2"])[1]
    assert differing_keys(one, other) == ["box.threshold", "data.split"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("box.treshold=0.1", r"unknown key box\.treshold; did you mean box\.threshold\?"),
        ("explian.methods=[cam]", r"unknown key explian\.methods; did you mean explain\.methods\?"),
        ("box.threshold=big", r"box\.threshold: .*number.*found 'big'"),
        ("box.threshold=2", r"box\.threshold: .*less than or equal to 1; found 2"),
        ("explain.targets=[top7]", r"explain\.targets: unknown target 'top7'; known: label, labels, present, top1"),
        ("explain.methods=[cam,cam]", r"explain\.methods: the same name appears twice"),
        ("evaluate.iou=null", r"evaluate\.iou: .*list; found None; write a list as \[cam, gradcam\]"),
        ("evaluate.iou={a: 1}", r"evaluate\.iou: .*list; found \{'a': 1\}"),
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


def test_the_hash_stays_when_a_version_adds_a_key(file, monkeypatch):
    """What is not set is not hashed, so a default that nobody had yet changes nothing."""
    config = load_config(str(file), ["box.threshold=0.3"])[1]
    assert history.changed_from_defaults(config) == {
        "data": {"format": "imagefolder", "root": config.data.root},
        "model": {"spec": "lite0"},
        "box": {"threshold": 0.3},
    }


def test_runs_of_0_2_1_are_found_by_the_hash_that_it_gave():
    """Computed by that version: Config.hash() of `run demo`."""
    assert former_hash(load_config("demo", [])[1]) == "646924b9b07192e8"
    imagenet = load_config("imagenet-val", ["data.root=/data/imagenet"])[1]
    assert former_hash(imagenet) == "a4b8fb01e095e973" != config_hash(imagenet)


def test_a_stored_configuration_of_an_earlier_schema_is_read_in_the_words_of_today(file, monkeypatch):
    change = Change(renamed={"model.network": "model.spec"}, defaults={"explain.flip": True})
    monkeypatch.setattr(history, "CHANGES", {2: Change(), 3: change})
    former = {"data": {"format": "imagefolder", "root": "/pictures"}, "model": {"network": "lite0"}}
    assert migrated(former, 3)["model"] == {"spec": "lite0"}
    found = stored_config(Config, b"schema: 2\ndata: {format: imagefolder}\nmodel: {network: lite0}\n", "config.yaml")
    assert found.model.spec == "lite0" and found.explain.flip
    assert not stored_config(
        Config, b"schema: 3\ndata: {format: imagefolder}\nmodel: {spec: lite0}\n", "x"
    ).explain.flip
    file.write_text("data: {format: imagefolder}\nmodel: {network: lite0}\n", encoding="utf-8")
    assert load_config(str(file), [])[1].model.spec == "lite0"
    with pytest.raises(ConfigurationError, match=r"model\.network is now called model\.spec, and both are set"):
        load_config(str(file), ["model.spec=demo"])


def test_a_stored_key_that_nobody_knows_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"run/config\.yaml: unknown key box\.sharpness; did you mean box\."):
        stored_config(Config, b"data: {format: coco}\nmodel: {spec: x}\nbox: {sharpness: 1}\n", "run/config.yaml")
