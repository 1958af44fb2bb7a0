"""The first phase of a training with a frozen trunk: the features of its images, computed once and stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.engine.interrupt import draining
from pipeline.engine.job import Job
from pipeline.engine.plan import plan
from pipeline.engine.progress import Session
from pipeline.engine.training import Inputs
from pipeline.engine.workers import executor_of, pin, place
from pipeline.store.info import RunInfo
from pipeline.store.manifest import Shard, cut_into_shards
from pipeline.store.training import TrainDir
from stages.batch import Batch, Failure, Stage


@dataclass(frozen=True, kw_only=True)
class FeaturesJob(Job):
    """A job whose parts are features.

    Attributes:
        run: The training.
        info: Its ``run.json``.
        shape: (K, h, w) of an image's features.
    """

    run: TrainDir
    info: RunInfo
    shape: tuple[int, int, int]

    def store(self, shard: Shard, rows: Batch, errors: list[Failure], machine: str) -> int:
        """Commit the features of a shard."""
        nothing = np.zeros((0, *self.shape), np.float32)
        ids = rows.get("image_id", np.zeros(0, np.int64))
        self.run.commit(self.info, shard.index, ids, rows.get("features", nothing), errors, machine)
        return len(errors)


def compute_features(directory: TrainDir, found: Inputs, session: Session) -> None:
    """Store the features that are missing."""
    info, runtime = session.info, found.config.runtime
    executor = executor_of(runtime)
    device, workers = place(runtime, executor)
    batch_size = pin(directory, info, runtime, device)
    shards = cut_into_shards(info.images, info.shard_size)
    done = directory.committed(info)
    session.done = sum(one.stop - one.start for one in shards if one.index in done)
    todo = [shard for shard in shards if shard.index not in done]
    if not todo:
        return
    shape = found.shape.inputs, found.shape.side, found.shape.side
    job = FeaturesJob(run=directory, batch_size=batch_size, timeout=runtime.timeout, info=info, shape=shape)
    with draining() as stop:
        groups = plan(feature_stages(found, device))
        for report in executor.execute(groups, todo, job, workers, session.start, stop):
            session.add(report)


def feature_stages(found: Inputs, device: str) -> list[Stage]:
    """The stages from the manifest to features.

    Args:
        found: The inputs of the training.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
    """
    from stages.classify.stage import Classify
    from stages.ingest.decode import Decode
    from stages.train.features import Features

    model, runtime, pixels = found.config.model, found.config.runtime, found.preprocess
    gpus = 0 if device == "cpu" else runtime.gpus_per_worker
    red, green, blue = (round(255 * value) for value in pixels.mean)
    return [
        Decode(*(pixels.size, model.fit, pixels.resample, pixels.crop_ratio, (red, green, blue)), levels=found.levels),
        Classify(
            *(model.spec, found.weights_sha256, found.layer, pixels.size, device, runtime.precision, gpus),
            deterministic=runtime.deterministic,
        ),
        Features(gpus),
    ]
