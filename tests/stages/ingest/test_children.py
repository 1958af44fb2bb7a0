from __future__ import annotations

import os
import time

import pytest

from stages.errors import StorageError
from stages.ingest import children
from stages.ingest.children import Lost, each

ACT = "tests.stages.ingest.calls:act"


def test_results_come_in_order_from_other_processes() -> None:
    words = [f"fine {number} é\udcff" for number in range(100)]
    found = list(each(ACT, words))
    assert [words for _, *words in found] == [one.split()[1:] for one in words]
    assert os.getpid() not in {pid for pid, *_ in found}
    assert list(each(ACT, [])) == []


def test_a_file_that_kills_its_process_costs_itself_alone(monkeypatch) -> None:
    monkeypatch.setattr(children, "TRIES", 1)  # Each needs another process.
    found = list(each(ACT, ["fine 1", "segfault", "fine 2", "exit", "segfault", "print 3"]))
    assert [isinstance(one, Lost) for one in found] == [False, True, False, True, True, False]
    assert [one[1:] for one in found if not isinstance(one, Lost)] == [["1"], ["2"], ["3"]]


def test_what_another_killed_is_tried_again(tmp_path) -> None:
    mark = str(tmp_path / "mark")
    assert [one[1:] for one in each(ACT, ["fine", f"once {mark}", "fine"])] == [[], [mark], []]


def test_a_hang_ends(monkeypatch) -> None:
    started = time.monotonic()
    lost, fine = each(ACT, ["hang", "fine"])
    assert isinstance(lost, Lost) and not isinstance(fine, Lost)
    assert time.monotonic() - started < 5
    monkeypatch.setattr(children, "_HUNG", 2)
    with pytest.raises(StorageError, match="hang and those before it cannot be read in 120 s each"):
        list(each(ACT, ["fine", "hang", "hang", "fine"]))


@pytest.mark.slow
def test_a_stopped_process_is_replaced(monkeypatch) -> None:
    monkeypatch.setattr(children, "SECONDS", 5)  # In which another must have started.
    monkeypatch.setattr(children, "_GRACE", 0)
    lost, fine = each(ACT, ["stop", "fine"])
    assert isinstance(lost, Lost) and not isinstance(fine, Lost)


def test_an_outage_is_no_fault_of_the_file() -> None:
    with pytest.raises(StorageError, match="the store is away"):
        list(each(ACT, ["fine", "outage", "fine"]))
    assert not isinstance(*each(ACT, ["fine"]), Lost)


def test_no_library_of_networks_is_imported(put) -> None:
    children._end_all()  # Of other tests.
    (header,) = each("stages.ingest.header:header_at", [str(put("a.png"))])
    assert header == [[20, 12], [20, 12], 1, False]
    (found,) = each("tests.stages.ingest.calls:modules", [""])
    assert "PIL" in found and not {"torch", "ray", "pyarrow", "cv2", "pycocotools"} & set(found)
