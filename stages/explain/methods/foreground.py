"""Methods that know what foreground looks like, whatever its class: see :mod:`stages.explain.foreground`.

They are fitted to a run's own maps, so that they are no functions of one forward pass:
:class:`stages.explain.stage.Explain` applies what was fitted.
"""

from __future__ import annotations

from torch import Tensor

from stages.errors import ConfigurationError
from stages.explain.registry import explainer
from stages.trace.trace import Trace


@explainer(
    "foreground",
    cost="none, after the fit",
    formula="sum_k v_k A_k + b, v and b from ridge regression on sure cells of CAM",
    source="this project, reference in the README",
    fitted=True,
)
@explainer(
    "foreground-cam",
    cost="b, after the fit",
    formula="foreground^0.65 F^0.35, F the sum over scales of CAM / max, less its 30 % quantile",
    source="this project, reference in the README",
    fitted=True,
)
def unfitted(trace: Trace, target: Tensor) -> Tensor:
    """Refuse.

    Raises:
        ConfigurationError: Always: one forward pass is not enough.
    """
    raise ConfigurationError("foreground and foreground-cam are fitted to a run; name them in its explain.methods")
