"""The demo's network. Nobody publishes its weights: they are trained on first use and kept."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from stages.classify.network import Network, Preprocess
from stages.classify.sources import nothing_follows
from stages.classify.weights import load_into
from stages.errors import ConfigurationError, WeightsUnavailableError
from stages.ingest import digits
from stages.train import loop, networks

# Each of the 4,000 training digits is seen three times, placed anew among other strokes.
_CANVASES = 12_000
_SEED = 0
_THREADS = 2  # sums, and so weights, depend on it

_log = logging.getLogger("wsl_pipeline")


def check(rest: str) -> None:
    """Refuse anything behind ``digits-cnn``."""
    nothing_follows("digits-cnn", rest)


def load(rest: str = "", folder: Path | None = None) -> Network:
    """A CNN with global average pooling that names the digit on a canvas; layer ``features`` is 24x24.

    It learns from class labels, of digits that are not evaluated. Training takes most of a minute on two
    cores; later calls, and other processes that wait for the first, read the file that it left.

    Raises:
        DataError: The package that carries the digits is missing.
        WeightsUnavailableError: The cache folder cannot be written.
    """
    path = weights_file()
    module = _initial()
    if not _read(module, path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The processes of a run ask together; one trains, the others wait for it.
            with FileLock(f"{path}.lock"):
                if not _read(module, path):
                    _train(path)
                    load_into(module, path)
        except OSError as error:
            raise WeightsUnavailableError(
                f"cannot keep the weights of digits-cnn in {path.parent}: {error.strerror or error}; "
                "set XDG_CACHE_HOME to a folder that can be written",
                about="network",
            ) from None
    preprocess = Preprocess(digits.SIZE, "bilinear", 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return Network(module, digits.CLASSES, preprocess, "features")


def weights_file() -> Path:
    """Where the weights are kept. The name changes with everything that they are made by."""
    recipe = hashlib.sha256()
    for source in (digits.__file__, networks.__file__, loop.__file__, __file__):
        recipe.update(Path(source).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "wsl-pipeline" / f"digits-cnn-{recipe.hexdigest()[:16]}.pt"


def _initial() -> networks.GapClassifier:
    """The untrained network; the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return networks.digits_cnn()


def _read(module: networks.GapClassifier, path: Path) -> bool:
    """Fill the module with the file; False where it is absent or damaged."""
    try:
        load_into(module, path)
    except (WeightsUnavailableError, ConfigurationError, OSError):
        return False
    return True


def _train(path: Path) -> None:
    """Train from scratch and put the weights there, whole or not at all."""
    _log.info("training the demo's network from class labels, once; takes about a minute on two cores")
    start = time.monotonic()
    threads = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        module = _initial()
        images, labels = _labelled_canvases(_CANVASES)
        loop.train_classifier(module, images, labels, epochs=1, seed=_SEED)
    finally:
        torch.set_num_threads(threads)
    # Through memory: PyTorch's own writer reports a full disk as a RuntimeError.
    content = io.BytesIO()
    torch.save(module.state_dict(), content)
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        partial.write_bytes(content.getbuffer())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _log.info("trained in %.0f s; kept in %s", time.monotonic() - start, path)


def _labelled_canvases(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Training canvases (count, 1, SIZE, SIZE) uint8 and their labels (count,); boxes are thrown away."""
    images = np.empty((count, 1, digits.SIZE, digits.SIZE), np.uint8)
    labels = np.empty(count, np.int64)
    for row in range(count):
        images[row, 0], _, labels[row] = digits.render("train", row, _SEED)
    return torch.from_numpy(images), torch.from_numpy(labels)
