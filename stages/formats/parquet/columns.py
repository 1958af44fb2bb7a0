"""What the columns of an image dataset are, by their types, their names and what Hugging Face writes about them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from stages.formats.tables import label_rank

if TYPE_CHECKING:
    from pyarrow import DataType, Schema

Shape = Any
"""Form of a value: ``bytes``, ``str``, ``int`` or None for anything else; a list of the form of its entries; a dict."""

_IMAGES = ("image", "img", "images", "picture", "photo", "jpg", "jpeg", "png", "webp", "bytes")
_BOXES = ("bbox", "bboxes", "boxes", "box")
_OWNERS = (
    *("category", "categories", "category_id", "label", "labels", "class", "classes", "class_id", "class_label"),
    "name",
)


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read.

    Attributes:
        image: Dotted name of the column that holds the bytes of images; empty where there is none.
        others: Columns like it, which are not read.
        label: The column of the image's class or classes; empty where there is none.
        label_names: Names of these classes by number; empty where nothing says them.
        objects: The column that holds boxes, or structs with boxes; empty where there is none.
        boxes: Field of the boxes in a struct; empty where the column itself holds them.
        owners: Field of their classes in a struct; empty where there is none.
        owner_names: Names of these classes by number.
        convention: What the table says about the numbers of a box; empty where it says nothing.
    """

    image: str = ""
    others: tuple[str, ...] = ()
    label: str = ""
    label_names: tuple[str, ...] = ()
    objects: str = ""
    boxes: str = ""
    owners: str = ""
    owner_names: tuple[str, ...] = ()
    convention: str = ""


def columns_of_schema(schema: Schema) -> Columns:
    """Tell the columns of a Parquet file.

    Beside what Hugging Face says of them, an export of this program says the convention of its boxes and all classes.
    """
    found = columns_of(
        {field.name: shape_of_type(field.type) for field in schema}, _said(schema, b"huggingface", "info", "features")
    )
    convention, classes = (schema.metadata or {}).get(b"bbox_format", b""), _said(schema, b"classes")
    names = tuple(map(str, classes)) if isinstance(classes, list) else ()
    return replace(found, owner_names=found.owner_names or names, convention=convention.decode("utf-8", "replace"))


def columns_of(shapes: Mapping[str, Shape], features: Any) -> Columns:
    """Tell the columns of a table.

    Args:
        shapes: Form of each column.
        features: ``info.features`` of the schema's ``huggingface`` metadata; None where it has none.
    """
    images = _images(shapes, features)
    objects, boxes = next(_boxes(shapes), ("", ""))
    fields = _entry(shapes.get(objects)) if boxes else {}
    owners = _best_owner(fields, _field(features, objects))
    label = _label({name: shape for name, shape in shapes.items() if name not in (objects, *images)}, features)
    return Columns(
        "".join(images[:1]) + (".bytes" if images and isinstance(shapes[images[0]], dict) else ""),
        tuple(images[1:]),
        label,
        names_in(_field(features, label)),
        objects,
        boxes,
        owners,
        names_in(_field(_field(features, objects), owners)),
    )


def shape_of_type(kind: DataType) -> Shape:
    """The form of an Arrow type."""
    import pyarrow.types as types

    if types.is_struct(kind):
        return {field.name: shape_of_type(field.type) for field in kind}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [shape_of_type(kind.value_type)]
    if types.is_dictionary(kind):
        return shape_of_type(kind.value_type)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return bytes
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return str
    return int if types.is_integer(kind) else None


def shape_of_values(values: Sequence[Any]) -> Shape:
    """The form of JSON values: of structs that of each field, of other values that of the first that has one."""
    structs = [value for value in values if isinstance(value, dict)]
    if structs:
        keys = dict.fromkeys(key for one in structs for key in one)
        return {key: shape_of_values([one.get(key) for one in structs]) for key in keys}
    lists = [value for value in values if isinstance(value, list)]
    if lists:
        return [shape_of_values([entry for one in lists for entry in one])]
    return next((type(value) for value in values if type(value) in (int, str)), None)


def names_in(feature: Any) -> tuple[str, ...]:
    """The names of the classes in a feature, however deep its lists are.

    >>> names_in({"_type": "List", "feature": {"_type": "ClassLabel", "names": ["cat", "dog"]}})
    ('cat', 'dog')
    """
    feature = _within(feature)
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _said(schema: Schema, key: bytes, *path: str) -> Any:
    """A value in JSON metadata of a schema; None where there is none."""
    try:
        found = json.loads((schema.metadata or {}).get(key, b"null"))
    except (ValueError, RecursionError):
        return None
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _within(feature: Any) -> dict[str, Any]:
    """The feature of the entries of a list, or the feature itself."""
    for _ in range(8):
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and isinstance(feature.get("feature"), dict | list) and "_type" in feature:
            feature = feature["feature"]
    return feature if isinstance(feature, dict) else {}


def _field(feature: Any, name: str) -> Any:
    return _within(feature).get(name) if name else None


def _entry(shape: Shape) -> dict[str, Shape]:
    """The fields of a struct, or of the structs in a list."""
    shape = shape[0] if isinstance(shape, list) and len(shape) == 1 else shape
    return shape if isinstance(shape, dict) else {}


def _images(shapes: Mapping[str, Shape], features: Any) -> list[str]:
    """The columns that hold images, the best first."""

    def worth(name: str) -> tuple[bool, bool, int]:
        said = _within(_field(features, name)).get("_type") == "Image"
        plain = name.lower()
        return not said, shapes[name] is bytes, _IMAGES.index(plain) if plain in _IMAGES else len(_IMAGES)

    held = [
        name
        for name, shape in shapes.items()
        if shape is bytes or (isinstance(shape, dict) and shape.get("bytes") is bytes)
    ]
    return sorted(held, key=worth)


def _boxes(shapes: Mapping[str, Shape]) -> Any:
    """Each column that holds boxes, with the field of a struct that does."""
    for name, shape in shapes.items():
        fields = _entry(shape)
        yield from ((name, field) for field in _BOXES if isinstance(fields.get(field), list) and "bytes" not in fields)
    yield from ((name, "") for name in _BOXES if isinstance(shapes.get(name), list) and not _entry(shapes[name]))


def _best_owner(fields: Mapping[str, Shape], features: Any) -> str:
    known = [name for name in _OWNERS if name in fields]
    return next((name for name in known if names_in(_field(features, name))), "".join(known[:1]))


def _label(shapes: Mapping[str, Shape], features: Any) -> str:
    """The column of the labels: one of named classes, or else one that is called so."""
    named = [name for name in shapes if names_in(_field(features, name))]
    ranks = {name: label_rank("class" if name == "cls" else name) for name in shapes}
    kinds: tuple[Shape, ...] = (int, str, [int], [str])
    plain = [name for name, shape in shapes.items() if shape in kinds and ranks[name] is not None]
    return min(named or plain, key=lambda name: (ranks[name] is None, ranks[name] or 0), default="")
