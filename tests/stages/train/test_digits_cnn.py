from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from stages.errors import WeightsUnavailableError
from stages.train import digits_cnn


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A few steps of training, into an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(digits_cnn, "_CANVASES", 64)
    monkeypatch.setattr(digits_cnn, "_THREADS", 1)
    caplog.set_level(logging.INFO, "wsl_pipeline")


def _trainings(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.getMessage().startswith("trained in") for record in caplog.records)


def test_it_trains_once_and_then_reads_the_file(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    first = digits_cnn.load()
    assert _trainings(caplog) == 1
    second = digits_cnn.load()
    assert _trainings(caplog) == 1
    assert first.weights_sha256 == second.weights_sha256
    assert digits_cnn.weights_file().is_relative_to(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_network_is_ready_to_be_explained() -> None:
    network = digits_cnn.load()
    assert [info.name for info in network.classes] == list("0123456789")
    assert network.preprocess.size == 96
    assert not network.module.training
    assert not any(parameter.requires_grad for parameter in network.module.parameters())
    image = torch.rand(2, 3, 96, 96)
    assert network.module(image).shape == (2, 10)
    features = network.module.get_submodule(network.resolve_layer("last"))
    assert features(image.mean(1, keepdim=True)).shape == (2, 128, 24, 24)


@pytest.mark.slow  # trains
def test_a_damaged_file_is_trained_anew(caplog: pytest.LogCaptureFixture) -> None:
    before = digits_cnn.load().weights_sha256
    path = digits_cnn.weights_file()
    for times, damaged in enumerate((b"", b"not a checkpoint", path.read_bytes()[:5000]), start=2):
        path.write_bytes(damaged)
        assert digits_cnn.load().weights_sha256 == before
        assert _trainings(caplog) == times


@pytest.mark.slow
def test_who_comes_second_waits_for_the_first(caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(3) as pool:
        networks = list(pool.map(lambda _: digits_cnn.load(), range(3)))
    assert len({network.weights_sha256 for network in networks}) == 1
    assert _trainings(caplog) == 1


def test_the_random_state_and_threads_of_the_process_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    before = torch.get_num_threads()
    digits_cnn.load()
    assert torch.get_num_threads() == before
    assert torch.equal(torch.rand(1), expected)


def test_an_unwritable_cache_names_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    with pytest.raises(WeightsUnavailableError, match="set XDG_CACHE_HOME"):
        digits_cnn.load()
