"""The maps of one batch, each computed once for all methods that share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from stages.errors import DataError
from stages.explain.registry import Explainer, closed_form
from stages.explain.several_scales import divided
from stages.trace.views import Views

if TYPE_CHECKING:
    from torch import Tensor

    from stages.trace.trace import Trace


class Maps:
    """The maps of N images.

    Args:
        trace: The batch's forward pass.
        flip: Whether mirrored images are averaged in.
        scales: Shares of the input's size at which images are viewed.
        targets: (N, T) outputs that are explained.
        mixed: (N, T, T) shares of the targets' maps that each target's map is the sum of; its own alone where None.
    """

    def __init__(
        self, trace: Trace, flip: bool, scales: Sequence[float], targets: Tensor, mixed: np.ndarray | None = None
    ) -> None:
        self._trace, self._scales, self._targets, self._mixed = trace, scales, targets, mixed
        self._views = Views(trace, flip, scales, targets)
        self._computed: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray, list[np.ndarray]]] = {}
        self._linear: dict[tuple[str, ...], np.ndarray] = {}

    def of(self, method: str, names: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """One method's maps (N, T, h, w) float16 divided by their scales, and the scales (N, T) float32.

        Third, the maps at each of the input's scales (N, T, h_s, w_s) float16, divided by the largest of their scales.

        Args:
            method: Name of an explainer.
            names: Names of the explained layers; None for all.
        """
        own = self._trace.at(names)
        found, divided = closed_form(method, own.head is not None, self._scales)
        kind = found.name, *(names or ())
        if kind not in self._computed:
            self._computed[kind] = self._explain(found, names)
        maps, scales, by_scale = self._computed[kind]
        return maps, scales / own.locations if divided else scales, by_scale

    def class_activation(self, names: Sequence[str] | None) -> list[np.ndarray]:
        """CAM at each scale, as the third of :meth:`of`; Grad-CAM where the head is not GAP + linear."""
        has_linear_head = self._trace.at(names).head is not None
        return self.of("cam" if has_linear_head else "gradcam", names)[2]

    def features(self, names: Sequence[str] | None) -> Tensor:
        """Outputs of the only explained layer at the largest scale, (N, K, h, w)."""
        return self._views.largest(names)

    def linear(self, weights: np.ndarray, bias: float, names: Sequence[str] | None) -> np.ndarray:
        """A linear function of :meth:`features`, (N, h, w) float16.

        Args:
            weights: (K,) weights.
            bias: Its value where all features are 0.
            names: Name of the explained layer.
        """
        kind = tuple(names or ())
        if kind not in self._linear:
            features = self.features(names).float()
            if len(weights) != features.shape[1]:
                raise DataError(
                    f"explain.foreground: {len(weights)} weights for a layer of {features.shape[1]} channels: the file "
                    "is damaged; fit it again"
                )
            found = torch.einsum("k,nkhw->nhw", torch.from_numpy(weights).to(features), features) + bias
            self._linear[kind] = found.cpu().numpy().astype(np.float16)
        return self._linear[kind]

    def _explain(
        self, method: Explainer, names: Sequence[str] | None
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        targets = self._targets.unbind(1)
        found = [self._views.explain_apart(method.function, target, method.fuse, names) for target in targets]
        maps, scales = divided(self._mix([mean for mean, _ in found]))
        if len(self._scales) == 1:
            return maps, scales, [maps]
        each = zip(*(of_scales for _, of_scales in found), strict=True)
        by_scale = [self._mix(of) for of in each]
        largest = np.max([np.abs(one).max((2, 3)) for one in by_scale], axis=0)
        return maps, scales, [divided(one, largest)[0] for one in by_scale]

    def _mix(self, maps: Sequence[Tensor]) -> np.ndarray:
        """Maps (N, h, w) of each target as (N, T, h, w) float32."""
        found = torch.stack([one.float() for one in maps], 1)
        values: np.ndarray = found.cpu().numpy()
        if self._mixed is None:
            return values
        mixed = values.copy()
        for image, target in zip(*np.nonzero((self._mixed != 0).sum(2) > 1), strict=True):
            shares = self._mixed[image, target]
            (own,) = np.nonzero(shares)  # A map that is not finite spoils those that it is a part of alone.
            mixed[image, target] = np.tensordot(shares[own], values[image, own], 1)
        return mixed
