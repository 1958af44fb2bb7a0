"""A folder of files that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENAMETOOLONG
from pathlib import Path

from pipeline.store.atomic import reason
from stages.errors import ConfigurationError, OutputError
from stages.ingest.paths import local_path


@contextmanager
def new_folder(place: str | Path) -> Iterator[Path]:
    """A folder to fill, which has its name only once it is full.

    Args:
        place: Its local path; an empty folder may be there.

    Raises:
        ConfigurationError: Something is there already, or it is not on this machine.
        OutputError: The disk is full, or the folder cannot be written; nothing of it remains.
    """
    path = local_path(os.fspath(place))
    if path is None:
        raise ConfigurationError(f"{place} is not on this machine; write to a local folder and copy it", about="dest")
    target = Path(path).absolute()
    if not target.name:
        raise ConfigurationError(f"{target} is not empty; choose another folder", about="dest")
    made = target.with_name(f".{target.name}.{os.getpid()}.wsl-pipeline-tmp")
    try:
        if target.is_file() or (target.is_dir() and any(target.iterdir())):
            raise ConfigurationError(f"{target} is not empty; choose another folder", about="dest")
        made.mkdir(parents=True)
        yield made
        if target.is_dir():
            target.rmdir()
        made.rename(target)
    except OSError as error:
        long = "; shorten the names of images, or leave out --flatten"
        hint = long if error.errno == ENAMETOOLONG else ""
        raise OutputError(f"cannot write {target}: {reason(error)}{hint}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
