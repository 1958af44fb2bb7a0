"""How well each map identifies the pixels that the network's decision depends on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from stages.batch import Answer, Batch, Resources, length

if TYPE_CHECKING:
    from torch import Tensor

    from stages.evaluate.faithfulness.explained import Explained
    from stages.trace.trace import Trace


class Faithfulness:
    """Scores the stored maps of the first prediction on the network that they explain.

    The explained class is the first prediction, right or wrong: the metrics ask what the network's decision is
    based on. Rows of other targets, and maps that are not finite, have no value.

    Args:
        metrics: Names of faithfulness metrics.
        flip: ``flip`` of the explain stage, for metrics that explain altered images.
        scales: ``scales`` of the explain stage, for the same metrics.
        seed: Seed that, with an image's id, determines the random choices for it.
        gpus: Share of a GPU that one worker occupies, the same as the classifier's.
        layers: Layers of each method, as in the explain stage.
    """

    reads = ("trace", "trace_row", "image_id", "method", "target_rank", "output", "map", "map_scale")
    adds = ("faithfulness",)

    def __init__(
        self,
        metrics: list[str],
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        seed: int = 0,
        gpus: float = 0,
        layers: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self.metrics, self.layers = metrics, layers
        self.flip, self.scales, self.seed = flip, scales, seed
        self.resources = Resources(cpus=1, gpus=gpus)

    def setup(self) -> None:
        """Do nothing: metrics are functions."""

    def __call__(self, batch: Batch, trace: Trace) -> Answer:
        """Add ``faithfulness`` (R, len(metrics)) float32, NaN where there is none, and drop ``trace_row``."""
        from stages.evaluate.faithfulness.registry import get_metric
        from stages.explain.registry import closed_form

        images = batch.pop("trace_row")
        values = np.full((length(batch), len(self.metrics)), np.nan, np.float32)
        seconds = dict.fromkeys((f"faithfulness/{name}" for name in self.metrics), 0.0)
        usable = (batch["target_rank"] == 1) & np.isfinite(batch["map_scale"])
        computed: dict[tuple[str, ...], np.ndarray] = {}
        for method in sorted(set(batch["method"][usable])):
            rows = np.flatnonzero(usable & (batch["method"] == method))
            # Methods that coincide on this network give the same maps up to scale, which no metric depends on.
            names = self.layers.get(method)
            kind = closed_form(method, trace.at(names).head is not None, self.scales)[0].name, *(names or ())
            if kind not in computed:
                explained = self._explained(batch, method, rows, images[rows], trace)
                for column, name in enumerate(self.metrics):
                    started = time.perf_counter()
                    values[rows, column] = get_metric(name).function(explained).detach().float().cpu().numpy()
                    seconds[f"faithfulness/{name}"] += time.perf_counter() - started
                computed[kind] = values[rows]
            values[rows] = computed[kind]
        return Answer(batch | {"faithfulness": values}, seconds=seconds)

    def _explained(self, batch: Batch, method: str, rows: np.ndarray, images: np.ndarray, trace: Trace) -> Explained:
        """The maps of the given rows, with what the metrics need to know of their images."""
        import torch

        from stages.evaluate.faithfulness.explained import Explained
        from stages.explain.registry import get_explainer
        from stages.trace.views import Views

        names = self.layers.get(method)
        explainer = get_explainer(method, trace.at(names).head is not None)

        def explain(inputs: Tensor, target: Tensor) -> Tensor:
            views = Views(trace.network.trace(inputs), self.flip, self.scales)
            return views.explain(explainer.function, target, explainer.fuse, names)

        picked = torch.from_numpy(images).to(trace.inputs.device)
        target = torch.from_numpy(batch["output"][rows].astype(np.int64)).to(picked.device)
        probs = trace.probs[picked]
        return Explained(
            inputs=trace.inputs[picked],
            target=target,
            maps=torch.from_numpy(np.stack(list(batch["map"][rows]))).to(trace.inputs),
            confidence=probs.gather(1, target[:, None])[:, 0],
            network=trace.network,
            explain=explain,
            seeds=[_seed(self.seed, image_id) for image_id in batch["image_id"][rows].tolist()],
        )


def _seed(seed: int, image_id: int) -> int:
    return int(np.random.SeedSequence([seed, image_id % 2**64]).generate_state(1, np.uint64)[0])
