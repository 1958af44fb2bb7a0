"""Corrections that come back from the tools: what they change, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from pipeline.commands.evaluate import evaluate
from pipeline.commands.export import export
from pipeline.commands.import_review import _names, import_review
from pipeline.commands.quality import quality
from pipeline.commands.run import run
from pipeline.store.rundir import RunDir
from stages.errors import DataError
from stages.formats.reviews.review import Subjects
from stages.ingest.records import ImageRecord
from tests.runs import BROKEN, COUNT, wsl_here


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("review") / "run"
    run(tiny(), out)
    return out


@pytest.fixture
def own(made, tmp_path):
    return RunDir(Path(shutil.copytree(made, tmp_path / "run")))


def tasks_of(own: RunDir, folder: Path, **options: object) -> list[dict]:
    """Label Studio's export after every prediction was accepted as it stands."""
    export(own.uri, "labelstudio", folder, images="none", **options)
    tasks = json.loads((folder / "tasks.json").read_text())
    for task in tasks:
        result = [dict(region) for one in task["predictions"] for region in one["result"]]
        task["annotations"] = [
            {"result": result, "was_cancelled": False, "completed_by": 7, "updated_at": "2026-01-02"}
        ]
    return tasks


def put(folder: Path, tree: object, name: str = "back.json") -> Path:
    (folder / name).write_text(json.dumps(tree), encoding="utf-8")
    return folder / name


def rows(own: RunDir, folder: Path) -> dict[int, list[dict[str, str]]]:
    """The rows of an export as CSV, by image."""
    export(own.uri, "csv", folder, images="none")
    found: dict[int, list[dict[str, str]]] = {}
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(int(row["image_id"]), []).append(row)
    return found


def boxed(tasks: list[dict]) -> list[dict]:
    return [task for task in tasks if task["annotations"][0]["result"]]


def test_label_studio_unchanged_changes_nothing(own, tmp_path):
    found = import_review(own, put(tmp_path, tasks_of(own, tmp_path / "out")))
    assert found == {"reviewed": COUNT - 1, "accepted": COUNT - 1, "changed": 0, "notes": []}
    after = rows(own, tmp_path / "after")
    statuses = {row["status"] for image in after.values() for row in image}
    assert statuses == {"reviewed", ""}, "an image that has no object has no label"


def test_one_moved_box_is_one_change_and_exports_have_it(own, tmp_path):
    tasks = tasks_of(own, tmp_path / "out")
    before = rows(own, tmp_path / "before")
    task = boxed(tasks)[0]
    image, region = task["data"]["image_id"], task["annotations"][0]["result"][0]
    region["value"].update(x=10, y=20, width=50, height=60)
    found = import_review(own, put(tmp_path, tasks))
    assert found["changed"] == 1
    after = rows(own, tmp_path / "after")
    width, height = region["original_width"], region["original_height"]
    (row,) = after[image]
    assert [float(row[side]) for side in ("x0", "y0", "x1", "y1")] == pytest.approx(
        [0.1 * width, 0.2 * height, 0.6 * width, 0.8 * height], abs=1e-3
    )
    assert (row["status"], row["source"], row["quality"], row["score"]) == ("reviewed", "7", "1.0", "")
    for one in boxed(tasks)[1:]:
        number = one["data"]["image_id"]
        sides = [
            [float(own_rows[number][0][side]) for side in ("x0", "y0", "x1", "y1")] for own_rows in (before, after)
        ]
        assert sides[0] == pytest.approx(sides[1], abs=0.01)


def test_no_region_means_no_object_and_no_annotation_no_review(own, tmp_path):
    tasks = tasks_of(own, tmp_path / "out")
    empty, unseen, cancelled, *_ = boxed(tasks)
    empty["annotations"][0]["result"] = []
    unseen["annotations"] = []
    cancelled["annotations"][0]["was_cancelled"] = True
    found = import_review(own, put(tmp_path, tasks))
    assert found["changed"] == 1 and found["reviewed"] == COUNT - 3
    assert found["notes"] == ["2 tasks have no annotation: not reviewed"]
    after = rows(own, tmp_path / "after")
    assert [row["label"] for row in after[empty["data"]["image_id"]]] == [""]
    for task in (unseen, cancelled):
        assert after[task["data"]["image_id"]][0]["status"] == "pseudo"


def test_the_ground_truth_or_the_last_of_several_annotations_counts(own, tmp_path):
    tasks = tasks_of(own, tmp_path / "out")
    first, second, *_ = boxed(tasks)
    for task, times in ((first, ("2026-01-03", "2026-01-01")), (second, ("2026-01-01", "2026-01-03"))):
        (one,) = task["annotations"]
        task["annotations"] = [one | {"updated_at": times[0]}, {"result": [], "updated_at": times[1]}]
    second["annotations"][0]["ground_truth"] = True
    found = import_review(own, put(tmp_path, tasks))
    assert found["changed"] == 0 and found["notes"][0].startswith("2 tasks have several annotations")


def test_a_rotated_box_becomes_the_upright_one_around_it(own, tmp_path):
    """In pixels: the axes of percents have different scales."""
    tasks = tasks_of(own, tmp_path / "out")
    task = boxed(tasks)[0]
    region = task["annotations"][0]["result"][0]
    width, height = region["original_width"], region["original_height"]
    region["value"].update(x=50, y=0, width=1000 / width, height=500 / height, rotation=90)  # 10 by 5 pixels
    found = import_review(own, put(tmp_path, tasks))
    assert "1 boxes are rotated: the upright box around each is taken" in found["notes"]
    (row,) = rows(own, tmp_path / "after")[task["data"]["image_id"]]
    assert [float(row[side]) for side in ("x0", "y0", "x1", "y1")] == pytest.approx(
        [width / 2 - 5, 0, width / 2, 10], abs=1e-3
    )


@pytest.mark.parametrize("change", [{"type": "polygonlabels"}, {"image_rotation": 90}, {"type": "brushlabels"}])
def test_an_image_with_a_region_that_is_no_box_is_not_reviewed(own, tmp_path, change):
    """To leave the region out would say that there is no object."""
    tasks = tasks_of(own, tmp_path / "out")
    task = boxed(tasks)[0]
    task["annotations"][0]["result"][0].update(change)
    choice = {"type": "choices", "from_name": "c", "to_name": "image", "value": {"choices": ["good"]}}
    boxed(tasks)[1]["annotations"][0]["result"].append(choice)
    found = import_review(own, put(tmp_path, tasks))
    assert found["reviewed"] == COUNT - 2 and found["changed"] == 0
    assert found["notes"][0].startswith("1 images have regions that are no boxes with a class, or that were drawn on")
    assert rows(own, tmp_path / "after")[task["data"]["image_id"]][0]["status"] == "pseudo"


def test_names_of_other_tools_mean_one_image_or_none():
    records = [ImageRecord(1, "", "a.jpg", 0, 9, 9), ImageRecord(2, "", "s/a.jpg", 0, 9, 9)]
    records.append(ImageRecord(3, "", "t/b.jpg", 0, 9, 9))
    subjects = Subjects(records, _names({one.image_id: one.file_name for one in records}))
    names = ["s/a.jpg", "images/s/a.jpg", "C:\\data\\s\\a.jpg", "s__a.jpg", "/x/data/b.jpg", "b.jpg"]
    assert [subjects.named(name) for name in names] == [2, 2, 2, 2, 3, 3]
    assert subjects.named("a.jpg") == 1
    assert [subjects.named(name, whole=False) for name in ("a.jpg", "/x/a.jpg", "c.jpg", "")] == [None] * 4


def test_two_reviews_of_one_image_and_endless_numbers_are_refused(own, tmp_path):
    tasks = tasks_of(own, tmp_path / "out")
    with pytest.raises(DataError, match="2 images are named twice"):
        import_review(own, put(tmp_path, [*tasks, *tasks[:2]]))
    boxed(tasks)[0]["annotations"][0]["result"][0]["value"]["x"] = float("nan")
    with pytest.raises(DataError, match="1 boxes have numbers that are not finite"):
        import_review(own, put(tmp_path, tasks))


@pytest.mark.parametrize("flatten", [pytest.param(False, marks=pytest.mark.slow), True])
def test_cvat_unchanged_and_changed(own, tmp_path, flatten):
    export(own.uri, "cvat", tmp_path / "out", images="none", flatten=flatten)
    text = (tmp_path / "out" / "annotations.xml").read_text()
    (tmp_path / "back.xml").write_text(text)
    assert import_review(own, tmp_path / "back.xml")["changed"] == 0
    at = text.index("<box ")
    (tmp_path / "back.xml").write_text(text[:at] + text[text.index("</box>") + len("</box>\n") :])
    assert import_review(own, tmp_path / "back.xml")["changed"] == 1
    mask = '<mask label="class 1" rle="1,2" left="0" top="0" width="1" height="3"/>'
    (tmp_path / "back.xml").write_text(text[:at] + mask + text[at:])
    found = import_review(own, tmp_path / "back.xml")
    assert found["reviewed"] == COUNT - 2 and "neither boxes nor polygons: not reviewed" in found["notes"][0]
    points = '<polygon label="class 1" points="1.00,2.00;9.00,4.00;3.00,8.50"/>'
    (tmp_path / "back.xml").write_text(text[:at] + points + text[text.index("</box>") + len("</box>\n") :])
    found = import_review(own, tmp_path / "back.xml")
    assert found["changed"] == 1 and "1 polygons: the box around each is taken" in found["notes"]
    assert any(row[0]["x1"] == "9.0" and row[0]["y1"] == "8.5" for row in rows(own, tmp_path / "after").values())


def test_fiftyone_s_coco_and_samples(own, tmp_path):
    export(own.uri, "coco", tmp_path / "out", images="none")
    document = json.loads((tmp_path / "out" / "annotations.json").read_text())
    for image in document["images"]:
        image["file_name"] = image["file_name"].rpartition("/")[2]  # FiftyOne keeps the last part only.
        image["id"] += 100
    for one in document["annotations"]:
        one["image_id"] += 100
    assert import_review(own, put(tmp_path, document))["changed"] == 0
    document["annotations"][0]["bbox"][2] /= 2
    assert import_review(own, put(tmp_path, document))["changed"] == 1
    samples = [
        {
            "filepath": f"/somewhere/data/{image['file_name']}",
            "labels": {
                "_cls": "Detections",
                "detections": [
                    {
                        "label": document["categories"][one["category_id"] - 1]["name"],
                        "bounding_box": [
                            value / side
                            for value, side in zip(one["bbox"], 2 * (image["width"], image["height"]), strict=False)
                        ],
                    }
                    for one in document["annotations"]
                    if one["image_id"] == image["id"]
                ],
            },
        }
        for image in document["images"]
    ]
    assert import_review(own, put(tmp_path, {"samples": samples}))["changed"] == 1


def test_a_second_import_merges_and_keeps_who_and_where_from(own, tmp_path):
    tasks = tasks_of(own, tmp_path / "out")
    first, second, *_ = boxed(tasks)
    import_review(own, put(tmp_path, [first], "first.json"))
    first["annotations"][0] |= {"result": [], "completed_by": {"email": "ann@example.org"}}
    import_review(own, put(tmp_path, [second, first], "second.json"))
    stored = {one["image_id"]: one for one in json.loads(own.read("review/reviews.json"))}
    assert set(stored) == {first["data"]["image_id"], second["data"]["image_id"]}
    newer = stored[first["data"]["image_id"]]
    assert (newer["by"], newer["file"], newer["boxes"]) == ("ann@example.org", "second.json", [])


def test_another_run_s_file_is_refused_with_the_count_and_nothing_is_imported(own, tmp_path):
    tasks = tasks_of(own, tmp_path / "out")
    others = [task | {"data": {"image": "/data/local-files/?d=other.jpg"}} for task in tasks[:3]]
    for task in tasks[3:]:
        for region in task["annotations"][0]["result"]:
            region["original_width"] += 1
    with pytest.raises(DataError, match=r"not of this run: 3 images are not of the run, \d+ boxes belong to"):
        import_review(own, put(tmp_path, others + tasks[3:]))
    tasks = tasks_of(own, tmp_path / "again")
    boxed(tasks)[0]["annotations"][0]["result"][0]["value"]["rectanglelabels"] = ["unicorn"]
    with pytest.raises(DataError, match="1 boxes are of classes that its network does not have; nothing was imported"):
        import_review(own, put(tmp_path, tasks))
    assert not own.exists("review/reviews.json")


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "<a/>", "<annotations><image/></annotations>", '{"samples": 1}', "\xff"]
)
def test_a_file_of_something_else_is_refused_in_one_line(own, tmp_path, text):
    (tmp_path / "x").write_text(text, encoding="latin-1")
    found = wsl_here("import-review", own.uri, tmp_path / "x")
    assert found.returncode == 3 and found.stderr.startswith("error: ") and found.stderr.count("\n") == 1
    assert wsl_here("import-review", own.uri, tmp_path / "absent").returncode == 3


@pytest.mark.slow
def test_reviews_are_the_truth_of_a_fit(own, tmp_path):
    tasks = tasks_of(own, tmp_path / "out")
    for task in boxed(tasks)[::2]:
        task["annotations"][0]["result"][0]["value"].update(x=0, y=0, width=3, height=3)
    import_review(own, put(tmp_path, tasks))
    judged = quality(own)["judged"]["right"]
    # Boxes narrower than a pixel are not exported, and wrong where a person says that there is no object.
    assert judged["n"] >= len(boxed(tasks)) and round(judged["value"] * judged["n"]) == len(boxed(tasks)[1::2])
    assert BROKEN not in {task["data"]["image_id"] for task in tasks}


def test_reviewed_boxes_are_ground_truth(own, tmp_path):
    results = Path(own.where("coco/predictions.json"))
    with pytest.raises(DataError, match=r"--ground-truth: nobody reviewed .*import-review"):
        evaluate(Path(own.uri), results, None, [])
    tasks = [one for one in tasks_of(own, tmp_path / "out") if one["annotations"][0]["result"]][:6]
    moved = tasks[0]["annotations"][0]["result"][0]["value"]
    moved["x"], moved["width"] = (0, moved["width"] / 4) if moved["x"] > 1 else (95, 5)
    import_review(own, put(tmp_path, tasks))
    scores = evaluate(Path(own.uri), results, None, ["evaluate.iou=0.9"])
    known = scores["methods"]["predictions"]["gt_known_loc"]["0.9"]
    # The results hold five of seven classes: where the label is among them, its box is the one that was accepted.
    assert scores["n_images"] == known["n"] == 6 and 0 < known["value"] < 1


def test_only_the_listed_images(own, tmp_path):
    (tmp_path / "ids.txt").write_text("3\n7\n")
    found = export(own.uri, "csv", tmp_path / "out", ids=tmp_path / "ids.txt", images="none")
    assert found["images"] == 2 and set(rows(own, tmp_path / "all")) > {3, 7}
    (tmp_path / "ids.txt").write_text(f"3\n{BROKEN}\n99\n")
    with pytest.raises(DataError, match=rf"^--ids: 2 of 3 ids are no images of .*, such as {BROKEN}$"):
        export(own.uri, "csv", tmp_path / "other", ids=tmp_path / "ids.txt", images="none")
    assert not (tmp_path / "other").exists()


HUGE = 10**400
ODD = {
    "a number that no float holds": lambda region: region["value"].update(x=HUGE),
    "a list for a name": lambda region: region["value"].update(rectanglelabels=[["a"]]),
    "a mapping for a name": lambda region: region["value"].update(rectanglelabels=[{"a": 1}]),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_values_of_label_studio_are_refused_in_a_line(own, tmp_path, odd):
    tasks = tasks_of(own, tmp_path / "out")
    ODD[odd](boxed(tasks)[0]["annotations"][0]["result"][0])
    with pytest.raises(DataError, match=r"back\.json cannot be read as an export of"):
        import_review(own, put(tmp_path, tasks))


@pytest.mark.parametrize("bbox", [[HUGE, 1, 2, 3], ["1", "2", "3", "4"], [[1], [2], [3], [4]]])
def test_odd_boxes_of_coco_are_refused_in_a_line(own, tmp_path, bbox):
    export(own.uri, "coco", tmp_path / "out", images="none")
    document = json.loads((tmp_path / "out" / "annotations.json").read_text())
    document["annotations"][0]["bbox"] = bbox
    with pytest.raises(DataError, match=r"back\.json cannot be read as an export of"):
        import_review(own, put(tmp_path, document))


def test_boxes_of_no_use_are_refused_or_counted(own, tmp_path):
    export(own.uri, "coco", tmp_path / "out", images="none")
    document = json.loads((tmp_path / "out" / "annotations.json").read_text())
    first = document["annotations"][0]
    outside = json.loads(json.dumps(document))
    outside["annotations"][0]["bbox"] = [1000, 1000, 5, 5]
    found = import_review(own, put(tmp_path, outside))
    assert found["notes"] == ["1 boxes are outside their image or narrower than a pixel: exports leave them out"]
    for change, reason in (
        ({"bbox": [5, 5, -3, 2]}, "1 boxes have a negative size"),
        ({"image_id": 12345}, "1 boxes are of images that the file does not list"),
    ):
        document["annotations"][0] = first | change
        with pytest.raises(DataError, match=f"{reason}; nothing was imported"):
            import_review(own, put(tmp_path, document))


@pytest.mark.parametrize("text", ["[]", "<annotations/>", '{"images": [], "annotations": [], "categories": []}'])
def test_a_file_without_images_is_refused(own, tmp_path, text):
    (tmp_path / "back").write_text(text)
    with pytest.raises(DataError, match="names no image"):
        import_review(own, tmp_path / "back")


def test_xml_of_an_unknown_encoding_is_refused(own, tmp_path):
    (tmp_path / "back.xml").write_text('<?xml version="1.0" encoding="nonsense"?><annotations/>')
    with pytest.raises(DataError, match=r"cannot be read as an export of .*unknown encoding"):
        import_review(own, tmp_path / "back.xml")
