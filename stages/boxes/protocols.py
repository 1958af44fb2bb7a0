"""Localization protocols as data: every choice that moves a score is a field with a name."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import textwrap
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from stages.errors import ConfigurationError, unknown

SIDE_LEAST, SIDE_MOST = 32, 4096
"""Allowed sides of the square on which maps are cut."""
LEVELS = 255
"""The largest value of a map that was quantized to uint8."""


@dataclass(frozen=True)
class Protocol:
    """How a low-resolution map becomes a box, and how that box is scored.

    Raises:
        ConfigurationError: A value outside its field's choices or range, or two values that exclude
            each other. Its ``about`` is ``protocol.FIELD``.
    """

    name: str
    """Name of the rules. Not part of the fingerprint: equal rules score equally."""

    side: int = 0
    """Side in pixels of the square on which maps are cut, in place of that of the network's input; 0 is the latter."""

    resize: Literal["bilinear", "bicubic"] = "bilinear"
    """Kernel from the map to the network's input frame, half-pixel centres (OpenCV's kernels)."""

    normalize: Literal["max", "minmax", "ivr", "none"] = "max"
    """``max``: map / max, so that 0 stays 0. ``minmax``: (map - min) / (max - min). ``ivr``: (map - low) /
    (max - low), and 0 below low, where low is the map's ``percentile`` (Kim et al., Normalization Matters in
    Weakly Supervised Object Localization, ICCV 2021). ``none``: the map's own values."""

    percentile: float = 0.4
    """Share of pixels that ``normalize: ivr`` sets to 0, in [0, 1), and share of cells that ``scales: fused`` does.
    Otherwise ignored."""

    scales: Literal["mean", "fused"] = "mean"
    """What of the maps at several scales is cut. ``mean``: their mean. ``fused``: the sum of map / max, minus its
    ``percentile``, and 0 below that, on a grid of 56 x 56 cells. ``foreground-cam`` fuses its scales in any case."""

    quantize: Literal["none", "uint8"] = "none"
    """``uint8``: truncate 255 x the normalised map, which is then computed in float64."""

    threshold: float = 0.2
    """Value of the normalised map at which the reported box is cut, in [0, 1): a share of the map's maximum,
    which is 1 except under ``normalize: none``."""

    comparator: Literal[">"] = ">"
    """A pixel is foreground where its value is strictly above the cut."""

    connectivity: Literal[4, 8] = 8
    """Number of a pixel's neighbours that count as connected to it."""

    component: Literal["largest_pixels", "largest_contour", "largest_rectangle", "all", "peak"] = "largest_pixels"
    """Component that the box encloses. ``largest_pixels``: the one with the most pixels; among equals the one
    whose first pixel in raster order comes first. ``largest_contour``: the outline that encloses the largest
    polygon, holes included. ``largest_rectangle``: the one with the largest box, ties as for
    ``largest_pixels``. ``peak``: the one that holds the map's first maximum. ``all``: one box around the whole
    foreground."""

    shrink: float = 0.0
    """Boxes whose side is below this share of the frame's (the root of their share of its area) are too large, as maps
    of small objects are: their sides are multiplied by side / ``shrink``, about the centre. In [0, 1); 0 changes no
    box."""

    v2_component: Literal["chosen", "all_contours"] = "chosen"
    """Boxes that can score a hit in MaxBoxAccV2: that of the chosen component, or that of any contour,
    including those of holes."""

    frame: Literal["original", "resized"] = "original"
    """Frame in which overlap is measured: the displayed image, or the network's square input frame."""

    iou: Literal["continuous", "inclusive"] = "continuous"
    """``continuous``: half-open edges, which for whole pixels is the same as sides of x1 - x0 + 1 between
    inclusive corners. ``inclusive``: also sides of x1 - x0 + 1, but with a prediction's exclusive right and
    bottom edges taken as corners, as in most published code; in the ``resized`` frame, ground truth is
    truncated to whole pixels."""

    far_edge: Literal["clip", "keep"] = "clip"
    """Treatment of a prediction that reaches the right or bottom border under ``iou: inclusive``: ``clip`` it
    to the last pixel, or ``keep`` the corner one pixel outside."""

    iou_comparator: Literal[">=", ">"] = ">="
    """Comparison of the overlap of the true class's box with the IoU level."""

    topk_iou_comparator: Literal[">=", ">"] = ">="
    """Comparison of the overlap of a predicted class's box with the IoU level, in top-1 and top-5 localization."""

    empty: Literal["none", "origin", "corner"] = "none"
    """Box of a map without foreground: no area (overlap 0), the frame's first pixel, or ``inclusive``
    corners (0, 0) and (1, 1)."""

    official: Literal["none", "clsloc"] = "none"
    """Error rates in addition to the metrics. ``clsloc``: those of the ILSVRC classification and localization task,
    with at most five guesses per image, each a class with its box."""

    blacklist: str = "none"
    """Digest of the ids of the images that are not scored."""

    sweep_interval: float = 0.01
    """Step of the thresholds 0, step, 2 step, ... < 1 from which MaxBoxAcc chooses."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value, hint = getattr(self, field.name), hints[field.name]
            if get_origin(hint) is Literal and (isinstance(value, bool) or value not in get_args(hint)):
                choices = ", ".join(map(str, get_args(hint)))
                raise ConfigurationError(f"{value!r} is not one of {choices}", about=f"protocol.{field.name}")
        if type(self.side) is not int or not (self.side == 0 or SIDE_LEAST <= self.side <= SIDE_MOST):
            raise ConfigurationError(
                f"{self.side!r} is neither 0 nor from {SIDE_LEAST} to {SIDE_MOST}", about="protocol.side"
            )
        for name, lowest in (("threshold", 0), ("percentile", 0), ("shrink", 0), ("sweep_interval", 0.0001)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value < 1:
                raise ConfigurationError(f"{value!r} is not a number in [{lowest}, 1)", about=f"protocol.{name}")
            object.__setattr__(self, name, float(value))
        contours = self.component == "largest_contour"
        if self.connectivity == 4 and contours:
            raise ConfigurationError(
                "4 needs another component; contours join diagonals", about="protocol.connectivity"
            )
        if self.v2_component == "all_contours" and not contours:
            raise ConfigurationError("all_contours needs component=largest_contour", about="protocol.v2_component")
        if self.iou == "inclusive" and self.frame == "original" and self.far_edge == "clip":
            raise ConfigurationError("inclusive needs far_edge=keep or frame=resized", about="protocol.iou")
        if self.iou == "continuous" and self.far_edge == "keep":
            raise ConfigurationError("keep needs iou=inclusive", about="protocol.far_edge")
        if self.iou == "continuous" and self.empty == "corner":
            raise ConfigurationError("corner needs iou=inclusive", about="protocol.empty")

    def frame_side(self, size: int) -> int:
        """Side of the square on which the maps of a network with inputs of ``size`` pixels are cut."""
        return self.side or size

    @property
    def fused_below(self) -> float | None:
        """Share of the cells that become 0 where scales are fused; None where their maps' mean is taken."""
        return self.percentile if self.scales == "fused" else None

    def sweep_thresholds(self) -> np.ndarray:
        """The thresholds of the sweep, (T,) float64, ascending.

        Of the grid's thresholds that cut a quantized map at the same level, only the first is kept; the others
        give the same masks, so neither a maximum nor the first best threshold can change.
        """
        grid = np.arange(0, 1, self.sweep_interval)
        if self.quantize == "none":
            return grid
        return grid[np.unique(self.cutoffs(grid), return_index=True)[1]]

    def cutoffs(self, thresholds: np.ndarray) -> np.ndarray:
        """Value that a pixel of :func:`stages.boxes.threshold.heat` must exceed at each threshold, (T,) float32."""
        shares = np.asarray(thresholds, dtype=np.float64)
        if self.quantize == "uint8":
            shares = np.floor(shares * LEVELS) / LEVELS
        return shares.astype(np.float32)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        # Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, section 3.2.
        Protocol("cam2016"),
        # Selvaraju et al., Grad-CAM, ICCV 2017, section 4.1.
        Protocol("gradcam2017", threshold=0.15),
        # Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020 (MaxBoxAcc)
        # and its journal version (MaxBoxAccV2), as the published evaluation code computes them.
        Protocol(
            "choe2020",
            resize="bicubic",
            normalize="minmax",
            quantize="uint8",
            component="largest_contour",
            v2_component="all_contours",
            frame="resized",
            iou="inclusive",
            empty="origin",
            sweep_interval=0.001,
        ),
        # Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015, section 4.3, and the
        # development kit's eval_clsloc.m: an image is wrong unless one of five guesses has the right class and
        # a box of IoU 0.5 in original pixels. The task does not say how a map becomes a box: as in cam2016.
        Protocol("ilsvrc-clsloc", official="clsloc"),
        # Gao et al., TS-CAM: Token Semantic Coupled Attention Map, ICCV 2021, as its code scores ILSVRC. The map
        # of each predicted class gives that class's box.
        Protocol(
            "tscam2021",
            normalize="minmax",
            quantize="uint8",
            threshold=0.12,
            component="largest_contour",
            frame="resized",
            iou="inclusive",
            far_edge="keep",
            topk_iou_comparator=">",
            empty="corner",
        ),
        # Jiang et al., LayerCAM, TIP 2021, as its code scores ILSVRC, except for one view instead of ten crops. It
        # takes the true class's box for top-1 and top-5, which are hits where the class is among the guesses:
        # the same numbers as with the box of each guess, since one class has one map.
        Protocol(
            "layercam2021",
            resize="bicubic",
            quantize="uint8",
            threshold=0.15,
            component="largest_rectangle",
            iou="inclusive",
            far_edge="keep",
            empty="corner",
        ),
        # Chosen on photographs of ImageNet's validation set for foreground-cam at three scales; see the README.
        Protocol("foreground2026", side=224, percentile=0.3, scales="fused", threshold=0.25, shrink=0.7),
    )
}


def get_protocol(name: str, /, **overrides: Any) -> Protocol:
    """The protocol of that name, with some of its fields replaced.

    Raises:
        ConfigurationError: No protocol or field has that name, or a value is not allowed.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, list(PROTOCOLS), about="protocol")
    known = [field.name for field in fields(Protocol) if field.name != "name"]
    for key in overrides:
        if key not in known:
            raise unknown("field", key, known, about="protocol")
    return replace(PROTOCOLS[name], **overrides)


@cache
def documentation() -> dict[str, str]:
    """The meaning of each field of :class:`Protocol`, by name: the text below the field, in one line."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(Protocol))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in pairwise(tree.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value)
            found[field.target.id] = " ".join(text.split())
    return found


def fingerprint(protocol: Protocol) -> str:
    """16 hexadecimal digits that are equal exactly if all rules are equal.

    >>> fingerprint(get_protocol("cam2016", threshold=0.15)) == fingerprint(get_protocol("gradcam2017"))
    True
    """
    rules = {key: value for key, value in asdict(protocol).items() if key != "name"}
    for name in ("scales", "shrink", "side"):  # Rules from before they were fields score equally.
        if rules[name] == Protocol.__dataclass_fields__[name].default:
            del rules[name]
    text = json.dumps(rules, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
