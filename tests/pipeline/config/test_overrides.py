"""Python values arrive in a configuration as what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config.load import load_config
from pipeline.config.overrides import parsed
from pipeline.config.variants import variants
from stages.errors import ConfigurationError


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("box.threshold", 1e-05, 1e-05),
        ("box.threshold", np.float64(0.25), 0.25),
        ("evaluate.iou", (0.3, np.float32(0.5)), [0.3, 0.5]),
        ("evaluate.iou", np.array([0.25, 0.5]), [0.25, 0.5]),
        ("data.sample", None, None),
        ("explain.flip", True, True),
        ("explain.methods", ["gradcam@features.3", "gradcam++"], ["gradcam@features.3", "gradcam++"]),
        ("model.spec", "file:a b.pt?arch=lite0&num_classes=10", None),
        ("data.root", Path("/a: b/#1"), "/a: b/#1"),
        ("data.root", "/" + "long name " * 40 + "'ü\n", "/" + "long name " * 40 + "'ü\n"),
        ("data.split", "yes", "yes"),
        ("data.split", "007", "007"),
    ],
)
def test_values_arrive_as_they_are(tiny, key, value, expected):
    section, _, name = key.partition(".")
    found = getattr(getattr(tiny(*parsed({key: value})), section), name)
    if key == "model.spec":
        assert found == f"file:{Path('a b.pt').resolve()}?arch=lite0&num_classes=10"
    else:
        assert found == expected and type(found) is type(expected)


NAMES = (
    *("set #2", "|", ">", "2017", "007", "0x10", "1e5", "1_000", "12:30:00", "2020-01-01", "2020-13-45", ".5", ".inf"),
    *(
        "no",
        "Yes",
        "on",
        "true",
        "~no such user",
        "Null",
        "NULL",
        "null.",
        "''",
        "'quoted'",
        '"quoted"',
        '"half',
        "---",
        "...",
    ),
    *("@home", "%x", "%TAG", "`x`", "[old] set", "[", "[a, b]", "{a}", "{a: 1}", "}", "a: b", "a:", "- x", "-", "? x"),
    *(
        "*x",
        "&x",
        "&x y",
        "!x",
        "!!int 3",
        ",",
        "=",
        "a=b",
        "<<",
        "blank ",
        "blank\t",
        " blank",
        "two\nlines",
        "ü",
        "\\n",
    ),
)
"""Names that YAML takes for something else, or refuses."""


@pytest.mark.parametrize("name", NAMES)
def test_a_text_stands_as_it_is_written(tiny, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    lists = f"evaluate.blacklist={name}", f"explain.layer={name}" if name[0] != "[" else "explain.layer=last"
    config = tiny(f"data.root={name}", f"model.spec={name}", *lists)
    assert Path(config.data.root).samefile(tmp_path / name) and config.evaluate.blacklist == config.data.root
    assert config.model.spec == name and config.explain.layer in (name, "last")
    if not {"?", "&"} & set(name):  # These separate the options of a network.
        config = tiny(f"model.spec=file:{name}?arch=lite0&classes={name}")
        assert config.model.spec == f"file:{tmp_path / name}?arch=lite0&classes={tmp_path / name}"


def test_home_and_null_are_what_they_are_elsewhere(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tiny("data.root=~").data.root == str(tmp_path)
    assert tiny("data.root=~/x #1").data.root == str(tmp_path / "x #1")
    for nothing in ("null", ""):
        assert tiny("evaluate.blacklist=x", f"evaluate.blacklist={nothing}").evaluate.blacklist is None
    assert tiny("data.root=./null").data.root == str(Path("null").resolve())
    assert tiny(*parsed({"data.root": "null"})).data.root == str(Path("null").resolve())


def test_an_empty_path_is_none_and_not_the_working_directory(tiny, tmp_path):
    for key, section, name in (("data.root", "data", "root"), ("evaluate.blacklist", "evaluate", "blacklist")):
        assert getattr(getattr(tiny(*parsed({key: ""})), section), name) is None
    (tmp_path / "mine.yaml").write_text('data: {format: imagefolder, root: ""}\nmodel: {spec: lite0}\n')
    assert load_config(str(tmp_path / "mine.yaml"), [])[1].data.root is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("explain.methods=[cam, gradcam@0.10]", ["cam", "gradcam@0.10"]),
        ("explain.methods=gradcam", ["gradcam"]),
        ('explain.layer=[007, no, "a, b"]', ["007", "no", "a, b"]),
        ("explain.layer=0.10", "0.10"),
        ("explain.targets=label", ["label"]),
        ("evaluate.faithfulness=[]", []),
        ("evaluate.iou=0.5", [0.5]),
        ("evaluate.iou=[0.5]", [0.5]),
        ("explain.scales=1", [1.0]),
        ("box.comparator=>", ">"),
        ("box.quantize=none", "none"),
        ("box.quantize=null", None),
        ("box.threshold=1e-1", 0.1),
        ("runtime.batch_size=auto", "auto"),
        ("runtime.batch_size=0x10", 16),
        ("evaluate.sweep=no", False),
    ],
)
def test_lists_hold_texts_and_all_else_is_yaml(tiny, override, expected):
    section, _, name = override.partition("=")[0].partition(".")
    assert getattr(getattr(tiny(override), section), name) == expected


def test_the_texts_of_a_file_need_no_quotes(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "data: {format: coco, root: 2017, split: 007}\nmodel: {spec: no, size: 0x40}\n"
        "explain: {methods: [cam, 2020-01-01], layer: [0, 1.10]}\n"
        "evaluate: {blacklist: 12:30:00, calibrate_on: null, iou: 0.5}\nseed: 1_0\n"
    )
    config = load_config(str(file), [])[1]
    assert (config.data.root, config.data.split) == (str(tmp_path / "2017"), "007")
    assert (config.model.spec, config.model.size, config.seed) == ("no", 64, 10)
    assert (config.explain.methods, config.explain.layer) == (["cam", "2020-01-01"], ["0", "1.10"])
    assert config.evaluate.blacklist == str(tmp_path / "12:30:00") and config.evaluate.calibrate_on is None
    assert config.evaluate.iou == [0.5]
    assert load_config(str(file), ["data={format: coco, root: 010}"])[1].data.root == str(Path("010").resolve())


def test_choices_of_rules_are_lists_where_rules_may_be_listed(tiny):
    given = [
        "box.protocol=[cam2016, choe2020]",
        "box.quantize=[none,uint8]",
        "box.threshold=0.1",
        "data.root=[old] set",
    ]
    found = variants(given)
    assert [one.name for one in found] == ["cam2016-none", "cam2016-uint8", "choe2020-none", "choe2020-uint8"]
    config = tiny(*found[1].overrides)
    assert (config.box.protocol, config.box.quantize, config.box.threshold) == ("cam2016", "uint8", 0.1)
    assert config.data.root == str(Path("[old] set").resolve())
    with pytest.raises(ConfigurationError, match=r"box\.threshold: \[\] must have at least one value"):
        variants(["box.threshold=[]"])


def test_a_mapping_may_be_a_file_of_any_name_and_its_words_are_texts(tmp_path, tiny):
    for name in ("my map #2.yaml", "2017", "no"):
        (tmp_path / name).write_text("dog: [tabby]\n")
        assert tiny(f"data.class_map={tmp_path / name}").data.class_map == {"dog": ["tabby"]}
    assert tiny("data.class_map={no: 7, 007: [on, 258]}").data.class_map == {"no": ["7"], "007": ["on", "258"]}
    assert tiny("data.class_map=null").data.class_map is None


def test_an_unknown_key_is_the_mistake_whatever_its_value(tiny):
    with pytest.raises(ConfigurationError, match=r"unknown key data\.rot; did you mean data\.root\?"):
        tiny("data.rot=@home")


@pytest.mark.parametrize("bad", ["\a", "\udcff"])
def test_what_yaml_cannot_hold_is_refused_as_other_mistakes_are(tiny, bad):
    with pytest.raises(ConfigurationError, match=r"^box\.threshold: not valid YAML: unacceptable character"):
        tiny(f"box.threshold={bad}")
    with pytest.raises(ConfigurationError, match=r"unknown key data\.rot;"):
        tiny(f"data.rot={bad}")


def test_written_ones_stay_as_they_are():
    given = parsed(["box.threshold=0.1"])
    assert given == parsed(given) == [("box.threshold", 0.1)] and parsed(()) == []


def test_what_no_file_can_hold_is_refused():
    with pytest.raises(ConfigurationError, match=r"data\.root: object is not a value"):
        parsed({"data.root": object()})
