"""A dataset in words of its own, and a network with several outputs for some of them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import pipeline as wsl
from pipeline.commands.compare import compare
from pipeline.commands.relocalize import relocalize
from pipeline.commands.run import preview, run
from pipeline.config.history import config_hash
from pipeline.config.load import load_config
from stages.errors import ConfigurationError, DataError
from tests.runs import BROKEN, COUNT, files, wsl_here
from tests.stages.toys import tiny_network

MAP = "data.class_map={low: [class 5, class_0, 3], mid: Class 1, high: ['2', class 6]}"
GROUPS = {"low": [0, 3, 5], "mid": [1], "high": [2, 6], "class 4": [4]}
WORDS = ["low", "mid", "high"]


@pytest.fixture(scope="module")
def own(tiny_data, tmp_path_factory):
    """The tiny images, boxes and network, with three categories of the user's own."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "data").mkdir()
    (folder / "data" / "images").symlink_to(tiny_data / "data" / "images")
    document = json.loads((tiny_data / "data" / "annotations.json").read_text())
    document["categories"] = [{"id": number, "name": name} for number, name in enumerate(WORDS, 1)]
    for annotation in document["annotations"]:
        annotation["category_id"] = annotation["image_id"] % 3 + 1
    (folder / "data" / "annotations.json").write_text(json.dumps(document))
    (folder / "own.yaml").write_text((tiny_data / "tiny.yaml").read_text())
    return folder


@pytest.fixture
def config(own):
    return lambda *overrides: load_config(str(own / "own.yaml"), list(overrides))[1]


@pytest.fixture(scope="module")
def mapped(own, tmp_path_factory):
    out = tmp_path_factory.mktemp("mapped") / "run"
    settings = load_config(str(own / "own.yaml"), [MAP, "evaluate.faithfulness=[average_drop]"])[1]
    return out, run(settings, out)


def images(own) -> list[Path]:
    names = [one["file_name"] for one in json.loads((own / "data" / "annotations.json").read_text())["images"]]
    return [own / "data" / name for number, name in enumerate(names, 1) if number != BROKEN]


def rows(out, **chosen):
    table = pq.read_table(sorted((out / "predictions").iterdir()), schema=None).to_pylist()
    return [row for row in table if all(row[key] == value for key, value in chosen.items())]


def test_probabilities_are_added_and_the_most_probable_output_is_explained(own, mapped):
    out, metrics = mapped
    labels = [number % 3 for number in range(1, COUNT + 1) if number != BROKEN]
    probs = wsl.explain(images(own), tiny_network()).probs
    members = [GROUPS[WORDS[label]] for label in labels]
    strongest = [own[int(np.argmax(row[own]))] for row, own in zip(probs, members, strict=True)]
    truth = wsl.explain(images(own), tiny_network(), method="gradcam", target=strongest)
    found = rows(out, method="gradcam", target_rank=0)
    assert [row["class_name"] for row in found] == [WORDS[label] for label in labels]
    assert [row["class_index"] for row in found] == [[0, 1, 2][label] for label in labels]
    sums = [row[own].sum() for row, own in zip(probs, members, strict=True)]
    np.testing.assert_allclose([row["prob"] for row in found], sums, rtol=1e-5)
    np.testing.assert_allclose([row["box"] for row in found], truth.boxes, atol=1e-3)
    for row, expected in zip(found, truth.maps, strict=True):
        np.testing.assert_allclose(np.array(row["map"], np.float32) * row["map_scale"], expected.ravel(), rtol=2e-3)
    assert {own.index(one) for own, one in zip(members, strongest, strict=True)} != {0}  # not always the first

    summed = np.stack([probs[:, outputs].sum(1) for outputs in GROUPS.values()], 1)
    order = np.argsort(-summed, 1)
    ranked = [[list(GROUPS)[index] for index in row] for row in order]
    for rank in range(4):
        guessed = rows(out, method="cam", target_rank=rank + 1)
        assert [row["class_name"] for row in guessed] == [row[rank] for row in ranked]
        np.testing.assert_allclose([row["prob"] for row in guessed], np.sort(summed, 1)[:, -1 - rank], rtol=1e-5)
    assert not rows(out, target_rank=5)  # four classes are left
    right = np.mean([row[0] == WORDS[label] for row, label in zip(ranked, labels, strict=True)])
    assert metrics["classification"]["top1"]["value"] == pytest.approx(right, abs=1e-6) and 0 < right < 1
    assert metrics["methods"]["cam"]["gt_known_loc"]["0.5"]["n"] == len(labels)


def test_files_of_a_run_use_the_words_of_the_dataset(mapped):
    out, _ = mapped
    truth = json.loads((out / "coco" / "ground_truth.json").read_text())
    names = {one["id"]: one["name"] for one in truth["categories"]}
    assert list(names.values()) == ["low", "mid", "high", *(f"class {index}" for index in range(3, 7))]
    assert [names[one["category_id"]] for one in truth["annotations"]] == [
        WORDS[number % 3] for number in range(1, COUNT + 1)
    ]
    predicted = json.loads((out / "coco" / "predictions.json").read_text())
    assert {"low", "mid"} <= {names[one["category_id"]] for one in predicted} <= {*WORDS, "class 4"}


def test_a_mapped_run_is_relocalized_compared_and_scored_again(mapped, tmp_path):
    out, metrics = mapped
    relocalize(out, [], tmp_path / "again")
    assert files(tmp_path / "again") == files(out)
    pairs = compare([out, tmp_path / "again"])["pairs"]
    assert {
        pair["metrics"]["gt_known_loc"]["0.5"]["difference"] for pair in pairs if pair["a"][-3:] == pair["b"][-3:]
    } == {0}
    coco = out / "coco"
    found = wsl_here(
        *("evaluate", "--ground-truth", coco / "ground_truth.json"),
        *("--predictions", coco / "predictions.json", "--json"),
    )
    again = json.loads(found.stdout)["methods"]["predictions"]["coco"]
    assert metrics["methods"]["cam"]["coco"] == again


def test_a_map_of_everything_explains_the_first_prediction(config, mapped, tmp_path):
    """Faithfulness asks about the output that was explained, not about the number of the class."""
    options = "explain.methods=[gradcam]", "evaluate.faithfulness=[average_drop]", "data.limit=4"
    plain = run(config(*options, "explain.targets=[top1]"), tmp_path / "plain")
    every = "data.class_map={low: [0, 1, 2, 3, 4, 5, 6]}"
    whole = run(config(*options, every, "explain.targets=[top1]"), tmp_path / "whole")
    drop = [one["methods"]["gradcam"]["faithfulness"]["average_drop"]["value"] for one in (plain, whole)]
    assert drop[0] == drop[1]
    first, second = rows(tmp_path / "plain"), rows(tmp_path / "whole")
    assert {row["class_index"] for row in second} == {0} and 0 not in {row["class_index"] for row in first}
    assert [row["map"] for row in first] == [row["map"] for row in second]
    np.testing.assert_allclose([row["prob"] for row in second], 1, rtol=1e-6)


def test_the_hash_is_that_of_what_a_map_says(config, tmp_path):
    texts = {
        "a.yaml": "# ours\nlow: [class 5, class_0, '3']\nmid: Class 1\nhigh: [2, class 6]\n",
        "b.json": '{"low": ["class 5", "class_0", 3],\n\t"mid": "Class 1", "high": ["2", "class 6"]}',
        "c.yaml": "low: [class 5]\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text("\ufeff" * (name == "b.json") + text, encoding="utf-8")
    a, b, c = (config(f"data.class_map={tmp_path / name}") for name in texts)
    assert config_hash(a) == config_hash(b) == config_hash(config(MAP)) != config_hash(c) != config_hash(config())
    assert config_hash(config("data.class_map=null")) == config_hash(config())
    (tmp_path / "own.yaml").write_text("data: {format: photos, class_map: c.yaml}\nmodel: {spec: lite0}\n")
    assert load_config(str(tmp_path / "own.yaml"), [])[1].data.class_map == {"low": ["class 5"]}


def test_names_in_a_file_are_text(config, tmp_path):
    (tmp_path / "map.yaml").write_text("007: no\n1: [2, 0.5]\nno: []\n2020-01-01:\n")
    found = config(f"data.class_map={tmp_path / 'map.yaml'}").data.class_map
    assert found == {"007": ["no"], "1": ["2", "0.5"], "no": [], "2020-01-01": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"map\.yaml: it maps no class; write a line a class, such as dog: \["),
        ("- dog\n", "it maps no class"),
        ("dog: [a\n", r"map\.yaml cannot be read: while parsing"),
        ("dog: {a: b}\n", r"\{'a': 'b'\} is not a name; put it in quotes"),
        ("dog: [a]\ncat: [c]\ndog: [b]\n", r"map\.yaml: 'dog' stands 2 times; give it one list"),
    ],
)
def test_files_that_are_no_map(config, tmp_path, text, message):
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"^data\.class_map: .*{message}") as caught:
        config(f"data.class_map={tmp_path / 'map.yaml'}")
    assert "\n" not in str(caught.value)


def test_a_map_that_is_nowhere_and_one_of_no_names(config, tmp_path):
    with pytest.raises(ConfigurationError, match=r"^data\.class_map: no file .*/map\.yaml"):
        config(f"data.class_map={tmp_path / 'map.yaml'}")
    with pytest.raises(ConfigurationError, match=r"^data\.class_map: "):
        config("data.class_map={low: [{a: b}]}")
    with pytest.raises(
        ConfigurationError, match=r"^data\.class_map: 'clas 9', under 'low', .*nearest: 'class 6'|5'|4'"
    ):
        preview(config("data.class_map={low: clas 9}"))


def test_images_that_lose_their_label_are_counted_with_the_ways_out(config, tmp_path):
    part = config("data.class_map={mid: Class 1}")
    found = preview(part)
    assert found["labelled"] == 8 and found["images"] == COUNT
    lost = r"15 of 23 images .*: the network does not know 'high' \(8 images\), 'low' \(7 images\)"
    with pytest.raises(DataError, match=rf"^explain\.targets: {lost}.*explain\.targets=\[label,top1\]"):
        preview(config("data.class_map={mid: Class 1}", "explain.targets=[label]"))
    for note in (
        found["notes"],
        run(part, tmp_path / "run") and json.loads((tmp_path / "run/run.json").read_text())["notes"][1],
    ):
        assert "15 of 23 images have no label to explain or to score" in note
        assert "'high' (8 images), 'low' (7 images); say what" in note and "data.class_map={high: [NAME, ...]}" in note
        assert "wsl-pipeline list classes python:tests.stages.toys:tiny_network)" in note
        assert "or train a head on your classes, wsl-pipeline train head data.format=coco data.root=" in note
        assert "model.spec=" not in note, "a head fits on no network that only this machine knows"


def test_words_that_the_network_has_none_of(config, tmp_path):
    with pytest.raises(DataError, match=r"^data: 23 of 23 images .*explain\.targets=\[top5\]") as caught:
        preview(config())
    assert "\n" not in str(caught.value) and "data.class_map={mid: [NAME, ...]}" in str(caught.value)
    only = config("explain.targets=[top1]", "explain.methods=[cam]")
    assert preview(only)["labelled"] == 0 and "23 of 23 images have no label to explain" in preview(only)["notes"]
    metrics = run(only, tmp_path / "run")
    assert "classification" not in metrics and len(rows(tmp_path / "run", target_rank=1)) == COUNT - 1


@pytest.mark.slow
def test_a_photograph_of_a_cat(tmp_path):
    """The word is no class of ImageNet; five of its classes are cats, and one of them is explained."""
    cats = [281, 282, 283, 284, 285]
    photo = Path(importlib.util.find_spec("skimage").submodule_search_locations[0], "data", "chelsea.png")
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "chelsea.png").symlink_to(photo)
    names = "[tabby, Tiger_Cat, n02123394, siamese cat, '285']"
    overrides = f"data.root={tmp_path / 'photos'}", "model.spec=lite0", "runtime.executor=inline"
    run(load_config("imagefolder", [*overrides, f"data.class_map={{cat: {names}}}"])[1], tmp_path / "run")
    explained = wsl.explain(photo, "lite0", method="cam")
    probs = explained.probs[0]
    assert explained.classes[0] in cats and probs.max() < 0.9
    for row in rows(tmp_path / "run", class_name="cat"):
        assert row["class_index"] == 281 and row["prob"] == pytest.approx(probs[cats].sum(), rel=1e-4)
        np.testing.assert_allclose(row["box"], explained.boxes[0], atol=0.01)
    assert [row["target_rank"] for row in rows(tmp_path / "run", class_name="cat")] == [0, 1]
