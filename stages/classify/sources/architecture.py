"""The architecture that a network was built from, by the name of the network."""

from __future__ import annotations

from stages.classify.sources.file_spec import parse


def architecture_of(spec: str) -> str | None:
    """The name that :func:`stages.classify.sources.untrained.untrained` takes; None where it is known to nobody else.

    >>> architecture_of("torchvision:resnet50@IMAGENET1K_V1"), architecture_of("python:nets:make")
    ('torchvision:resnet50', None)
    """
    library, _, rest = spec.partition(":")
    if library in ("torchvision", "timm"):
        return f"{library}:{rest.partition('@')[0]}"
    if library == "file":
        return parse(rest).architecture or None
    return library if library.startswith("lite") else None
