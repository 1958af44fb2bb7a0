"""The version of this package, in a module that every subpackage may import."""

__version__ = "0.6.0"
