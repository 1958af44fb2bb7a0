"""A head for one's own classes, from pictures in folders to boxes."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.commands.run import run
from pipeline.commands.train import preview, train
from pipeline.config.load import load_config
from pipeline.config.training import TrainConfig, load_training
from pipeline.store import atomic
from pipeline.store.training import TrainDir
from stages.classify.sources import load_network
from stages.classify.sources.untrained import untrained
from stages.classify.stage import Classify as Network
from stages.errors import ConfigurationError, DataError, UserError
from stages.ingest.decode import Decode
from stages.train.head import outputs_of
from stages.train.tasks.classify import Classify
from tests.runs import wsl_here

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (210, 30, 30)}
EACH = 12


def picture(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    """Noise with a square of a colour somewhere."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(90, 130, (48, 48, 3), dtype=np.uint8)
    x, y = generator.integers(0, 24, 2)
    pixels[y : y + 24, x : x + 24] = colour
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Twelve pictures of each of three classes."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (name, colour) in enumerate(COLOURS.items()):
        for index in range(EACH):
            picture(folder / name / f"{index:02}.png", colour, 100 * number + index)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A network whose features are random."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(untrained("torchvision:resnet18", 10)[0].state_dict(), path)
    return path


@pytest.fixture
def config(pictures, weights) -> Callable[..., TrainConfig]:
    def make(*overrides: str) -> TrainConfig:
        spec = f"model.spec=file:{weights}?arch=torchvision:resnet18&num_classes=10"
        given = [f"data.root={pictures}", spec, "model.size=64", "model.layer=layer3", "runtime.executor=inline"]
        learning = ["optimizer.epochs=12", "optimizer.learning_rate=0.02", "runtime.shard_size=10"]
        return load_training("head", [*given, *learning, *overrides])[1]

    return make


def test_a_head_learns_and_its_file_is_a_network_for_run(config, pictures, tmp_path):
    metrics = train(config(), tmp_path / "head")
    assert metrics["classification"]["top1"]["value"] >= 0.9 and metrics["classification"]["top1"]["n"] == 6
    assert metrics["training"]["images"] == {"train": 24, "validation": 6, "test": 6}
    assert metrics["baselines"]["most_frequent_class"]["top1"]["value"] == pytest.approx(1 / 3, abs=1e-3)
    names = {path.name for path in (tmp_path / "head").iterdir()}
    assert {
        "config.yaml",
        "run.json",
        "manifest.parquet",
        "curves.parquet",
        "model.pt",
        "metrics.json",
        "_SUCCESS",
    } <= names
    assert "features" not in names, "the model replaces them"
    curves = pq.read_table(tmp_path / "head" / "curves.parquet").to_pandas()
    assert set(map(tuple, curves[["split", "metric"]].values)) == {
        *(("train", "loss"), ("validation", "loss"), ("validation", "accuracy"))
    }
    losses = curves[(curves.split == "validation") & (curves.metric == "loss")].set_index("epoch").value
    assert losses.idxmin() == metrics["training"]["best_epoch"] and len(losses) == metrics["training"]["epochs"]

    page = (tmp_path / "head" / "report" / "index.html").read_text(encoding="utf-8")
    assert all(f'<th scope="row"><bdi>{name}</bdi></th><td>8</td><td>2</td><td>2</td>' in page for name in COLOURS)
    assert page.count("<polyline") == 3 and f"epoch {metrics['training']['best_epoch']} of" in page
    assert str(tmp_path) not in page

    found = load_config("imagefolder", [f"data.root={pictures}", f"model.spec={tmp_path}/head/model.pt"])[1]
    scores = run(found.model_copy(update={"runtime": config().runtime}), tmp_path / "run")
    assert scores["classification"]["top1"]["value"] >= 0.9 and scores["n_images"] == 3 * EACH


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gap", "conv-gap", "fc"])
def test_run_sees_the_maps_and_logits_of_the_training_bit_for_bit(config, tmp_path, monkeypatch, head):
    chosen = config(f"model.head={head}", "optimizer.epochs=2", "runtime.batch_size=10")
    monkeypatch.setattr(TrainDir, "remove_features", lambda self: None)
    train(chosen, tmp_path)
    directory, spec = TrainDir(tmp_path), f"{tmp_path}/model.pt"
    network = load_network(spec)
    pixels = network.preprocess
    decode = Decode(64, "squash", pixels.resample, pixels.crop_ratio, (124, 116, 104))
    classify = Network(spec, network.weights_sha256, "maps", 64)
    classify.setup()
    uris = pq.read_table(tmp_path / "manifest.parquet", columns=["uri", "image_id", "width", "height"]).to_pylist()
    at = 0
    for ids, features, failed in directory.features(directory.info()):
        assert failed == 0
        own, at = uris[at : at + len(ids)], at + len(ids)
        batch = {name: np.array([row[name] for row in own]) for name in ("image_id", "uri", "width", "height")}
        trace = classify(decode(batch).rows).context["trace"]
        assert np.array_equal(trace.activations.detach().numpy(), features)
        logits = outputs_of(network.module.head, Classify(True), torch.from_numpy(features.copy()))["logits"]
        assert torch.equal(logits, trace.logits.detach())
    assert at == 3 * EACH


@pytest.mark.slow
def test_a_complete_training_is_left_alone_and_a_lost_model_is_made_again(config, tmp_path, caplog):
    caplog.set_level(logging.INFO, "wsl_pipeline")
    metrics = train(config(), tmp_path)
    model, times = (tmp_path / "model.pt").read_bytes(), (tmp_path / "model.pt").stat().st_mtime_ns
    assert train(config(), tmp_path) == metrics
    assert "nothing to do" in caplog.text and (tmp_path / "model.pt").stat().st_mtime_ns == times
    (tmp_path / "model.pt").write_bytes(model[:-1])
    assert train(config(), tmp_path) == metrics
    assert "is damaged or gone" in caplog.text and (tmp_path / "model.pt").read_bytes() == model


@pytest.mark.slow
@pytest.mark.parametrize("head", ["conv-gmp", "fc-dropout"])
def test_wherever_it_stops_the_model_is_the_same(config, tmp_path, monkeypatch, head):
    chosen = config(f"model.head={head}", "optimizer.epochs=4")
    train(chosen, tmp_path / "whole")
    model = (tmp_path / "whole" / "model.pt").read_bytes()

    class Killed(BaseException):
        pass

    written: list[str] = []
    write = atomic.write

    def dying(uri: str, chunks: Iterable[bytes]) -> None:
        """Die after the first writing of every file."""
        name = uri.removeprefix(f"{tmp_path}/killed/")
        new = name not in written
        written.append(name)
        write(uri, chunks)
        if new:
            raise Killed

    monkeypatch.setattr(atomic, "write", dying)
    while not (tmp_path / "killed" / "_SUCCESS").exists():
        with contextlib.suppress(Killed):
            train(chosen, tmp_path / "killed")
    monkeypatch.undo()
    train(chosen, tmp_path / "killed")
    assert {"manifest.parquet", "features/part-000003.parquet", "checkpoints/epoch-0002.pt", "model.pt"} <= set(written)
    assert (tmp_path / "killed" / "model.pt").read_bytes() == model
    for name in ("metrics.json", "report/index.html"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_damaged_checkpoints_are_set_aside_and_foreign_ones_are_named(config, tmp_path, monkeypatch, caplog):
    chosen = config("optimizer.epochs=3")
    train(chosen, tmp_path / "whole")
    model = (tmp_path / "whole" / "model.pt").read_bytes()
    for epoch in (2, 3):
        path = tmp_path / "whole" / "checkpoints" / f"epoch-{epoch:04}.pt"
        path.write_bytes(path.read_bytes()[:100])
    (tmp_path / "whole" / "model.pt").unlink()
    train(chosen, tmp_path / "whole")
    assert (tmp_path / "whole" / "model.pt").read_bytes() == model and "it is set aside as *.bad" in caplog.text

    other = train(config("optimizer.epochs=3", "seed=1"), tmp_path / "other")
    assert other
    (tmp_path / "other" / "model.pt").unlink()
    shutil.copy(tmp_path / "whole" / "checkpoints" / "epoch-0003.pt", tmp_path / "other" / "checkpoints")
    with pytest.raises(ConfigurationError, match="the checkpoint of epoch 3 is of another training; remove it"):
        train(config("optimizer.epochs=3", "seed=1"), tmp_path / "other")


def test_the_last_two_checkpoints_and_the_best_are_kept(tmp_path):
    directory = TrainDir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for epoch in range(1, 8):
        directory.save(epoch, min(epoch, 3), b"")
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        *("epoch-0003.pt", "epoch-0006.pt", "epoch-0007.pt")
    ]


@pytest.mark.slow
def test_a_picture_is_in_one_split_and_what_contradicts_is_said(config, pictures, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(pictures, folder)
    for index in range(EACH):  # Every picture twice.
        shutil.copy(folder / "red" / f"{index:02}.png", folder / "red" / f"copy{index}.png")
    shutil.copy(folder / "red" / "00.png", folder / "blue" / "odd.png")
    found = preview(config(f"data.root={folder}"))
    assert "1 pictures stand under several classes" in found["notes"] and "00.png (red)" in found["notes"]
    train(config(f"data.root={folder}", "optimizer.epochs=1"), tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    splits: dict[bytes, set[str]] = {}
    for row in rows:
        splits.setdefault(Path(row["uri"].removeprefix("file://")).read_bytes(), set()).add(row["split"])
    assert {len(one) for one in splits.values()} == {1}
    assert set(Counter(row["split"] for row in rows)) == {"train", "validation", "test"}


@pytest.mark.slow
def test_images_of_a_named_split_are_not_trained_on(objects, config, tmp_path):
    found = preview(config(*objects, "data.test=test"))
    assert "1 images are in a later split as well: left out, such as train/twice.png of train" in found["notes"]
    train(config(*objects, "data.test=test", "optimizer.epochs=1"), tmp_path)
    rows = pq.read_table(tmp_path / "manifest.parquet").to_pylist()
    assert {row["file_name"] for row in rows if row["split"] == "test"} == {f"test/{n}.png" for n in range(4)}
    assert len({row["image_id"] for row in rows}) == len(rows) == 4 + 12


@pytest.fixture
def objects(tmp_path_factory) -> list[str]:
    """COCO files of two splits, with one image in both."""
    folder = tmp_path_factory.mktemp("objects")
    for split, count in (("train", 12), ("test", 4)):
        images, annotations = [], []
        for number in range(count):
            picture(
                folder / split / f"{number}.png", list(COLOURS.values())[number % 2], number + 50 * (split == "test")
            )
            images.append({"id": number + 1, "file_name": f"{split}/{number}.png", "width": 48, "height": 48})
            annotations.append(
                {"id": number, "image_id": number + 1, "category_id": number % 2 + 1, "bbox": [1, 1, 9, 9]}
            )
        if split == "train":
            images.append({"id": 99, "file_name": "train/twice.png", "width": 48, "height": 48})
            annotations.append({"id": 99, "image_id": 99, "category_id": 1, "bbox": [1, 1, 9, 9]})
        categories = [{"id": 1, "name": "blue"}, {"id": 2, "name": "green"}]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(document), encoding="utf-8")
    shutil.copy(folder / "test" / "0.png", folder / "train" / "twice.png")
    return ["data.format=coco", f"data.root={folder}", "data.validation=0.3"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.validation=0"], "data.validation"),
        (["data.test=1.5"], "data.test"),
        (["data.test=holdout"], r"data\.test: .* has no part 'holdout'"),
        (["model.spec=digits-cnn"], "digits-cnn is known here alone"),
        (["model.spec=lite9"], "unknown source 'lite9'"),
        (["model.layer=layer9"], "model.layer: the network has no layer 'layer9'"),
        (["model.layer=fc"], "gives no map"),
        (["model.head=brain"], "model.head"),
        (["data.class_map={red: [1]}"], r"data\.class_map: "),
        (["data.test=0.6", "data.validation=0.4"], "leave nothing to train on"),
        (["data.test=train"], "name one split twice"),
        (["data.test=val"], "data.test: val is all that is trained on"),
        (["data.test=nan"], r"data\.test: .* has no part 'nan'"),
        (["data.format=photos", "data.root=null", "data.test=holdout"], r"data\.test: photos has no splits"),
        (["optimizer.learning_rate=.inf"], r"optimizer\.learning_rate"),
        (["model.channels=100000"], r"model\.channels"),
        (["runtime.device=cuda"], r"runtime\.device"),
        (["optimizer.epoch=3"], "unknown key optimizer.epoch; did you mean optimizer.epochs?"),
        (["box.threshold=0.2"], "unknown key box"),
    ],
)
def test_mistakes_are_one_line(config, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        train(config(*overrides), tmp_path)
    assert "\n" not in str(caught.value)


def test_data_that_cannot_teach_are_one_line(config, pictures, tmp_path):
    one = tmp_path / "one"
    shutil.copytree(pictures / "red", one / "red")
    with pytest.raises(DataError, match="all images are of one class, red"):
        preview(config(f"data.root={one}"))
    picture(one / "blue" / "0.png", COLOURS["blue"], 0)
    assert preview(config(f"data.root={one}"))["images"] == "train 9, validation 2, test 2"
    small = tmp_path / "small"
    for name, colour in COLOURS.items():
        picture(small / name / "0.png", colour, 0)
    with pytest.raises(DataError, match=r"data\.validation: 0\.15 leaves no image"):
        preview(config(f"data.root={small}"))
    flat = tmp_path / "flat"
    picture(flat / "0.png", COLOURS["red"], 0)
    with pytest.raises(DataError, match="have no labels"):
        preview(config(f"data.root={flat}"))


@pytest.mark.slow
def test_another_configuration_or_other_data_are_refused(config, pictures, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(pictures, folder)
    chosen = config(f"data.root={folder}", "optimizer.epochs=1")
    train(chosen, tmp_path / "out")
    with pytest.raises(ConfigurationError, match=r"it differs in optimizer\.epochs"):
        train(config(f"data.root={folder}", "optimizer.epochs=2"), tmp_path / "out")
    (tmp_path / "out" / "model.pt").unlink()
    (folder / "red" / "00.png").unlink()
    with pytest.raises(ConfigurationError, match=r"the images or annotations \(36 then\) have changed"):
        train(chosen, tmp_path / "out")


@pytest.mark.slow
def test_images_that_fail_are_counted_and_mended_ones_no_more(config, pictures, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(pictures, folder)
    (folder / "red" / "00.png").write_bytes((folder / "red" / "00.png").read_bytes()[:200])
    chosen = config(f"data.root={folder}", "optimizer.epochs=1")
    assert train(chosen, tmp_path / "out")["n_failed"] == 1
    errors = [row for part in (tmp_path / "out" / "errors").iterdir() for row in pq.read_table(part).to_pylist()]
    assert [Path(row["uri"]).name for row in errors] == ["00.png"]
    for path in (folder / "red").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no image to train on that could be read shows red"):
        train(chosen, tmp_path / "other")


def coco(folder: Path, split: str, shown: list[list[str]], names: list[str]) -> None:
    """A COCO file of pictures, each with a box for every class that it shows, the first the largest."""
    images, annotations = [], []
    for number, classes in enumerate(shown):
        name = f"{split}/{number}.png"
        picture(folder / name, COLOURS[classes[0]], 1000 + number + 100 * len(split))
        images.append({"id": number + 1, "file_name": name, "width": 48, "height": 48})
        for rank, one in enumerate(classes):
            shape = {"image_id": number + 1, "bbox": [1, 1, 20 - rank, 20 - rank]}
            annotations.append({"id": len(annotations), "category_id": names.index(one) + 1, **shape})
    categories = [{"id": at + 1, "name": name} for at, name in enumerate(names)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{split}.json").write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.slow
def test_several_classes_an_image(config, tmp_path):
    coco(tmp_path / "data", "train", [["red", "green"], ["blue", "green"]] * 8, ["red", "blue", "green", "unseen"])
    given = [f"data.root={tmp_path}/data", "data.format=coco", "optimizer.epochs=2"]
    found = preview(config(*given))
    assert found["classes"] == "3, several an image" and "1 classes are on no image" in found["notes"]
    coco(tmp_path / "rare", "train", [["red", "blue"]] * 11 + [["red", "green"]], ["red", "blue", "green"])
    for seed in range(6):  # The only image of a class is for training.
        preview(config(f"data.root={tmp_path}/rare", "data.format=coco", f"seed={seed}"))
    metrics = train(config(*given), tmp_path / "out")
    assert metrics["baselines"]["most_frequent_class"]["top1"]["value"] == 1.0, "green is on every image"
    network = load_network(f"{tmp_path}/out/model.pt")
    assert [one.name for one in network.classes] == ["red", "blue", "green"] and network.outputs == "sigmoid"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["outputs"] == "sigmoid"


@pytest.mark.slow
def test_a_head_names_and_boxes(config, tmp_path):
    names = ["red", "blue"]
    coco(tmp_path / "data", "train", [["red"], ["blue"]] * 8, names)
    coco(tmp_path / "data", "test", [["red"], ["blue"]] * 3, names)
    document = json.loads((tmp_path / "data" / "train.json").read_text())
    document["annotations"].append({**document["annotations"][0], "id": 999, "category_id": 2, "bbox": [0, 0, 5, 5]})
    (tmp_path / "data" / "train.json").write_text(json.dumps(document))
    given = [
        f"data.root={tmp_path}/data",
        "data.format=coco",
        "data.test=test",
        "data.validation=0.3",
        "model.box=true",
    ]
    metrics = train(
        config(*given, "model.outputs=softmax", "optimizer.epochs=30", "optimizer.learning_rate=0.002"),
        tmp_path / "out",
    )
    scores = metrics["methods"]["box"]
    assert scores["mean_iou"]["n"] == 6 and scores["mean_iou"]["value"] > 0.5
    assert set(scores["gt_known_loc"]) == {"0.3", "0.5", "0.7"}
    page = (tmp_path / "out" / "report" / "index.html").read_text(encoding="utf-8")
    assert "of its boxes" in page and "Mean IoU with the largest object" in page
    network = load_network(f"{tmp_path}/out/model.pt")
    assert network.module.head.box(torch.zeros(1, 256, 4, 4)).shape == (1, 4)
    with pytest.raises(DataError, match="no image to train on has a box of its class"):
        train(config("model.box=true"), tmp_path / "without")


@pytest.mark.slow
def test_classes_of_a_named_split_are_found_by_name(config, tmp_path):
    coco(tmp_path / "data", "train", [["red"], ["blue"]] * 6, ["red", "blue"])
    coco(tmp_path / "data", "test", [["blue"], ["red"]] * 2, ["idle", "blue", "red"])
    given = [f"data.root={tmp_path}/data", "data.format=coco", "data.test=test", "data.validation=0.3"]
    train(config(*given, "optimizer.epochs=1"), tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "manifest.parquet").to_pylist()
    assert [row["label"] for row in rows if row["split"] == "test"] == [1, 0, 1, 0]
    coco(tmp_path / "data", "test", [["green"]], ["green"])
    with pytest.raises(DataError, match=r"data\.test: test has classes that are not trained: green"):
        preview(config(*given))


def test_a_training_is_no_run(config, tiny, tmp_path):
    train(config("optimizer.epochs=1"), tmp_path / "training")
    for command in ("status", "verify", "compare", "report", "quality"):
        said = wsl_here(command, tmp_path / "training")
        assert said.returncode in (2, 3) and "holds a training, not a run" in said.stderr, command
    run(tiny("data.limit=2"), tmp_path / "run")
    with pytest.raises(ConfigurationError, match="holds a run, not a training"):
        train(config(), tmp_path / "run")
    with pytest.raises(ConfigurationError, match="holds a training, not a run"):
        run(tiny(), tmp_path / "training")


def test_the_command(pictures, weights, tmp_path):
    spec = f"model.spec=file:{weights}?arch=torchvision:resnet18&num_classes=10"
    given = [f"data.root={pictures}", spec, "model.size=64", "optimizer.epochs=2", "--executor", "inline"]
    shown = wsl_here("train", "head", *given, "--dry-run", cwd=tmp_path)
    assert shown.returncode == 0 and "train 24, validation 6, test 6" in shown.stdout
    assert not (tmp_path / "runs").exists()
    answer = wsl_here("train", "head", *given, "--json", cwd=tmp_path)
    found = json.loads(answer.stdout)
    assert answer.returncode == 0 and found["run_dir"].startswith("runs/train-head-") and "use it:" in answer.stderr
    assert (tmp_path / found["run_dir"] / "model.pt").is_file()
    assert "known: head" in wsl_here("train", "hat", cwd=tmp_path).stderr
