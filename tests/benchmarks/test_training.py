"""What trainings must show, on real photographs; `pytest -m slow -n 0 -s tests/benchmarks/test_training.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.commands.run import run
from pipeline.commands.study import choices, study
from pipeline.config.load import load_config
from tests.conftest import SHARED

OBJECTS = SHARED / "objects8"


def shown(name: str, score: dict[str, object]) -> str:
    low, high = score["ci95"]  # type: ignore[misc]
    return f"{name} {score['value']:.3f} [{low:.3f}, {high:.3f}]"


@pytest.mark.slow
@pytest.mark.skipif(not OBJECTS.is_dir(), reason="the test data objects8 does not lie next to the repository")
def test_a_head_on_eight_classes_names_and_finds_them(tmp_path: Path) -> None:
    """Accuracy 0.95, GT-known at 0.5 0.60 and mean IoU 0.55 are what must be reached, with GAP and with GMP."""
    data = ["data.format=coco", f"data.root={OBJECTS}"]
    overrides = [*data, "data.test=test", "model.head=[gap,conv-gap,conv-gmp,fc]", "runtime.executor=inline"]
    found = study("head", choices(overrides), str(tmp_path / "study"))
    whole = None
    for one in found["trainings"]:
        top1 = one["classification"]["top1"]
        lines = [shown("top-1", top1)]
        if one["variant"] != "fc":
            # With global maximum pooling, Grad-CAM's weights are those of the linear layer, as CAM's.
            explained = [
                f"model.spec={one['run_dir']}/model.pt",
                "explain.methods=[gradcam]",
                "explain.targets=[label,top1]",
            ]
            config = load_config("coco", [*data[1:], "data.split=test", *explained, "runtime.executor=inline"])[1]
            metrics = run(config, tmp_path / one["variant"])
            whole = metrics["baselines"]["full_image"]
            scores = metrics["methods"]["gradcam"]
            lines += [shown("GT-known@0.5", scores["gt_known_loc"]["0.5"]), shown("mean IoU", scores["mean_iou"])]
            assert metrics["classification"]["top1"]["value"] == pytest.approx(top1["value"], abs=1e-6)
            assert scores["gt_known_loc"]["0.5"]["value"] >= 0.60 and scores["mean_iou"]["value"] >= 0.55
        print(f"\n{one['variant']:10} {', '.join(lines)}, {one['training']['parameters']:,} parameters", end="")
        assert top1["value"] >= 0.95
    assert whole is not None
    print(f"\nwhole image {shown('GT-known@0.5', whole['gt_known_loc']['0.5'])}")
