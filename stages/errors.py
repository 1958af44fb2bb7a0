"""Errors that the user can fix: one line each, with an exit code that a script can test."""

import re

_ADVICE = re.compile(r"[;.]?\s+(?:use|set) sys\.set_\w+\(.*", re.DOTALL)
_OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "STATUS_ALLOC_FAILED")  # the last of cuDNN and cuBLAS
_LISTED = 20
"""Number of names that an error lists at most."""


class UserError(Exception):
    """An expected failure. The message is one line: what is wrong, where, how to fix it.

    Args:
        message: The line.
        about: Name, in this library's terms, of the argument that is wrong, such as ``layer``; None where it
            has no name. A caller with another name for it, such as a configuration key, puts that name in front
            of the message.
    """

    exit_code = 1

    def __init__(self, message: str, about: str | None = None) -> None:
        super().__init__(message)
        self.about = about


class ConfigurationError(UserError):
    """An invalid key, value, name or argument."""

    exit_code = 2


class DataError(UserError):
    """Images or annotations that are missing or contradict each other."""

    exit_code = 3


class StorageError(DataError):
    """A disk or an object store that does not answer: no image is at fault, and trying again may help."""


class OutputError(UserError):
    """A result that cannot be written: a full disk, a folder that disappeared."""


class OutOfMemoryError(UserError):
    """A batch that does not fit in memory, not even when it is split."""


class WeightsUnavailableError(UserError):
    """Weights that are not on this machine and cannot be fetched."""

    exit_code = 5


def unknown(kind: str, name: str, known: list[str], about: str | None = None) -> ConfigurationError:
    """The error for a name that is in no table, with the nearest known ones.

    Args:
        kind: What the table holds, for the message.
        name: The name that is not in the table.
        known: The names in the table.
        about: As for :class:`UserError`.

    >>> print(unknown("protocol", "cam2061", ["cam2016", "choe2020"]))
    unknown protocol 'cam2061'; did you mean cam2016? known: cam2016, choe2020
    """
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ";"
    listed = ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
    return ConfigurationError(f"unknown {kind} {name!r}{hint} known: {listed}", about)


def one_line(error: BaseException) -> str:
    """An error's message as one line, without Python's advice to switch its protection off.

    >>> one_line(ValueError("too long;\\n use sys.set_int_max_str_digits() to increase the limit"))
    'too long'
    """
    return _ADVICE.sub("", " ".join(str(error).split()))


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where the message is empty.

    >>> first_line(ValueError("too large\\n  at line 3")), first_line(KeyboardInterrupt())
    ('too large', 'KeyboardInterrupt')
    """
    text = _ADVICE.sub("", str(error).strip())
    return text.splitlines()[0] if text else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether numpy, torch or a library of the GPU could not allocate memory.

    >>> is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    True
    """
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)
