"""Files of class names in the forms that people have."""

from __future__ import annotations

import json

import pytest

from stages.classes import ClassInfo, imagenet_classes
from stages.classify.sources.class_names import read_classes
from stages.errors import ConfigurationError

NAMES = ["tench", "no", "2017"]
INFOS = [ClassInfo(name) for name in NAMES]
KERAS = [ClassInfo("tench", "n01440764"), ClassInfo("goldfish", "n01443537")]

FORMS = {
    "one a line": ("a.txt", "tench\nno\n2017\n", INFOS),
    "byte-order mark, CR and blank lines at the end": ("a.txt", "\ufefftench\r\nno\r\n2017\r\n\r\n \r\n", INFOS),
    "no suffix": ("names", "tench\nno\n2017", INFOS),
    "wnid and names": ("a.txt", "n01440764 tench\nn01443537 goldfish\n", KERAS),
    "wnids": ("a.txt", "n01440764\nn01443537\n", [ClassInfo(one.wnid, one.wnid) for one in KERAS]),
    "the text of a Python dict": ("a.txt", "{0: 'tench',\n 1: 'no',\n 2: \"2017\"}", INFOS),
    "json list": ("a.json", json.dumps(NAMES), INFOS),
    "json list, byte-order mark": ("a.json", "\ufeff" + json.dumps(NAMES), INFOS),
    "json index to name, out of order": ("a.json", '{"2": "2017", "0": "tench", "1": "no"}', INFOS),
    "json name to index": ("a.json", '{"no": 1, "2017": 2, "tench": 0}', INFOS),
    "json name to index, names of digits": (
        "a.json",
        json.dumps({str(name): at for at, name in enumerate(sorted(map(str, range(11))))}),
        [ClassInfo(name) for name in sorted(map(str, range(11)))],
    ),
    "Keras's table": ("a.json", '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}', KERAS),
    "Hugging Face's config": (
        "config.json",
        json.dumps(
            {
                "architectures": ["ResNetForImageClassification"],
                "depths": [3, 4],
                "id2label": {"0": "tench", "1": "no", "2": "2017"},
                "label2id": {"tench": 0, "no": 1, "2017": 2},
            }
        ),
        INFOS,
    ),
    "COCO's categories": (
        "a.json",
        '{"categories": [{"id": 7, "name": "no"}, {"id": 9, "name": "2017"}, {"id": 1, "name": "tench"}]}',
        INFOS,
    ),
    "yaml list": ("a.yaml", "- tench\n- no\n- 2017\n", INFOS),
    "yaml index to name": ("a.yml", "0: tench\n2: 2017\n1: no\n", INFOS),
    "yaml name to index": ("a.yaml", "no: 1\ntench: 0\n2017: 2\n", INFOS),
    "YOLO's data": ("data.yaml", "train: images\nnc: 3\nnames: [tench, no, 2017]\n", INFOS),
    "ImageNet by torchvision's names": (
        "a.json",
        json.dumps([one.name for one in imagenet_classes()]),
        list(imagenet_classes()),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_it_is_read(form, tmp_path):
    name, text, expected = FORMS[form]
    (tmp_path / name).write_bytes(text.encode())
    assert read_classes(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[1, 2", r"a\.json is not JSON: Expecting"),
        ("a.json", "ant\nbee\n", r"a\.json is not JSON"),
        ("a.yaml", "a: [1\nb: :", r"a\.yaml is not YAML"),
        ("a.json", '{"1": "ant", "2": "bee"}', "has no list of classes; write a list of names, or a mapping"),
        ("a.json", '{"ant": 0, "bee": 0}', "has no list of classes"),
        ("a.yaml", "0: 1\n1: 0\n", "has no list of classes"),
        ("a.json", '{"names": ["ant", null]}', "has no list of classes"),
        (
            "a.json",
            '{"names": ["a", "b"], "coarse_classes": ["c"]}',
            "has several lists of classes: names, coarse_classes",
        ),
        ("a.json", "[]", "has no list of classes"),
        ("a.txt", b"\xff\xfe\x00", "is not UTF-8 text; write one class name a line"),
    ],
)
def test_what_is_no_list_of_names_is_refused_in_one_line(name, text, message, tmp_path):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_classes(tmp_path / name)
    assert "\n" not in str(caught.value) and caught.value.about == "network"
