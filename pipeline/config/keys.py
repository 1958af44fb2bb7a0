"""Configuration keys and options for errors that the stages raise in their own terms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from stages.errors import UserError

KEYS = {
    "annotation_limit": "data.annotation_limit",
    "blacklist": "evaluate.blacklist",
    "bbox_format": "data.bbox_format",
    "box_format": "data.box_format",
    "class_map": "data.class_map",
    "dest": "--dest",
    "dilate": "explain.dilate",
    "export_format": "--format",
    "faithfulness": "evaluate.faithfulness",
    "fit": "model.fit",
    "format": "data.format",
    "ground_truth": "--ground-truth",
    "ground_truth_box_format": "--ground-truth-box-format",
    "ids": "--ids",
    "images": "--images",
    "layer": "explain.layer",
    "learning_rate": "optimizer.learning_rate",
    "limit": "--limit",
    "maps": "--maps",
    "method": "--method",
    "methods": "explain.methods",
    "network": "model.spec",
    "min_quality": "--min-quality",
    "min_score": "--min-score",
    "order": "--order",
    "outputs": "model.outputs",
    "parts": "--split",
    "predictions": "--predictions",
    "predictions_box_format": "--box-format",
    "protocol": "box.protocol",
    "root": "data.root",
    "scales": "explain.scales",
    "split": "data.split",
    "targets": "explain.targets",
}
"""Keys by the ``about`` of :class:`stages.errors.UserError`; a field of a protocol has ``protocol.FIELD``."""


OF_TRAININGS = {"layer": "model.layer"}
"""Keys that have another name in the configuration of a training."""


@contextmanager
def named_keys(own: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Prefix the message of an error that is about a key with that key; also usable as a decorator.

    Args:
        own: Keys that differ from :data:`KEYS`.

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
            error.args = (f"{own.get(error.about) or key_of(error.about)}: {error}",)
            error.about = None
        raise


def key_of(about: str) -> str:
    """The key or option for the ``about`` of an error.

    >>> key_of("layer"), key_of("protocol.threshold")
    ('explain.layer', 'box.threshold')
    """
    return KEYS.get(about) or about.replace("protocol.", "box.", 1)
