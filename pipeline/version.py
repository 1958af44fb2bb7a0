"""The version of this package; a module of its own, so that every room may read it."""

__version__ = "0.3.0"
