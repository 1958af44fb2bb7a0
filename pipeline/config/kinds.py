"""Kinds of keys, by the types of their fields: texts, lists of texts, and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel


def is_text(kind: Any) -> bool:
    """Whether every value of a type is a text, or null.

    >>> is_text(str | None), is_text(Literal["ray", "inline"]), is_text(int | Literal["auto"]), is_text(list[str])
    (True, True, False, False)
    """
    return all(_is_text(one) or one is NoneType for one in _members(kind))


def is_texts(kind: Any) -> bool:
    """Whether a type allows a list of texts, and otherwise only a text.

    >>> is_texts(list[str]), is_texts(str | list[str]), is_texts(str), is_texts(list[float])
    (True, True, False, False)
    """
    return any(get_origin(one) is list for one in _members(kind)) and all(
        _is_text(one) or is_text(_item(one)) for one in _members(kind)
    )


def is_mapping(kind: Any) -> bool:
    """Whether every value of a type is a mapping, or null; a text stands for the file that has it.

    >>> is_mapping(dict[str, list[str]] | None), is_mapping(str), is_mapping(None)
    (True, False, False)
    """
    members = [one for one in _members(kind) if one is not NoneType]
    return bool(members) and all(get_origin(one) is dict for one in members)


def is_only_list(kind: Any) -> bool:
    """Whether every value of a type is a list."""
    return all(get_origin(one) is list for one in _members(kind))


def takes_null(kind: Any) -> bool:
    """Whether a type allows null."""
    return NoneType in _members(kind)


def kind_of(section: type[BaseModel], key: str) -> Any:
    """The type of a dotted key or of a section; None where there is no such key."""
    name, dot, rest = key.partition(".")
    field = section.model_fields.get(name)
    if field is None or not dot:
        return field.annotation if field else None
    return kind_of(field.annotation, rest) if is_section(field.annotation) else None


def is_section(kind: Any) -> TypeGuard[type[BaseModel]]:
    """Whether a type is a group of keys."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _members(kind: Any) -> Iterator[Any]:
    """The types of a union, without their annotations."""
    if get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _members(one)
    else:
        yield kind


def _is_text(kind: Any) -> bool:
    texts = get_origin(kind) is Literal and all(isinstance(one, str) for one in get_args(kind))
    return kind is str or texts


def _item(kind: Any) -> Any:
    """Type of a list's items; None for any other type."""
    return get_args(kind)[0] if get_origin(kind) is list else None
