"""Images at hand are explained as a run explains them, and nothing of the caller's is changed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import pipeline as wsl
from pipeline.api import explaining
from pipeline.commands.run import run as carry_out
from pipeline.config.overrides import parsed
from stages.boxes.protocols import get_protocol
from stages.classify.network import Network, Preprocess
from stages.errors import ConfigurationError, DataError, UserError
from stages.ingest.geometry import to_input
from tests.runs import BROKEN
from tests.stages.toys import FlattenHead, GapLinear, seeded, tiny_network

TINY = "python:tests.stages.toys:tiny_network"
FLAT = "python:tests.pipeline.api.test_explaining:flat_network"
PIXELS = Preprocess(size=32)


def flat_network() -> Network:
    """Another head than GAP + linear: gradients take a pass."""
    return Network(seeded(FlattenHead), [f"class {index}" for index in range(7)], PIXELS)


@pytest.fixture(scope="module")
def uris(finished_runs) -> list[str]:
    images = wsl.load(finished_runs / "runs" / "tiny").images()
    return images[images["image_id"] != BROKEN]["uri"].tolist()


@pytest.fixture(scope="module")
def uri(uris) -> str:
    return uris[0]


def same(one: wsl.Explained, other: wsl.Explained) -> bool:
    names = "maps", "boxes", "classes", "probs", "targets"
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize(
    ("network", "spec", "method", "layer", "fit", "protocol"),
    [
        (tiny_network, TINY, "gradcam", "last", "squash", "cam2016"),
        (tiny_network, TINY, "eigencam", "features.1", "center_crop", "choe2020"),
        (flat_network, FLAT, "gradcam++", "last", "letterbox", "tscam2021"),
        (flat_network, FLAT, "layercam", ["features.1", "features.2"], "squash", "cam2016"),
    ],
)  # fmt: skip
def test_maps_and_boxes_are_those_of_a_run(tiny, tmp_path, uris, network, spec, method, layer, fit, protocol):
    changes = {"model.spec": spec, "explain.methods": [method], "explain.layer": layer, "model.fit": fit}
    changes |= {"runtime.batch_size": 8, "runtime.shard_size": 8}
    overrides = parsed(changes | {"box.protocol": protocol, "data.limit": 8, "evaluate.sweep": False})
    carry_out(tiny(*overrides), tmp_path / "run")
    run = wsl.load(tmp_path / "run")
    uris = uris[:8]
    found = wsl.explain(uris, network(), method, layer=layer, fit=fit, protocol=protocol)
    expected = run.boxes(rank=1)
    assert found.boxes.tolist() == expected[["x0", "y0", "x1", "y1"]].to_numpy().tolist()
    assert found.classes.tolist() == expected["class_index"].tolist() == found.targets.tolist()
    assert found.class_names == expected["class_name"].tolist()
    assert found.probs[np.arange(len(uris)), found.classes].tolist() == expected["prob"].tolist()
    maps = [run.map(image_id, rank=1) for image_id in expected["image_id"]]
    assert np.array_equal(found.maps, np.stack(maps)) and found.maps.any((1, 2)).all()
    # The labels of the run, asked for by name and by index.
    expected = run.boxes(rank=0)
    for target in (expected["class_name"].tolist(), torch.tensor(expected["class_index"].to_numpy())):
        found = wsl.explain(uris, network(), method, target, layer=layer, fit=fit, protocol=get_protocol(protocol))
        assert found.boxes.tolist() == expected[["x0", "y0", "x1", "y1"]].to_numpy().tolist()
        assert np.array_equal(found.maps, np.stack([run.map(image_id, rank=0) for image_id in expected["image_id"]]))
    assert (found.targets != found.classes).any()


@pytest.mark.slow
def test_photographs_are_explained_as_by_a_run(tmp_path):
    run = wsl.run("photos", {"explain.methods": ["layercam"]}, tmp_path / "run", executor="inline", quiet=True)
    found = wsl.explain(run.images()["uri"].tolist(), "lite0", "layercam")
    expected = run.boxes(rank=1)
    assert found.boxes.tolist() == expected[["x0", "y0", "x1", "y1"]].to_numpy().tolist()
    assert all(np.array_equal(own, run.map(row, rank=1)) for row, own in enumerate(found.maps, start=1))
    assert found.class_names[1] == "espresso" and len(found.names) == 1000


def test_however_an_image_is_given_it_is_the_same(uri, tmp_path):
    opened = Image.open(uri)
    pixels = np.asarray(opened)
    reference = wsl.explain(uri, TINY)
    assert len(reference) == 1 and repr(reference) == "Explained(1 image by gradcam, maps 8 x 8)"
    for one in (opened, pixels, [uri], [pixels], pixels[None], (Image.fromarray(pixels),)):
        assert same(wsl.explain(one, TINY), reference)
    several = wsl.explain([uri, pixels, opened], TINY)
    assert np.array_equal(several.boxes, np.repeat(reference.boxes, 3, 0)) and "3 images" in repr(several)


def test_boxes_lie_in_the_displayed_image(uri, tmp_path):
    """An image that is stored lying is explained standing, whether its path is given or what Pillow opened."""
    upright = Image.open(uri)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    reference = wsl.explain(uri, TINY)
    assert same(wsl.explain(tmp_path / "lying.png", TINY), reference)
    assert same(wsl.explain(Image.open(tmp_path / "lying.png"), TINY), reference)
    assert wsl.explain(tmp_path / "lying.png", TINY).draw().size == upright.size


def test_a_normalised_tensor_is_taken_as_it_is(uris):
    """The same pixels give the same maps; boxes and pictures are in the tensor's own frame."""
    reference = wsl.explain(uris[:3], TINY, "layercam")
    fitted = [
        np.asarray(Image.open(uri).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)) for uri in uris[:3]
    ]
    pixels = torch.from_numpy(np.stack(fitted)).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) * 255.0 for one in (PIXELS.mean, PIXELS.std))
    found = wsl.explain((pixels - mean) / std, TINY, "layercam")
    assert np.array_equal(found.maps, reference.maps) and np.array_equal(found.probs, reference.probs)
    transform = np.array([[32 / side for side in Image.open(uri).size] + [0, 0] for uri in uris[:3]])
    np.testing.assert_allclose(found.boxes, to_input(reference.boxes, transform), atol=1e-4)
    picture = found.draw(2)
    assert picture.size == (32, 32)
    x0, y0, x1, _ = found.boxes[2].astype(int)
    assert x1 > x0 and tuple(np.asarray(picture)[y0, x0]) == (255, 59, 48)


def test_a_network_may_be_a_module_a_network_or_a_spec(uri):
    module = seeded(GapLinear)
    names = [f"class {index}" for index in range(7)]
    reference = wsl.explain(uri, TINY, "cam", target="Class_3 ")
    assert same(wsl.explain(uri, tiny_network(), "cam", 3), reference)
    found = wsl.explain(uri, module, "cam", "class 3", size=32, classes=names)
    assert same(found, reference) and found.names == tuple(names)
    nameless = wsl.explain(uri, module, "cam", 3, size=32)
    assert same(nameless, reference) and nameless.class_names == [str(reference.classes[0])]


def test_the_callers_network_and_torch_stay_as_they_are(uri):
    module = FlattenHead().train()
    before = copy.deepcopy(module.state_dict())
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wsl.explain(uri, module, "gradcam++", size=32)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert module.training and all(one.requires_grad for one in module.parameters())
    assert not any(part._forward_hooks for part in module.modules())
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    network = flat_network()
    wsl.explain(uri, network)
    assert not any(part._forward_hooks for part in network.module.modules())


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_gradients_are_found_where_the_caller_has_turned_them_off(uri, without):
    reference = wsl.explain(uri, flat_network())
    with without():
        assert same(wsl.explain(uri, flat_network()), reference)
        assert not torch.is_grad_enabled()


def test_many_images_go_through_in_batches(uris, monkeypatch):
    labels = [index % 7 for index in range(7)]
    whole = wsl.explain(uris[:7], TINY, target=labels)
    sizes = []
    process = explaining.process
    monkeypatch.setattr(
        explaining, "process", lambda stages, rows: sizes.append(len(rows["label"])) or process(stages, rows)
    )
    monkeypatch.setattr(explaining, "BATCH", 3)
    parts = wsl.explain(uris[:7], TINY, target=labels)
    assert sizes == [3, 3, 1] and parts.targets.tolist() == labels
    np.testing.assert_allclose(parts.maps, whole.maps, rtol=2e-3, atol=1e-6)
    np.testing.assert_allclose(parts.boxes, whole.boxes, atol=4)
    assert [parts.draw(index).size for index in range(7)] == [Image.open(one).size for one in uris[:7]]


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        (([],), {}, ConfigurationError, "images: there are none"),
        (([1.5],), {}, ConfigurationError, r"image 0 is float; give paths, Pillow images"),
        ((np.zeros((4, 4)),), {}, ConfigurationError, r"image 0 is float64 \(4,\); give"),
        ((np.zeros((4, 4, 3)),), {}, ConfigurationError, r"image 0 is float64 \(4, 4, 3\); give"),
        ((torch.zeros(3, 32, 32),), {}, ConfigurationError, r"a tensor of shape \(3, 32, 32\), not \(N, 3, S, S\)"),
        ((torch.zeros(1, 3, 32, 48),), {}, ConfigurationError, r"shape \(1, 3, 32, 48\)"),
        ((torch.zeros(1, 3, 32, 32),), {"size": 64}, ConfigurationError, "size: 64, but the tensor's images have 32"),
        ((None,), {"target": 7}, ConfigurationError, "target: 7 is not a class; the network has 0 to 6"),
        ((None,), {"target": -1}, ConfigurationError, "target: -1 is not the index of a class"),
        ((None,), {"target": "A", "classes": [*"abcdef", "a "]}, ConfigurationError, "any of 0 'a', 6 'a '"),
        ((None,), {"target": "class 77"}, ConfigurationError, "unknown class 'class 77'; did you mean class 6"),
        ((None,), {"target": [1, 2]}, ConfigurationError, "target: 2 classes for 1 images"),
        ((None,), {"classes": ["cat"]}, ConfigurationError, "classes: 1 names for a network of 7 outputs"),
        ((None,), {"method": "grdcam"}, UserError, "'grdcam'; did you mean gradcam"),
        ((None,), {"layer": "features.9"}, UserError, "no layer 'features.9'"),
        ((None,), {"protocol": "cam2061"}, UserError, "'cam2061'; did you mean cam2016"),
        ((None,), {"fit": "stretch"}, UserError, "'stretch'"),
        ((None,), {"network": 5}, ConfigurationError, "network: int is not a network"),
        ((None,), {"network": "tinyy"}, UserError, "unknown source 'tinyy'"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(uri, arguments, options, kind, message):
    images = uri if arguments[0] is None else arguments[0]
    with pytest.raises(kind, match=message) as raised:
        wsl.explain(images, **({"network": TINY} | options))
    assert "\n" not in str(raised.value)


def test_an_image_that_cannot_be_decoded_is_named(uri, finished_runs, tmp_path):
    broken = finished_runs / "data" / "images" / f"bild {BROKEN} é.png"
    with pytest.raises(DataError, match=rf"bild {BROKEN} é\.png: the bytes are in no image format"):
        wsl.explain([uri, broken], TINY)
    with pytest.raises(DataError, match=r"absent\.jpg: no such file"):
        wsl.explain(tmp_path / "absent.jpg", TINY)
    Image.effect_noise((200, 200), 50).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:3000])
    with pytest.raises(DataError, match=r"image 1: .*truncated"):
        wsl.explain([uri, Image.open(tmp_path / "cut.jpg")], TINY)


def test_a_method_that_does_not_cover_the_network_is_refused(uri):
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.GroupNorm(2, 8), nn.ReLU())
            self.head = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.trunk(x).mean((2, 3)))

    with pytest.raises(ConfigurationError, match="fullgrad cannot explain this network"):
        wsl.explain(uri, seeded(Normed), "fullgrad", size=32)
