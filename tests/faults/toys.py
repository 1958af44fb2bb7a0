"""A plan of numpy alone, whose processes start in a second and can be made to die in every way."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from pipeline.config.sections import Config
from pipeline.engine.executors import inline
from pipeline.engine.job import Job, RunJob
from pipeline.engine.plan import Group, plan
from pipeline.store.info import SCHEMA, RunInfo
from pipeline.store.manifest import ROW_GROUP, cut_into_shards, to_table
from pipeline.store.rundir import RunDir, encode
from pipeline.store.tables import COUNTS_FORM
from stages.batch import Answer, Batch, ImageError, Resources, Stage, ragged
from stages.ingest.records import ImageRecord
from tests.runs import commits

BATCH = 5


class Load:
    """Pixels that follow from the image's id; every 13th image is broken."""

    reads, adds, resources = ("image_id",), ("image",), Resources()

    def setup(self) -> None:
        """Nothing to prepare."""

    def __call__(self, batch: Batch) -> Answer:
        """Add ``image``, (N, 6, 6)."""
        ids = batch["image_id"]
        bad = ImageError("load", "Unlucky", "every 13th image is broken")
        pixels = np.stack([np.random.default_rng(image).random((6, 6), dtype=np.float32) for image in ids])
        return Answer(batch | {"image": pixels}, {row: bad for row, image in enumerate(ids) if image % 13 == 5})


class Explain:
    """A map an image, on a GPU where the cluster believes in one."""

    reads, adds = ("image",), ("map", "prob", "class_index")

    def __init__(self, gpus: float) -> None:
        self.resources = Resources(gpus=gpus)

    def setup(self) -> None:
        """Nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Add ``map``, (N, 3, 3) each, and what goes with it; drop the pixels."""
        pooled = batch["image"].reshape(-1, 3, 2, 3, 2).mean((2, 4))
        kept = {name: column for name, column in batch.items() if name != "image"}
        rows = len(pooled)
        return kept | {
            "map": ragged(pooled.astype(np.float16)),
            "map_scale": np.ones(rows, np.float32),
            "method": ragged(["cam"] * rows),
            "target_rank": np.zeros(rows, np.int8),
            "class_index": batch["label"].astype(np.int32),
            "prob": pooled.max((1, 2)),
        }


class Box:
    """A box an image and its score."""

    reads, adds, resources = ("map",), ("box", "iou"), Resources()

    def setup(self) -> None:
        """Nothing to prepare."""

    def __call__(self, batch: Batch) -> Batch:
        """Add what the predictions need beside the maps."""
        corner = np.array([np.unravel_index(one.argmax(), one.shape) for one in batch["map"]], np.float32)
        iou = batch["prob"].astype(np.float32)
        rows = len(iou)
        return batch | {
            "box": np.concatenate([corner, corner + 1], axis=1),
            "box_status": ragged(["ok"] * rows),
            "iou": iou,
            "hits": iou[:, None] >= np.array([0.3, 0.5, 0.7]),
            "sweep_hits": ragged([None] * rows),
            "sweep_hits_v2": ragged([None] * rows),
        }


class Around:
    """Another stage, and what happens before each of its batches.

    Args:
        stage: The stage.
        happens: Called with the batch, in the worker.
    """

    def __init__(self, stage: Stage, happens: Callable[[Batch], None]) -> None:
        self.stage, self.happens = stage, happens
        self.reads, self.adds, self.resources = stage.reads, stage.adds, stage.resources

    def setup(self) -> None:
        """Prepare the stage."""
        self.stage.setup()

    def __call__(self, batch: Batch, **context: object) -> Batch | Answer:
        """What happens, then the stage."""
        self.happens(batch)
        return self.stage(batch, **context)


class Deadly:
    """What images do to the process that holds them.

    Args:
        images: Their ids and what they do: ``segfault``, ``hang``, ``stop``, ``exit`` or ``raise``.
    """

    def __init__(self, images: dict[int, str]) -> None:
        self.images = images

    def __call__(self, batch: Batch) -> None:
        """Do it."""
        for image in batch["image_id"].tolist():
            match self.images.get(image):
                case "segfault":
                    ctypes.string_at(0)
                case "hang":
                    time.sleep(3600)
                case "stop":
                    os.kill(os.getpid(), signal.SIGSTOP)
                case "exit":
                    os._exit(0)
                case "raise":
                    raise ZeroDivisionError(f"image {image}")


class Killer:
    """Kills or stops the process that it is in once for each of some numbers of commits.

    Args:
        run: The run directory.
        moments: Numbers of commits from which on a kill is due.
        notes: Folder for what was done, one file a kill, which holds the process's id.
        signum: What is sent.
    """

    def __init__(self, run: Path, moments: Iterable[int], notes: Path, signum: int = signal.SIGKILL) -> None:
        self.run, self.moments, self.notes, self.signum = run, list(moments), notes, signum
        notes.mkdir(exist_ok=True)

    def __call__(self, batch: Batch | None = None) -> None:
        """Kill this process if it is due."""
        count = len(commits(self.run))
        for number, moment in enumerate(self.moments):
            note = self.notes / str(number)
            if count >= moment and not note.exists():
                try:
                    with note.open("x") as file:
                        file.write(str(os.getpid()))
                except FileExistsError:
                    continue
                os.kill(os.getpid(), self.signum)
                return

    @property
    def kills(self) -> int:
        """How many there were."""
        return len(list(self.notes.iterdir()))


class DyingRun(RunDir):
    """A run directory whose writer is killed before or after a part appears."""

    killer: Killer
    when: str

    def write(self, name: str, data: bytes) -> None:
        """Write one file, or die of it."""
        part = name.startswith("predictions/")
        if part and self.when == "before":
            self.killer()
        super().write(name, data)
        if part and self.when == "after":
            self.killer()


def begin(path: Path, images: int) -> RunDir:
    """A run directory with a manifest of that many images that lie nowhere."""
    config = Config.model_validate({"data": {"format": "coco"}, "model": {"spec": "none"}})
    run = RunDir.open(path, config)
    records = [ImageRecord(number, f"/none/{number}", str(number), number % 7) for number in range(images)]
    run.write_info(RunInfo(schema=SCHEMA, counts_form=COUNTS_FORM, images=images, shard_size=1, precision="fp32"))
    run.write("manifest.parquet", encode(to_table(records), ROW_GROUP))
    return run


def toy_plan(gpus: float = 0, around: dict[int, Callable[[Batch], None]] | None = None) -> list[Group]:
    """The plan: one group, or three where there are GPUs.

    Args:
        gpus: Share of one that the second stage wants.
        around: What happens before the batches of a stage, by its position.
    """
    stages: list[Stage] = [Load(), Explain(gpus), Box()]
    for position, happens in (around or {}).items():
        stages[position] = Around(stages[position], happens)
    return plan(stages)


def job(run: RunDir, timeout: float = 600) -> Job:
    """What the workers of a toy run share."""
    return RunJob(run=run, batch_size=BATCH, timeout=timeout, class_names=[f"class {index}" for index in range(7)])


def undisturbed(path: Path, images: int, size: int) -> RunDir:
    """The same run in this process."""
    run = begin(path, images)
    list(inline.execute(toy_plan(), cut_into_shards(images, size), job(run), 1, lambda: None))
    return run
