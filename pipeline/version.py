"""The version of this package, in a module that every subpackage may import."""

__version__ = "0.7.0"
