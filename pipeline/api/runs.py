"""A run in Python: its scores, boxes, maps and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import frames
from pipeline.config.overrides import Overrides, parsed
from pipeline.store.rundir import RunDir
from stages.errors import ConfigurationError, DataError, unknown
from stages.explain.stage import raw_map
from stages.ingest.decode import DecodeError, read_image
from stages.ingest.geometry import fit_transform

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image


class Run:
    """A run on a disk or in an object store, read on demand; made by :func:`load` and :func:`run`.

    While the run goes on, tables hold the images that are committed.

    Args:
        directory: The run's files.
    """

    def __init__(self, directory: RunDir) -> None:
        self._files = directory

    @property
    def uri(self) -> str:
        """Local path or uri of the run's directory."""
        return self._files.uri

    def __repr__(self) -> str:
        info, methods = self._files.info(), ", ".join(self._files.config().explain.methods)
        state = f"{info.failed or 0} failed" if self._files.complete else "not complete"
        return f"Run({self.uri}: {info.images} images, {state}; {methods})"

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``.

        Raises:
            DataError: The run is not complete.

        Example:
            >>> import pipeline as wsl
            >>> metrics = wsl.load("runs/tiny").metrics
            >>> metrics["protocol"], metrics["n_images"], metrics["methods"]["cam"]["mean_iou"]["n"]
            ('cam2016', 23, 22)
        """
        if not self._files.complete:
            raise DataError(f"{self.uri} is not complete; run its command again")
        found: dict[str, Any] = self._files.read_json("metrics.json")
        return found

    def scores(self) -> pd.DataFrame:
        """Every score, one per row.

        Returns:
            ``method`` (missing for the network's own classification), ``metric`` (its key in ``metrics.json``, or its
            path joined by dots), ``level`` (IoU level, NaN where there is none), ``value``, ``low`` and ``high`` (95 %
            interval), ``n`` (images), ``threshold_from`` (who chose the threshold of the boxes: ``protocol``,
            ``calibration`` or ``oracle``) and ``baseline`` (whether the method looks at no pixel). Shares are in
            [0, 1].

        Raises:
            DataError: The run is not complete.

        Example:
            >>> import pipeline as wsl
            >>> scores = wsl.load("runs/tiny").scores()
            >>> scores[(scores.metric == "max_box_acc") & (scores.level == 0.5)][["method", "value", "baseline"]]
                          method     value  baseline
            16               cam  0.090909     False
            63           gradcam  0.090909     False
            112  center_gaussian  0.227273      True
        """
        return frames.scores(self.metrics)

    def boxes(self, method: str | None = None, rank: int | None = None) -> pd.DataFrame:
        """The estimated boxes, by image, method and rank.

        Args:
            method: Restricts the boxes to this entry of ``explain.methods``.
            rank: Restricts the boxes to this rank: 0 for the image's label, 1 to 5 for the best predictions.

        Returns:
            ``image_id``, ``file_name``, ``method``, ``target_rank``, ``class_index``, ``class_name``, ``prob``,
            ``x0``, ``y0``, ``x1``, ``y1`` (half-open pixel edges of the displayed image, all 0 where the map is
            empty), ``box_status``, ``component`` (0 the first), ``quality`` (0 to 1, NaN without a box) and ``iou``
            (best overlap with a ground-truth box of the class that is scored; NaN without one).

        Raises:
            ConfigurationError: The run has no such method.

        Example:
            >>> import pipeline as wsl
            >>> wsl.load("runs/tiny").boxes(method="gradcam", rank=0).shape
            (22, 15)
        """
        return frames.boxes(self._files, None if method is None else self._method(method), rank)

    def errors(self) -> pd.DataFrame:
        """The images that could not be used.

        Returns:
            ``image_id``, ``uri``, ``stage``, ``error_code``, ``message`` and ``attempts``.

        Example:
            >>> import pipeline as wsl
            >>> wsl.load("runs/tiny").errors()[["image_id", "error_code"]]
               image_id  error_code
            0        11  NotAnImage
        """
        return frames.errors(self._files)

    def images(self) -> pd.DataFrame:
        """The images of the run.

        Returns:
            ``image_id``, ``uri``, ``file_name``, ``label`` (network output, -1 for none), ``width`` and ``height``
            in displayed pixels, ``boxes`` ((n, 4) float32 ground truth, xyxy) and ``box_labels`` (n,); for data with
            masks also ``masks`` and ``ignore``, COCO run lengths.

        Example:
            >>> import pipeline as wsl
            >>> wsl.load("runs/tiny").images()[["image_id", "label", "width", "height"]].head(2)
               image_id  label  width  height
            0         1      1     66      76
            1         2      2     51      50
        """
        return frames.images(self._files)

    def map(self, image_id: int, method: str | None = None, rank: int | None = None) -> np.ndarray:
        """One stored map, before ReLU, normalisation and resizing.

        Args:
            image_id: An id of :meth:`images`.
            method: An entry of ``explain.methods``; the first where not given.
            rank: 0 for the image's label, 1 to 5 for the best predictions; where not given, the first rank that
                was explained.

        Returns:
            (h, w) float32.

        Raises:
            ConfigurationError: There is no such image, method or rank.
            DataError: The image failed, or is not committed yet.

        Example:
            >>> import pipeline as wsl
            >>> wsl.load("runs/tiny").map(1, method="gradcam").shape
            (8, 8)
        """
        return self._row(image_id, method, rank).map

    def draw(self, image_id: int, method: str | None = None, rank: int | None = None) -> Image:
        """Draw the photograph with the map as heat, the estimated box in red and the label's ground truth in green.

        Args:
            image_id: As for :meth:`map`.
            method: As for :meth:`map`.
            rank: As for :meth:`map`.

        Returns:
            An RGB image of the displayed size. The regions that the box is chosen from have a white outline.

        Raises:
            ConfigurationError: As :meth:`map`.
            DataError: As :meth:`map`, or the image is no longer there.

        Example:
            >>> import pipeline as wsl
            >>> wsl.load("runs/tiny").draw(1).size
            (66, 76)
        """
        from pipeline.report.drawing import explained

        row, recipe = self._row(image_id, method, rank), self._files.recipe()
        chosen = pq.read_table(self._files.manifest, filters=pc.field("image_id") == image_id)
        (image,) = chosen.to_pylist()
        try:
            photo = read_image(image["uri"], levels=recipe.levels)
        except DecodeError as error:
            raise DataError(f"image {image_id}, {image['uri']}: {error.message}") from None
        owners = zip(image["boxes"], image["box_labels"], strict=True)
        truth = [np.array(box) for box, owner in owners if owner == image["label"]]
        transform = fit_transform(*photo.size, recipe.frame_side, recipe.fit, recipe.crop_ratio)
        return explained(photo, row.map, recipe.protocol, recipe.frame_side, transform, row.box, truth)

    def relocalize(
        self, out: str | Path | None = None, overrides: Overrides = (), *, quiet: bool = False, **box: object
    ) -> Run:
        """Score the stored maps by other rules, as a new run that needs neither network nor images.

        Args:
            out: The new run directory, a path or a uri. The same call resumes it.
            overrides: Keys of ``box``, ``evaluate``, ``runtime`` and ``seed``, such as ``{"evaluate.iou": [0.5]}``.
            quiet: Show no progress on stderr.
            **box: Keys of ``box``: ``protocol="choe2020"``, ``threshold=0.1``. A named protocol replaces
                this run's protocol together with its changes.

        Returns:
            The new run.

        Raises:
            UserError: This run is not complete, or the rules are invalid.

        Example:
            >>> import pipeline as wsl
            >>> wsl.load("runs/tiny").relocalize("runs/low", threshold=0.1, quiet=True).boxes().shape
            (264, 15)
        """
        from pipeline.commands.relocalize import relocalize
        from pipeline.shell.console import watching

        changes = parsed(overrides) + parsed({f"box.{key}": value for key, value in box.items()})
        out = out or "-".join([self.uri.rstrip("/"), *map(str, box.values()), *([] if box else ["relocalized"])])
        with watching(quiet) as watch:
            relocalize(self.uri, changes, out, watch)
        return Run(RunDir(out))

    def export(self, format: str, dest: str | Path, **options: Any) -> dict[str, Any]:
        """Write the boxes of the images' labels as a dataset that other tools read.

        Args:
            format: Such as ``coco``, ``voc``, ``yolo`` or ``labelstudio``.
            dest: New folder.
            **options: As for :func:`pipeline.commands.export.export`, such as ``split="train=0.8,val=0.2"``.

        Returns:
            Numbers of images, boxes and classes, and findings.

        Raises:
            UserError: This run is not complete, an option is wrong, or the folder is not empty.

        Example:
            >>> import pipeline as wsl
            >>> found = wsl.load("runs/tiny").export("yolo", "dataset", images="copy")
            >>> found["images"], found["notes"][0]
            (22, 'boxes by cam, of the label')
        """
        from pipeline.commands.export import export

        return export(self.uri, format, dest, **options)

    def _method(self, name: str | None) -> str:
        known = self._files.config().explain.methods
        if name is not None and name not in known:
            raise unknown("method of the run", name, known)
        return name or known[0]

    def _position(self, image_id: int) -> int:
        """The image's row of the manifest."""
        ids = pq.read_table(self._files.manifest, columns=["image_id"])["image_id"].to_numpy()
        position = int(np.searchsorted(ids, image_id))
        if position == len(ids) or ids[position] != image_id:
            raise ConfigurationError(f"{self.uri} has no image {image_id}; images() lists those that it has")
        return position

    def _row(self, image_id: int, method: str | None, rank: int | None) -> _Row:
        method = self._method(method)
        shard = self._position(image_id) // self._files.info().shard_size
        wanted = pc.field("image_id") == image_id
        failed = self._files.part("errors", shard).filter(wanted).to_pylist()
        if failed:
            raise DataError(f"image {image_id} failed in {failed[0]['stage']}: {failed[0]['message']}")
        found = self._files.part("predictions", shard).filter(wanted & (pc.field("method") == method)).to_pylist()
        if not found:
            raise DataError(f"{self.uri} has not reached image {image_id} yet")
        ranks = [one["target_rank"] for one in found]
        if rank is not None and rank not in ranks:
            raise ConfigurationError(f"image {image_id} has no rank {rank}; explained: {', '.join(map(str, ranks))}")
        row = found[ranks.index(min(ranks) if rank is None else rank)]
        stored = np.array(row["map"], np.float16).reshape(row["map_h"], row["map_w"])
        return _Row(raw_map(stored, row["map_scale"]), np.array(row["box"], np.float32))


class _Row(NamedTuple):
    """The parts of a prediction that are drawn: the raw map (h, w) float32, and the box (4,) in displayed pixels."""

    map: np.ndarray
    box: np.ndarray
