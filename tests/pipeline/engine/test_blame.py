import errno
import os
import shutil
import tarfile
from io import BytesIO

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.commands.run import run
from pipeline.config.recipe import resolve
from pipeline.engine import blame
from pipeline.engine.prepare import prepare
from pipeline.store.rundir import RunDir
from stages.batch import ImageError
from stages.errors import StorageError
from tests.runs import commits, files

MISSING = ImageError("decode", "Missing", "no such file")


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    for number in range(20):
        folder = root / f"class {number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture
def begun(data, tiny, tmp_path):
    config = tiny("data.format=imagefolder", f"data.root={data}")
    directory = RunDir.open(tmp_path / "run", config)
    prepare(directory, resolve(config))
    return directory


def missing(folder):
    return [(1, str(path), MISSING) for path in sorted(folder.rglob("*.png"))]


def test_single_images_and_whole_folders_may_be_missing(data, begun):
    errors = missing(data / "class 1")
    shutil.rmtree(data / "class 1")
    blame.check_reachable(begun, errors)
    blame.check_reachable(begun, errors[:1])


def test_few_images_of_many_may_be_there(data, begun):
    for path in sorted(data.rglob("*.png"))[:-1]:
        path.unlink()
    blame.check_reachable(begun, [(1, str(data / "class 0" / "0.png"), MISSING)])


@pytest.mark.parametrize("away", ["renamed", "unmounted"])
def test_data_that_are_away_are_not_the_images_fault(data, begun, away):
    errors = missing(data)[:3]
    data.rename(data.with_name("elsewhere"))
    if away == "unmounted":
        data.mkdir()
    with pytest.raises(StorageError, match="such file or directory; nor can any of 17 others, so the data are away"):
        blame.check_reachable(begun, errors)


def test_an_image_that_is_back_was_not_missing(data, begun):
    with pytest.raises(StorageError, match="was missing and is there now"):
        blame.check_reachable(begun, missing(data)[:1])


def failing(monkeypatch, code, where):
    """Let the system fail with a code wherever a path has some text."""
    opened = os.open

    def fail(path, *arguments, **options):
        if where in os.fspath(path):
            raise OSError(code, os.strerror(code), os.fspath(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", fail)


ENVIRONMENT = [
    *(errno.EIO, errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENXIO),
    *(errno.EBUSY, errno.EAGAIN, errno.EREMOTEIO, errno.ESTALE, errno.ENOTCONN),
]
QUICK = {(errno.EIO, "class 3"), (errno.EBUSY, "data")}


@pytest.mark.parametrize(
    ("code", "where"),
    [
        pytest.param(code, where, id=f"{errno.errorcode[code]} of {where}", marks=[] if quick else pytest.mark.slow)
        for code in ENVIRONMENT
        for where in ("data", "class 3")
        for quick in [(code, where) in QUICK]
    ],
)
def test_a_failing_disk_stops_the_run_and_costs_no_image(data, tiny, tmp_path, monkeypatch, code, where):
    config = tiny("data.format=imagefolder", f"data.root={data}")
    run(config, tmp_path / "calm")

    def fail(progress):
        if progress.done == 10:
            failing(monkeypatch, code, f"/{where}/")

    with pytest.raises(StorageError, match=f"cannot read .*{os.strerror(code)}.* run the same command again"):
        run(config, tmp_path / "run", fail)
    kept = commits(tmp_path / "run")
    assert 2 <= len(kept) < 4 and not list((tmp_path / "run" / "errors").iterdir())
    monkeypatch.undo()
    assert run(config, tmp_path / "run")["n_failed"] == 0
    assert files(tmp_path / "run") == files(tmp_path / "calm")


@pytest.mark.parametrize(
    "code", [errno.ESTALE, errno.ENOTCONN, errno.EBUSY, errno.EMFILE, errno.ETIMEDOUT], ids=errno.errorcode.get
)
def test_a_disk_that_is_gone_at_the_look_is_no_image_s_fault(data, begun, monkeypatch, code):
    failing(monkeypatch, code, "/data/")
    with pytest.raises(StorageError, match=os.strerror(code)):
        blame.check_reachable(begun, missing(data)[:2])


def test_an_archive_that_fails_is_no_image_s_fault(tmp_path, tiny, monkeypatch):
    for name in ("one", "two"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            for number in range(6):
                pixels = np.random.default_rng(number).integers(0, 255, (24, 24, 3), dtype=np.uint8)
                content = BytesIO()
                Image.fromarray(pixels).save(content, "PNG")
                entry = tarfile.TarInfo(f"class {number % 2}/{number}.png")
                entry.size = content.tell()
                content.seek(0)
                archive.addfile(entry, content)
    config = tiny("data.format=webdataset", f"data.root={tmp_path}/{{one,two}}.tar")
    directory = RunDir.open(tmp_path / "run", config)
    prepare(directory, resolve(config))
    uris = pq.read_table(directory.manifest)["uri"].to_pylist()
    failing(monkeypatch, errno.EIO, "/two.tar")
    error = ImageError("decode", "Unreadable", "[Errno 5] Input/output error")
    with pytest.raises(StorageError, match="nor can any of 5 others"):
        blame.check_reachable(directory, [(1, uris[-1], error)])


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.EPERM], ids=errno.errorcode.get)
def test_a_file_that_fails_alone_costs_itself(data, tiny, tmp_path, monkeypatch, code):
    failing(monkeypatch, code, "/7.png")
    assert run(tiny("data.format=imagefolder", f"data.root={data}"), tmp_path / "run")["n_failed"] == 1


def test_a_failing_folder_stops_the_run_beside_a_file_that_fails_alone(data, begun, monkeypatch):
    opened = os.open

    def fail(path, *arguments, **options):
        if "/class 0/0.png" in path or "/class 1/" in path:
            raise OSError(errno.EIO, "Input/output error", path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", fail)
    error = ImageError("decode", "Unreadable", "[Errno 5] Input/output error")
    alone, one = str(data / "class 0" / "0.png"), str(data / "class 1" / "1.png")
    blame.check_reachable(begun, [(1, alone, error)])
    with pytest.raises(StorageError, match=r"class 1/1\.png: Input/output error; nor can any of 4 others"):
        blame.check_reachable(begun, [(1, alone, error), (2, one, error)])


def test_an_image_that_could_not_be_read_for_a_moment_was_readable(data, begun):
    path = str(data / "class 0" / "0.png")
    error = ImageError("decode", "Unreadable", f"[Errno 5] Input/output error: '{path}'")
    with pytest.raises(StorageError, match="could not be read and can be now"):
        blame.check_reachable(begun, [(1, path, error)])


def test_what_failed_elsewhere_is_not_looked_at(data, begun):
    data.rename(data.with_name("elsewhere"))
    blame.check_reachable(begun, [(1, "/a.png", ImageError("loadmaps", "Missing", "no map"))])


def test_a_run_whose_data_go_away_stops_and_ends_as_if_they_had_stayed(data, tiny, tmp_path):
    config = tiny("data.format=imagefolder", f"data.root={data}")
    run(config, tmp_path / "calm")

    def unmount(progress):
        if progress.done == 10:
            data.rename(data.with_name("elsewhere"))

    with pytest.raises(StorageError, match="so the data are away"):
        run(config, tmp_path / "run", unmount)
    kept = commits(tmp_path / "run")
    assert 2 <= len(kept) < 4 and not list((tmp_path / "run" / "errors").iterdir())
    data.with_name("elsewhere").rename(data)
    assert run(config, tmp_path / "run")["n_failed"] == 0
    assert files(tmp_path / "run") == files(tmp_path / "calm")
    assert kept.items() <= commits(tmp_path / "run").items()
