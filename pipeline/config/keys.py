"""What a library's error is about, told by the key or option that the user knows it by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stages.errors import UserError

KEYS = {
    "blacklist": "evaluate.blacklist",
    "dilate": "explain.dilate",
    "faithfulness": "evaluate.faithfulness",
    "fit": "model.fit",
    "format": "data.format",
    "ground_truth": "--ground-truth",
    "layer": "explain.layer",
    "maps": "--maps",
    "methods": "explain.methods",
    "network": "model.spec",
    "predictions": "--predictions",
    "protocol": "box.protocol",
    "root": "data.root",
    "scales": "explain.scales",
    "split": "data.split",
    "targets": "explain.targets",
}
"""By what :class:`stages.errors.UserError` is ``about``. A field of a protocol is about ``protocol.FIELD``."""


@contextmanager
def named_keys() -> Iterator[None]:
    """Put the key before the message of an error that is about one; also a decorator.

    >>> from stages.errors import ConfigurationError
    >>> with named_keys():
    ...     raise ConfigurationError("2 is not a number in [0, 1)", about="protocol.threshold")
    Traceback (most recent call last):
    stages.errors.ConfigurationError: box.threshold: 2 is not a number in [0, 1)
    """
    try:
        yield
    except UserError as error:
        if error.about is not None:
            error.args = (f"{key_of(error.about)}: {error}",)
            error.about = None
        raise


def key_of(about: str) -> str:
    """The key or option of what an error is about.

    >>> key_of("layer"), key_of("protocol.threshold")
    ('explain.layer', 'box.threshold')
    """
    return KEYS.get(about) or about.replace("protocol.", "box.", 1)
