"""The part of the pipeline behind the stored maps: it needs neither images nor a network."""

from __future__ import annotations

import numpy as np

from pipeline.config.sections import EvaluateConfig
from stages.batch import Stage
from stages.boxes.components import Components
from stages.boxes.protocols import Protocol
from stages.boxes.threshold import Threshold
from stages.evaluate.clsloc import read_blacklist
from stages.evaluate.pixels import Pixels
from stages.evaluate.stage import Evaluate


def scoring_stages(evaluate: EvaluateConfig, protocol: Protocol, size: int) -> list[Stage]:
    """From low-resolution maps to boxes and their scores.

    Args:
        evaluate: What is scored.
        protocol: The rules.
        size: Side of the network's input frame in pixels.
    """
    return [
        Threshold(protocol, size),
        Pixels(protocol, size),
        Components(protocol, size, sweep=evaluate.sweep),
        Evaluate(protocol, size, tuple(evaluate.iou), excluded_images(evaluate)),
    ]


def excluded_images(evaluate: EvaluateConfig) -> np.ndarray:
    """(n,) ids of the images that the configuration does not score.

    Raises:
        DataError: The file that lists them cannot be read.
    """
    return read_blacklist(evaluate.blacklist) if evaluate.blacklist else np.zeros(0, np.int64)
