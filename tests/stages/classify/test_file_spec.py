"""What a spec of a checkpoint says: paths with its own separators in them, options, and mistakes."""

from __future__ import annotations

import pytest

from stages.classify.network import Preprocess
from stages.classify.sources import check_spec
from stages.classify.sources.file_spec import FileSpec, moved, parse, place
from stages.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w.pt?arch=lite0", FileSpec("w.pt", "lite0")),
        ("R&D=1/w.pt?arch=lite0", FileSpec("R&D=1/w.pt", "lite0")),
        ("what?/w=1.pt?arch=lite0", FileSpec("what?/w=1.pt", "lite0")),
        ("w?v=2.pt?arch=lite0", FileSpec("w?v=2.pt", "lite0")),
        ("w.pt?classes=R&D/my+names 100%.txt&arch=lite0", FileSpec("w.pt", "lite0", classes="R&D/my+names 100%.txt")),
        ("w.pt?num_classes=10&weights=ema&arch=nin", FileSpec("w.pt", "nin", 10, weights="ema")),
        ("w.pt?arch=timm:resnet50&mean=0.5&std=0.25", ((0.5,) * 3, (0.25,) * 3)),
        ("w.pt?arch=timm:resnet50&mean=0.4, 0.5,0&std=0.25,1,0.5", ((0.4, 0.5, 0.0), (0.25, 1.0, 0.5))),
    ],
)
def test_what_it_says(text, expected):
    found = parse(text)
    assert (
        (found.preprocess["mean"], found.preprocess["std"]) == expected
        if type(expected) is tuple
        else found == expected
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w.pt?arch=lite0", "/of/w.pt?arch=lite0"),
        ("m?v=2.pt?arch=lite0&classes=n.txt", "/of/m?v=2.pt?arch=lite0&classes=/of/n.txt"),
        ("what?/w=1.pt?classes=R&D/n=1.txt&arch=lite0", "/of/what?/w=1.pt?classes=/of/R&D/n=1.txt&arch=lite0"),
        ("w.pt", "/of/w.pt"),
    ],
)
def test_its_files_have_other_names_from_elsewhere(text, expected):
    assert moved(text, lambda name: f"/of/{name}") == expected


def test_the_preprocessing_of_the_architecture_is_changed_where_it_is_given():
    own = Preprocess(299, "bicubic", 0.9, (0.5,) * 3, (0.5,) * 3)
    assert parse("w.pt?arch=nin").applied(own) == own
    text = "w.pt?arch=nin&size=64&crop=1&interpolation=bilinear&mean=0"
    assert parse(text).applied(own) == Preprocess(64, "bilinear", 1.0, (0.0,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "mean=123.675,116.28,103.53",
            r"mean=123\.675,116\.28,103\.53 is not .*; divide by 255: mean=0\.485,0\.456,0\.406$",
        ),
        ("std=58.4,57.1,57.4", r"divide by 255: std=0\.229,0\.2239,0\.2251$"),
        ("mean=0.5,0.5", "mean=0.5,0.5 is not one or three values"),
        ("mean=-0.1", "not one or three values"),
        ("mean=nan", "not one or three values"),
        ("mean=", "mean= is not one or three values"),
        ("std=0", "std=0 is not one or three values"),
        ("std=a,b,c", "std=a,b,c is not one or three values"),
        ("size=16", "size=16 is not a number from 32 to 4096"),
        ("size=224.0", "size=224.0 is not a number"),
        ("crop=256", r"crop=256 is not a share of the image's shorter side, such as crop=0\.875"),
        ("crop=0", "crop=0 is not a share"),
        ("interpolation=bicubik", "unknown interpolation 'bicubik'; did you mean bicubic"),
        ("arch=nin", "arch stands twice"),
        ("sise=224", "found unknown sise; known: arch, num_classes, classes, weights, mean"),
    ],
)
def test_mistakes_are_found_in_the_text_alone(options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        check_spec(f"file:none.pt?arch=nin&{options}")
    assert caught.value.about == "network" and "\n" not in str(caught.value)


def test_a_name_is_taken_as_it_stands_where_there_is_such_a_file(tmp_path):
    for name in ("a b.txt", "100%25.txt", "a%20b.pt"):
        (tmp_path / name).touch()
    assert place(tmp_path, "a%20b.txt").name == "a b.txt"
    assert place(tmp_path, "100%25.txt").name == "100%25.txt"
    assert place(tmp_path, "a%20b.pt").name == "a%20b.pt"
