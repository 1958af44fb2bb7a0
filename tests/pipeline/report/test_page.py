"""The page as a whole: what it says, and that it is safe, self-contained and reproducible."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.commands.run import run
from pipeline.report.page import write_report
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError
from tests.pipeline.report import hostile

_VOID = {"meta", "img", "input", "br", "line", "rect", "circle", "polyline"}


class Page(HTMLParser):
    """Elements, visible text and open tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def count(self, tag: str, cls: str | None = None) -> int:
        return sum(name == tag and (cls is None or cls in (a.get("class") or "").split()) for name, a in self.elements)


def page_of(done: RunDir) -> Page:
    return Page(Path(write_report(done, done.recipe(), done.path.parent / "again.html")).read_text(encoding="utf-8"))


def test_scores_stand_beside_the_baselines(scored):
    page, metrics = page_of(scored), scored.read_json("metrics.json")
    cam = metrics["methods"]["cam"]
    for value in (cam["gt_known_loc"]["0.5"]["value"], cam["top1_loc"]["0.5"]["value"]):
        assert f"{100 * value:.1f}" in page.text
    assert f"{cam['mean_iou']['value']:.3f}" in page.text
    assert f"{metrics['baselines']['full_image']['mean_iou']['value']:.3f}" in page.text
    best = metrics["baselines"]["center_gaussian"]["max_box_acc"]["0.3"]["value"]
    assert f"{100 * best:.1f}" in page.text
    assert metrics["methods"]["gradcam"]["same_map_as"] == "cam" and "same_map_as" not in cam
    assert metrics["protocol_fingerprint"] in page.text and "same map as cam" in page.text
    assert page.count("polyline", "data") == 3 + 1 + 2  # one curve an IoU level, the histogram, the quality


def test_galleries_show_each_image_with_heat_map_boxes_and_alt_text(scored):
    page = page_of(scored)
    assert page.count("figure") == 3 + 3 * 12  # curves; best, worst, random
    assert all(title in page.text for title in ("Best", "Worst", "Random"))
    assert page.count("rect", "truth") == 36 + 1  # one a picture, one in the legend
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert page.count("img", "heat") == page.count("rect", "estimate") - 1 > 5  # an empty map has neither
    assert all(one["alt"] for one in images)
    assert "bild 4 é.png" in page.text


def test_failures_are_listed_by_code_and_name(scored, labelled):
    assert re.search(r"NotAnImage\s+in decode: 1\b", page_of(scored).text)
    assert "images/bild 11 é.png" in page_of(scored).text
    assert re.search(rf"NotAnImage\s+in decode: {len(hostile.FOLDERS)}\b", page_of(labelled).text)


def test_names_are_text_and_never_markup(labelled):
    page = page_of(labelled)
    for name in (hostile.CLASSES[0], hostile.CLASSES[4], hostile.FILE, hostile.BROKEN):
        assert name in page.text
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "link", "base", "form"}
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert "{{ 7 * 7 }}" in page.text


@pytest.mark.parametrize("which", ["scored", "labelled", "unlabelled"])
def test_the_page_is_whole_and_loads_nothing(which, request):
    done = request.getfixturevalue(which)
    text = (done.path / "report" / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    addresses = [a[key] for _, a in page.elements for key in ("src", "href", "srcset", "xlink:href") if key in a]
    assert addresses and all(address.startswith("data:image/") for address in addresses)
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style and "@import" not in style
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert len(text) < 6_000_000


def test_equal_runs_give_equal_pages(scored, tiny, tmp_path):
    first = (scored.path / "report" / "index.html").read_bytes()
    run(tiny("runtime.shard_size=9", "runtime.batch_size=7"), tmp_path / "other")
    assert (tmp_path / "other" / "report" / "index.html").read_bytes() == first
    assert Path(write_report(scored, scored.recipe(), tmp_path / "again" / "page.html")).read_bytes() == first
    assert str(scored.path).encode() not in first


def test_a_run_without_labels_shows_what_the_network_sees(unlabelled):
    page = page_of(unlabelled)
    assert "Nothing is scored" in page.text and "Predicted classes" in page.text
    assert "Scores" not in page.text and "Accuracy over threshold" not in page.text and "Best" not in page.text
    assert page.count("figure") == 12
    assert page.count("rect", "estimate") == 12 + 1 and page.count("rect", "truth") == 0


def test_an_image_that_is_gone_leaves_its_place(labelled):
    page = page_of(labelled)
    gone = len(hostile.FOLDERS)
    assert page.count("figure") == 2 * gone
    assert page.count("div", "gone") == page.text.count("the image is no longer there") == gone


def test_a_run_without_any_prediction_has_a_page(tmp_path):
    from tests.pipeline.report.conftest import _folder_run

    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.png").write_bytes(b"nothing")
    page = page_of(_folder_run(tmp_path / "images", tmp_path / "run"))
    assert "1 of 1 images" in page.text and page.count("figure") == 0


def test_configuration_is_shown_without_what_changes_no_result(scored):
    page = page_of(scored)
    assert "protocol: cam2016" in page.text and "executor" not in page.text


def test_mistakes_are_one_line(scored, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="--dest: cannot write"):
        write_report(scored, scored.recipe(), tmp_path / "file" / "page.html")
    shutil.copytree(scored.path, tmp_path / "half")
    (tmp_path / "half" / "metrics.json").unlink()
    with pytest.raises(DataError, match=r"has no metrics\.json"):
        write_report(RunDir(tmp_path / "half"), RunDir(tmp_path / "half").recipe())


def test_permuted_labels_are_pointed_at(scored, tmp_path):
    """What a run warns of stands on its page: here every image is called what the next label is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.store.rundir import encode
    from pipeline.store.tables import error_table

    shutil.copytree(scored.path, tmp_path / "run")
    done = RunDir(tmp_path / "run")
    manifest = pq.read_table(done.manifest)
    ids = range(1, 211)
    repeated = manifest.take([0] * len(ids)).set_column(0, "image_id", pa.array(ids, pa.int64()))
    labels = [i % 7 for i in ids]
    repeated = repeated.set_column(3, "label", pa.array(labels, pa.int32()))
    part = next(done.predictions())
    done.write("manifest.parquet", encode(repeated.cast(manifest.schema)))
    info = done.info()
    info.manifest_sha256 = done.written["manifest.parquet"]
    done.write_info(info)
    done = RunDir(done.uri)
    part = part.slice(1, 1).take([0] * len(ids))
    for name, values in (("image_id", list(ids)), ("class_index", [(label + 1) % 7 for label in labels])):
        at = part.schema.get_field_index(name)
        part = part.set_column(at, part.schema.field(at), pa.array(values, part.schema.field(at).type))
    for path in (done.path / "predictions").glob("*"):
        path.unlink()
    done.commit(0, part, error_table([]))
    metrics = json.loads((done.path / "metrics.json").read_text())
    done.write_json("metrics.json", metrics | {"n_images": len(ids), "n_failed": 0})
    (done.path / "errors" / "part-000002.parquet").unlink()
    assert "the labels look permuted" in page_of(done).text
