"""The page in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def open_page(page: Path, folder: Path) -> tuple[str, list[str]]:
    """The DOM after loading, and the addresses that the page (not the browser for itself) asked for."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    log = folder / "net.json"
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"),
            *(f"--log-net-log={log}", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    own = ("None", "not an origin")
    asked = [one["url"] for one in events if "url" in one and str(one.get("initiator")) not in own]
    return done.stdout.decode(), asked


def test_the_gallery_is_there_and_nothing_is_requested(scored, tmp_path):
    dom, asked = open_page(scored.path / "report" / "index.html", tmp_path)
    assert dom.count("<figure>") == 39 and dom.count('<img class="heat"') > 5
    assert "Accuracy over threshold" in dom and "</html>" in dom
    assert asked == []


def test_requests_would_be_noticed(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<img src='http://example.invalid/x.png'>")
    assert "http://example.invalid/x.png" in open_page(page, tmp_path)[1]
