"""Errors that are the user's to fix: one line each, with the exit code that a script can test."""

_LISTED = 20
"""Names that an error lists."""


class UserError(Exception):
    """An expected failure. The message is one line: what is wrong, where, how to fix it.

    Args:
        message: That line.
        about: What the caller passed that is wrong, in this library's own words, such as ``layer``; None where
            it is nothing that has a name. Whoever has another name for it, such as a key of a configuration
            file, puts that name in front of the message.
    """

    exit_code = 1

    def __init__(self, message: str, about: str | None = None) -> None:
        super().__init__(message)
        self.about = about


class ConfigurationError(UserError):
    """A key, value, name or argument that makes no sense."""

    exit_code = 2


class DataError(UserError):
    """Images or annotations that are missing or contradict each other."""

    exit_code = 3


class StorageError(DataError):
    """A disk or an object store that does not answer: no image is to blame, and trying again may help."""


class OutputError(UserError):
    """A result that cannot be written: a full disk, a folder that went away."""


class OutOfMemoryError(UserError):
    """A batch that does not fit, not even by halves."""


class WeightsUnavailableError(UserError):
    """Weights that are not on this machine and cannot be fetched."""

    exit_code = 5


def unknown(kind: str, name: str, known: list[str], about: str | None = None) -> ConfigurationError:
    """The error for a name that is in no table, with the nearest known ones.

    Args:
        kind: What the table holds, for the message.
        name: That is not in it.
        known: The names that are.
        about: As of :class:`UserError`.

    >>> print(unknown("protocol", "cam2061", ["cam2016", "choe2020"]))
    unknown protocol 'cam2061'; did you mean cam2016? known: cam2016, choe2020
    """
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ";"
    listed = ", ".join(known[:_LISTED]) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")
    return ConfigurationError(f"unknown {kind} {name!r}{hint} known: {listed}", about)


def first_line(error: BaseException) -> str:
    """What an error says in its first line, or its type where it says nothing.

    >>> first_line(ValueError("too large\\n  at line 3")), first_line(KeyboardInterrupt())
    ('too large', 'KeyboardInterrupt')
    """
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether numpy or torch could not allocate; torch has a type of its own on GPUs alone."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "DefaultCPUAllocator" in text
