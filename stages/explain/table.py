"""The table of explainers: each method's name and the module of ``methods/`` that defines it.

A new explainer is a function with :func:`stages.explain.registry.explainer` in a module there, and one row below.
"""

from __future__ import annotations

from collections.abc import Iterable

from stages.errors import unknown
from stages.explain.method_layers import method_of

METHODS = {
    "ablationcam": "ablation",
    "augmented-gradcam": "augmented",
    "augmented-gradcam-authors": "augmented_authors",
    "bagcam": "elementwise",
    "cam": "cam",
    "eigencam": "eigencam",
    "finercam": "contrast",
    "foreground": "foreground",
    "foreground-cam": "foreground",
    "fullgrad": "fullgrad",
    "gradcam": "gradcam",
    "gradcam++": "gradcam",
    "groupcam": "group",
    "hirescam": "elementwise",
    "layercam": "elementwise",
    "liftcam": "liftcam",
    "opticam": "opticam",
    "positive-cam": "cam",
    "reciprocam": "ablation",
    "scorecam": "scorecam",
    "scorecam-lecture": "scorecam",
    "shapleycam": "contrast",
    "sharpen-focus": "gradcam",
    "smooth-gradcam++": "smooth",
    "weighted-augmented-gradcam": "augmented",
    "xgradcam": "gradcam",
}

FOREGROUND, FOREGROUND_CAM = FITTED = ("foreground", "foreground-cam")
"""Methods that are fitted to the run's class activation maps before they explain."""


def check_methods(names: Iterable[str]) -> None:
    """Check that every name has an explainer, without importing any of them.

    Args:
        names: ``METHOD`` or ``METHOD@LAYER``.

    Raises:
        ConfigurationError: A name has none.

    >>> check_methods(["cam", "gradcan@features"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    stages.errors.ConfigurationError: unknown method 'gradcan'; did you mean gradcam? known: ablationcam, ...
    """
    for name in map(method_of, names):
        if name not in METHODS:
            raise unknown("method", name, sorted(METHODS), about="methods")
