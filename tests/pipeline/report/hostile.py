"""Names that would take over a page that does not escape them."""

from __future__ import annotations

from stages.classes import ClassInfo
from stages.classify.network import Network
from tests.stages.toys import tiny_network

CLASSES = [
    "<img src=x onerror=alert(0)>",
    "<script>alert(1)</script>",
    "</figcaption></section><script src='https:&#47;&#47;example.org'>",
    "{{ 7 * 7 }}",
    '" onmouseover="alert(4)',
    "' style='background:url(https:&#47;&#47;example.org)",
    "]]>&lt;b&gt;",
]
FOLDERS = [name for name in CLASSES if "/" not in name]
"""Those that a folder can have."""
FILE = '"><script>alert(5)<!--.png'
BROKEN = "<iframe src=x>.png"


def network() -> Network:
    """A tiny network with hostile class names, for ``python:tests.pipeline.report.hostile:network``."""
    network = tiny_network()
    network.classes = [ClassInfo(name) for name in CLASSES]
    return network
