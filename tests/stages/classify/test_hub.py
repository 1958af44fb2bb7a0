"""Networks of timm where Hugging Face is out of reach, slow or in the cache."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stages.classify.sources import timm as source
from stages.errors import WeightsUnavailableError
from tests.runs import wsl

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra timm is not installed")
SMALL = "test_resnet.r160_in1k"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def hub(monkeypatch):
    """A server that takes a second to say that it has nothing."""

    class Slow(BaseHTTPRequestHandler):
        def do_HEAD(self):
            time.sleep(1)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("patience", [10, 0.2])
def test_a_hub_that_is_slow_is_there(hub, monkeypatch, patience):
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", patience)
    assert source._hub_answers()


@pytest.mark.parametrize("endpoint", [NOBODY, "http://no-such-host.invalid"])
def test_without_a_hub_weights_come_from_the_cache_or_are_refused_at_once(monkeypatch, tmp_path, endpoint):
    import timm
    from safetensors.torch import save_file

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    began = time.monotonic()
    with pytest.raises(WeightsUnavailableError, match=rf"cannot fetch the weights of timm:{SMALL} .*fill HF_HOME"):
        source.load(SMALL, Path())
    assert time.monotonic() - began < 10 and not constants.HF_HUB_OFFLINE
    module = timm.create_model("test_resnet").eval()
    cached = tmp_path / f"models--timm--{SMALL}"
    (cached / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("a" * 40)
    save_file(module.state_dict(), cached / "snapshots" / ("a" * 40) / "model.safetensors")
    found = source.load(SMALL, Path()).module.state_dict()
    assert all(found[name].equal(value) for name, value in module.state_dict().items())


@pytest.mark.slow  # a process that imports torch and timm
def test_a_run_without_the_hub_ends_soon_with_one_line(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", NOBODY)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    result = wsl("run", tiny_data / "tiny.yaml", f"model.spec=timm:{SMALL}", "--out", tmp_path / "run")
    assert result.returncode == 5 and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"error: model.spec: cannot fetch the weights of timm:{SMALL}")
    assert not (tmp_path / "run").exists()
