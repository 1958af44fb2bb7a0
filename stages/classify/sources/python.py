"""Networks that a user's function returns: ``python:package.module:factory``."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from stages.classify.network import Network
from stages.classify.programs import as_module
from stages.classify.sources.own_module import import_from
from stages.errors import ConfigurationError, UserError, first_line


def check(rest: str) -> None:
    """Check the form of the name; the module is not imported, because that would run it."""
    module, _, function = rest.partition(":")
    if not all(module.split(".")) or not function:
        raise ConfigurationError(f"write python:package.module:factory; found python:{rest}", about="network")


def load(rest: str, folder: Path) -> Network:
    """The network that the function returns when it is called without arguments.

    Raises:
        ConfigurationError: The function cannot be imported, fails, or returns something else.
        UserError: The function itself raises it.
    """
    name, _, function = rest.partition(":")
    try:
        factory = getattr(import_from(folder, name), function)
    except (Exception, SystemExit) as error:  # A user's module may raise anything when it is imported.
        raise ConfigurationError(f"python:{rest}: {first_line(error)}", about="network") from error
    if not callable(factory):
        raise ConfigurationError(f"python:{rest}: {function} is not a function", about="network")
    try:
        made = as_module(factory())
        network = Network(made) if isinstance(made, nn.Module) else made
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        message = f"python:{rest}: {function}() fails: {first_line(error)}"
        raise ConfigurationError(message, about="network") from error
    if isinstance(network, Network):
        return network
    raise ConfigurationError(
        f"python:{rest}: the factory returned {type(made).__name__}, not an nn.Module or a Network", about="network"
    )
