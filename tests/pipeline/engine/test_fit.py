"""The phase in which a run fits its foreground: committed once, equal bytes, no boxes seen, bad input named."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.run import run
from pipeline.commands.train_foreground import train_foreground
from pipeline.commands.verify import verify
from pipeline.engine import fit as fitting
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError
from stages.explain.foreground.file import Fit
from stages.explain.foreground.student import Student
from tests.runs import files, wsl_here

METHODS = "explain.methods=[cam,foreground,foreground-cam]"
SCALES = "explain.scales=[0.75,1.0]"
BOXES = "box.protocol=foreground2026"


@pytest.fixture(scope="module")
def fitted(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("fitted") / "run"
    run(tiny(METHODS, SCALES, BOXES, "evaluate.faithfulness=[average_drop]"), out)
    return out


def maps(folder, method):
    """Rows of one method."""
    rows = pq.read_table(folder / "predictions").to_pylist()
    return [row for row in rows if row["method"] == method]


def test_the_fit_is_a_file_of_the_run(fitted):
    data = (fitted / "fit" / "foreground.npz").read_bytes()
    found = Fit.of_bytes(data, "it")
    info = json.loads((fitted / "run.json").read_text())
    assert info["fit_sha256"] == hashlib.sha256(data).hexdigest()
    assert found.layer == info["layer"] and found.weights_sha256 == info["weights_sha256"]
    assert found.images == 22 and 0 < found.of_foreground < found.cells <= 40 * 22  # One image is broken.
    assert found.to_bytes() == data
    assert [one.name for one in (fitted / "fit").iterdir()] == ["foreground.npz"]


def test_what_a_map_was_made_from_is_stored_with_it(fitted):
    cam, foreground, both = (maps(fitted, method) for method in ("cam", "foreground", "foreground-cam"))
    assert {(row["map_h"], row["map_w"]) for row in cam} == {(56, 56)}
    assert {tuple(row["map_by_scale_sides"]) for row in [*cam, *both]} == {(6, 6, 8, 8)}
    assert [row["map_by_scale"] for row in cam] == [row["map_by_scale"] for row in both]
    assert {tuple(row["map_foreground_sides"]) for row in both} == {(8, 8)}
    for alone, part in zip(foreground, both, strict=True):
        assert not (alone["map_by_scale"] or alone["map_foreground"])
        values = np.array(alone["map"], np.float32) * alone["map_scale"]
        np.testing.assert_allclose(values, part["map_foreground"], rtol=2e-3, atol=1e-4)


@pytest.mark.slow
def test_another_run_begins_with_the_fit_of_one(fitted, tiny, tmp_path):
    for name, where in (("run", fitted), ("file", fitted / "fit" / "foreground.npz")):
        run(tiny(METHODS, SCALES, BOXES, f"explain.foreground={where}"), tmp_path / name)
        for method in ("foreground", "foreground-cam"):
            ours, theirs = maps(tmp_path / name, method), maps(fitted, method)
            assert [row["map"] for row in ours] == [row["map"] for row in theirs]
            assert [row["box"] for row in ours] == [row["box"] for row in theirs]
        assert (tmp_path / name / "fit" / "foreground.npz").read_bytes() == where_bytes(fitted)


def where_bytes(folder):
    return (folder / "fit" / "foreground.npz").read_bytes()


@pytest.mark.slow
def test_no_box_is_seen(fitted, tiny, tiny_data, tmp_path):
    shutil.copytree(tiny_data / "data", tmp_path / "data")
    file = tmp_path / "data" / "annotations.json"
    tree = json.loads(file.read_text())
    for one in tree["annotations"]:
        del one["bbox"]
    file.write_text(json.dumps(tree))
    run(tiny(METHODS, SCALES, BOXES, f"data.root={tmp_path / 'data'}"), tmp_path / "run")
    assert where_bytes(tmp_path / "run") == where_bytes(fitted)
    for method in ("cam", "foreground", "foreground-cam"):
        ours, theirs = maps(tmp_path / "run", method), maps(fitted, method)
        assert [(row["map"], row["box"]) for row in ours] == [(row["map"], row["box"]) for row in theirs]


@pytest.mark.slow
def test_an_interrupted_fit_goes_on_and_ends_alike(fitted, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "PART", 5)
    config = tiny(METHODS, SCALES, BOXES, "evaluate.faithfulness=[average_drop]")
    written, store = [], fitting.write_cells

    def failing(directory, info, part, *rest):
        if part == 2:
            raise KeyboardInterrupt
        store(directory, info, part, *rest)
        written.append(part)

    monkeypatch.setattr(fitting, "write_cells", failing)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run")
    monkeypatch.setattr(fitting, "write_cells", store)
    assert written == [0, 1]
    assert not list((tmp_path / "run" / "predictions").iterdir())
    cells = tmp_path / "run" / "fit" / "cells-part-000001.parquet"
    data = bytearray(cells.read_bytes())
    data[len(data) // 2] ^= 1
    cells.write_bytes(data)  # A damaged part is made again.
    run(config, tmp_path / "run")
    monkeypatch.setattr(fitting, "PART", 5)
    run(config, tmp_path / "whole")
    assert files(tmp_path / "run") == files(tmp_path / "whole")


@pytest.mark.slow
def test_a_lost_fit_is_made_again_and_another_is_refused(fitted, tiny, tmp_path):
    config = tiny(METHODS, SCALES, BOXES, "evaluate.faithfulness=[average_drop]")
    shutil.copytree(fitted, tmp_path / "run")
    part = tmp_path / "run" / "predictions" / "part-000001.parquet"
    before = part.read_bytes()
    part.unlink()
    (tmp_path / "run" / "fit" / "foreground.npz").unlink()
    run(config, tmp_path / "run")
    assert part.read_bytes() == before and where_bytes(tmp_path / "run") == where_bytes(fitted)
    (tmp_path / "run" / "fit" / "foreground.npz").unlink()
    assert "foreground.npz is missing" in verify(RunDir(tmp_path / "run"))["damaged"][0]
    train_foreground(tmp_path / "run")
    assert where_bytes(tmp_path / "run") == where_bytes(fitted) and not verify(RunDir(tmp_path / "run"))["damaged"]
    part.unlink()
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(info | {"fit_sha256": "0" * 64}))
    with pytest.raises(DataError, match=r"foreground\.npz is not the one that the run began with"):
        run(config, tmp_path / "run")


def test_what_cannot_be_is_refused(fitted, tiny, tmp_path):
    other = "model.spec=python:tests.pipeline.engine.test_fit:other_network"
    for overrides, error, words in (
        ([f"explain.foreground={fitted}", other], ConfigurationError, "was fitted to another network's features"),
        (
            [f"explain.foreground={fitted}", "explain.layer=features.2", "explain.methods=[foreground]"],
            ConfigurationError,
            r"this run explains feat",
        ),
        ([f"explain.foreground={tmp_path}"], ConfigurationError, r"there is no .*fit/foreground\.npz"),
        (["explain.layer=[features.1,features.3]"], ConfigurationError, "explain one layer"),
        (["evaluate.faithfulness=[adcc]"], ConfigurationError, "adcc explains altered images"),
        (
            ["explain.methods=[foreground,foreground-cam@features.1]"],
            ConfigurationError,
            "foreground and foreground-cam@features.1 are fitted together",
        ),
        ([f"explain.foreground={fitted / 'run.json'}"], ConfigurationError, r"there is no .*run\.json/fit"),
        (["model.spec=python:tests.pipeline.engine.test_fit:constant_network"], DataError, r"sure of 0 cells of fore"),
    ):
        with pytest.raises(error, match=words):
            run(tiny(METHODS, *overrides), tmp_path / "refused")
        shutil.rmtree(tmp_path / "refused", ignore_errors=True)
    (tmp_path / "foreground.npz").write_bytes(b"PK no")
    with pytest.raises(DataError, match="is no fitted foreground"):
        run(tiny(METHODS, f"explain.foreground={tmp_path / 'foreground.npz'}"), tmp_path / "refused")


def other_network():
    """The tiny network with other weights."""
    from stages.classify.network import Network, Preprocess
    from tests.stages.toys import CLASSES, GapLinear, seeded

    return Network(seeded(GapLinear, 1), [f"class {at}" for at in range(CLASSES)], Preprocess(size=32))


def constant_network():
    """The tiny network without weights: its features are 0 everywhere."""
    from stages.classify.network import Network, Preprocess
    from tests.stages.toys import CLASSES, GapLinear, seeded

    module = seeded(GapLinear, 1)
    for one in module.features.parameters():
        one.data.zero_()
    return Network(module, [f"class {at}" for at in range(CLASSES)], Preprocess(size=32))


@pytest.mark.slow
def test_a_run_without_a_fit_gets_one_for_others(fitted, tiny, tmp_path):
    run(tiny("explain.methods=[cam]", SCALES, "explain.fit_images=20"), tmp_path / "run")
    before = files(tmp_path / "run")
    said = wsl_here("train", "foreground", tmp_path / "run", "--json")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert found["images"] in (19, 20) and found["file"] == f"{tmp_path}/run/fit/foreground.npz"
    after = files(tmp_path / "run")
    assert after.pop("fit/foreground.npz") and after == before
    run(tiny(METHODS, SCALES, "explain.fit_images=20"), tmp_path / "own")
    assert where_bytes(tmp_path / "own") == where_bytes(tmp_path / "run")
    again = wsl_here("train", "foreground", tmp_path / "run")
    assert again.returncode == 2 and "has fit/foreground.npz already" in again.stderr


DAMAGES = {
    "few weights": {"weights": np.ones(3, np.float32)},
    "complex weights": {"weights": np.ones(16, np.complex64)},
    "infinite counts": {"counts": np.array([np.inf, 1, 1])},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_fit_is_refused_in_a_line(tiny, tmp_path, damage):
    run(tiny(METHODS, SCALES, "explain.fit_images=20"), tmp_path / "own")
    stored = dict(np.load(tmp_path / "own" / "fit" / "foreground.npz"))
    np.savez(tmp_path / "damaged.npz", **(stored | DAMAGES[damage]))
    with pytest.raises(DataError, match=r"explain\.foreground: .*(damaged|is no fitted foreground)"):
        run(tiny(METHODS, SCALES, f"explain.foreground={tmp_path / 'damaged.npz'}"), tmp_path / "other")


def test_an_archive_that_numpy_cannot_open_is_no_fit():
    data = bytearray(Fit(Student(np.ones(4), 0.0), "a", "b", 1, 2, 1).to_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # says that it is encrypted
    with pytest.raises(DataError, match=r"it is no fitted foreground: File .* is encrypted"):
        Fit.of_bytes(bytes(data), "it")
