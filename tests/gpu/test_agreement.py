"""A GPU gives the maps and boxes that a CPU gives.

python -m pytest -m gpu -n 0 -s tests/gpu --photographs FOLDER
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from stages.classify.fold import folded
from stages.classify.machine import set_arithmetic
from stages.classify.sources import load_network
from stages.explain.registry import get_explainer, single_pass
from stages.trace.cut import CutNetwork

pytestmark = pytest.mark.gpu

SIDE = 96
SLOW = {"scorecam", "scorecam-lecture", "opticam", "augmented-gradcam-authors"}
"""Hundreds of passes an image."""
ITERATIVE = {"augmented-gradcam", "augmented-gradcam-authors", "weighted-augmented-gradcam", "opticam"}
"""Solvers, which amplify rounding: on a CPU alone, an input that differs by a millionth moves Opti-CAM's maps by up to
0.29 of their maximum, at a correlation of 0.97 or more."""


@pytest.fixture(scope="module")
def networks(device):
    """Pretrained weights, cut on the CPU and on the device."""
    set_arithmetic("cpu")
    set_arithmetic(device)
    network = load_network("lite0")
    module, layer = folded(network.module, ["features"], SIDE), "features"
    made = {}
    for one in ("cpu", device):
        own = copy.deepcopy(module).to(one).to(memory_format=torch.channels_last)
        made[one] = CutNetwork(own, [layer], SIDE, black=torch.zeros(1, 3, 1, 1, device=one))
    return made


@pytest.mark.parametrize("method", single_pass())
def test_maps_of_every_explainer(networks, device, quick, method):
    if quick and method in SLOW:
        pytest.skip("takes minutes on a CPU")
    count = 1 if method in SLOW else 4
    images = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    target = torch.arange(count) * 100
    maps = []
    for one, network in networks.items():
        explainer = get_explainer(method, network.head is not None)
        trace = network.trace(images.to(one).contiguous(memory_format=torch.channels_last))
        maps.append(explainer.function(trace, target.to(one)).detach().float().cpu())
    difference = float((maps[0] - maps[-1]).abs().max() / maps[0].abs().max())
    print(f"{method}: largest difference {difference:.1e} of the largest value")
    assert maps[0].abs().max() > 0
    if method in ITERATIVE:
        assert torch.corrcoef(torch.stack([one.flatten() for one in (maps[0], maps[-1])]))[0, 1] > 0.95
    else:
        assert difference < 1e-2


def boxes(run: Path) -> tuple[np.ndarray, list[int]]:
    """The label's boxes (n, 4) of a run, and all classes, in one order."""
    table = pq.read_table(run / "predictions").sort_by(
        [("image_id", "ascending"), ("method", "ascending"), ("target_rank", "ascending")]
    )
    own = table.filter([rank == 0 for rank in table["target_rank"].to_pylist()])
    return np.array([box or [np.nan] * 4 for box in own["box"].to_pylist()]), table["class_index"].to_pylist()


@pytest.mark.parametrize(("precision", "pixels", "wanted"), [("fp32", 0.5, 0.99), ("bf16", 4, 0.85)])
def test_boxes_of_a_run(run, photographs, quick, precision, pixels, wanted):
    root = photographs(48 if quick else 100)
    methods = "model.spec=lite0", "explain.methods=[cam,layercam,gradcam++]", "runtime.batch_size=32"
    common = *methods, "--executor", "inline"
    on_cpu, classes = boxes(run("cpu", root, *common, "runtime.device=cpu"))
    here, found = boxes(run(precision, root, *common, f"runtime.precision={precision}"))
    alike = np.abs(on_cpu - here) < pixels
    same = float((alike | np.isnan(on_cpu)).all(1).mean())
    print(f"{precision}: {same:.4f} of {len(on_cpu)} boxes within {pixels} pixels of the CPU's in fp32")
    assert same >= wanted
    assert np.mean(np.array(classes) == np.array(found)) >= (0.99 if precision == "fp32" else 0.9)
