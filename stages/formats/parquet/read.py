"""Reader of Hugging Face image datasets, without their library; images are read in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from posixpath import splitext
from typing import Any, NamedTuple, get_args

from stages.errors import ConfigurationError, DataError, UserError
from stages.formats.coco.box_format import BoxFormat, named_format
from stages.formats.coco.images import clean
from stages.formats.folder import find_images
from stages.formats.parquet import Options
from stages.formats.parquet.columns import Columns
from stages.formats.parquet.metadata import NAMES, Metadata
from stages.formats.parquet.rows import Row, Table
from stages.formats.samples import Label, Sample, label_of, objects_of, to_source
from stages.formats.shards import Shard, find_shards
from stages.formats.source import Notes, Source
from stages.ingest.image_formats import EXTENSIONS
from stages.ingest.paths import basename as name_of
from stages.ingest.paths import parent
from stages.ingest.uris import is_folder, walk
from stages.printable import is_storable

_SUFFIX = ".parquet"


class _Found(NamedTuple):
    """A row with an image.

    Attributes:
        number: Its number among all rows, from 1.
        row: The row.
        names: Names that the image may have, the best first.
        columns: What its columns are.
        table: Name of its file, for messages.
    """

    number: int
    row: Row
    names: tuple[str, ...]
    columns: Columns
    table: str


def read(root: str, options: Options) -> Source:
    """Read tables of images: ``SPLIT-00000-of-00012.parquet`` in a folder or below it, or ``metadata.parquet`` or
    ``.jsonl`` beside images.

    Which columns are the image, its labels and its objects is told by what Hugging Face writes about them, or else by
    their types and names. Classes are those of its class labels; without any, numbers are indices and words are names.
    The id of an image is its ``image_id`` where every row has one of its own, and otherwise the number of its row, from
    1. It is called by its path, or ``SHARD#ROW`` where others have the same or it has none.

    Args:
        root: Local path or uri of a folder, of a table, or a pattern such as ``train-{00000..00011}-of-00012.parquet``.
        options: The part to read, and the convention of its boxes.

    Raises:
        ConfigurationError: There is no such part, or there are boxes and nothing says their convention.
        DataError: There are no tables, or none has images.
    """
    notes = Notes()
    samples: list[Sample] = []
    ids: set[int] = set()
    boxed: dict[Columns, tuple[str, Sample | None]] = {}
    for one in _found(root, options.split, notes):
        sample = _sample(one, notes)
        samples.append(sample)
        if type(given := one.row.values.get("image_id")) is int and 0 <= given < 1 << 62:
            sample.stated = given
            ids.add(given)
        if boxed.setdefault(one.columns, (one.table, None))[1] is None and sample.boxes:
            boxed[one.columns] = one.table, sample
    if not samples:
        why = "; ".join(notes.lines()) or "they are empty"
        raise DataError(f"no images in the tables of {root} ({why})", about="root")
    if len(ids) == len(samples):
        for sample in samples:
            sample.number = sample.stated
    names = [name for one in boxed for name in (*one.label_names, *one.owner_names)]
    return to_source(samples, names, _box_format(boxed, options.bbox_format), notes)


def _found(root: str, split: str, notes: Notes) -> Iterator[_Found]:
    """The rows with an image, of all tables."""
    files = [name_of(name).lower() for name in walk(root)] if is_folder(root) else [name_of(root).lower()]
    held = any(name.endswith(_SUFFIX) and name not in NAMES for name in files)
    suffixes = NAMES if not held and any(name in NAMES for name in files) else (_SUFFIX,)
    shards = find_shards(root, suffixes, split, "tables", notes)
    number = 0
    for shard in shards:
        table = name_of(shard.uri)
        if held and table.lower() in NAMES:
            continue
        try:
            rows = _rows_of_shard(shard, notes) if held or suffixes != NAMES else _rows_beside(shard, root, notes)
            for row, names, columns in rows:
                number += 1
                if row.uri:
                    yield _Found(number, row, names, columns, table)
                else:
                    notes.count("rows have no image: left out", example=f"row {number:,}")
        except UserError:
            raise
        except OSError as error:
            what = "tables cannot be read, or not to their end: the rest is left out"
            notes.count(what, example=f"{table}: {error}")


_Rows = Iterator[tuple[Row, tuple[str, ...], Columns]]


def _rows_of_shard(shard: Shard, notes: Notes) -> _Rows:
    table = Table(shard.uri)
    columns = table.columns
    if not columns.image:
        notes.count("tables have no column of images: left out", example=name_of(shard.uri))
        return
    _say_columns(columns, notes)
    for at, row in enumerate(table.rows()):
        path = "/".join(clean(row.path)) if row.path.strip() and is_storable(row.path) else ""
        suffix = splitext(path)[1]
        own = f"{shard.name}#{at}" + (suffix if suffix.lower() in EXTENSIONS else "")
        yield row, (path, own) if path else (own,), columns


def _rows_beside(shard: Shard, root: str, notes: Notes) -> _Rows:
    folder = parent(shard.uri)
    images = set(find_images(walk(folder)).names)
    table = Metadata(shard.uri, notes)
    _say_columns(table.columns, notes)
    below = shard.name if is_folder(root) else ""
    named: set[str] = set()
    for row in table.rows(images):
        what = f"rows of {name_of(shard.uri)} name an image for the second time: left out"
        notes.count(what, row.path in named, example=row.path)
        if row.path not in named:
            named.add(row.path)
            yield row, (f"{below}{row.path}",), table.columns
    missing = sorted(images - named)
    notes.count(f"images have no row in {name_of(shard.uri)}: left out", len(missing), example="".join(missing[:1]))


def _say_columns(columns: Columns, notes: Notes) -> None:
    if columns.others:
        image = columns.image.removesuffix(".bytes")
        notes.say(f"the images are those of {image}, not of {', '.join(columns.others)}")
    if columns.label not in ("", "label", "labels"):
        notes.say(f"the labels are those of {columns.label}")


def _sample(found: _Found, notes: Notes) -> Sample:
    row, columns = found.row, found.columns
    given = row.values.get(columns.label)
    several = given if isinstance(given, list) else [given]
    labels = [_named(one, columns.label_names) for one in several]
    place = row.values.get(columns.objects) if columns.objects else None
    parallel = isinstance(given, list) and isinstance(place, list) and len(given) == len(place)
    boxes, owners = place, several if parallel else None
    if columns.boxes:
        boxes, owners = _fields(place, columns.boxes), _fields(place, columns.owners)
    values, classes = objects_of(boxes, owners, notes, found.names[0])
    return Sample(
        found.number,
        row.uri,
        found.names,
        list(dict.fromkeys(one for one in labels if one is not None)),
        values,
        [_named(one, columns.owner_names or columns.label_names) for one in classes],
        _size(row.values) if values else (0, 0),
    )


def _named(value: Any, names: Sequence[str]) -> Label | None:
    """A label by its name, where its number has one."""
    label = label_of(value)
    return names[label] if isinstance(label, int) and 0 <= label < len(names) else label


def _fields(objects: Any, name: str) -> Any:
    """A field of all objects, which are structs in a list, or lists in a struct."""
    if isinstance(objects, list):
        return [one.get(name) if isinstance(one, dict) else None for one in objects] if name else None
    return objects.get(name) if isinstance(objects, dict) else None


def _size(values: dict[str, Any]) -> tuple[int, int]:
    width, height = values.get("width"), values.get("height")
    return (width, height) if type(width) is int and type(height) is int and width > 0 < height else (0, 0)


def _box_format(boxed: Mapping[Columns, tuple[str, Sample | None]], asked: BoxFormat) -> BoxFormat:
    """The convention of the boxes.

    Args:
        boxed: Name of the first table of each kind, and its first image with boxes.
        asked: What the user says.

    Raises:
        ConfigurationError: There are boxes, and nothing says it.
    """
    said: set[BoxFormat] = set()
    for columns, (table, sample) in boxed.items():
        if asked != "auto" or sample is None:
            continue
        if not columns.convention:
            field = ".".join(filter(None, (columns.objects, columns.boxes)))
            choices = ", ".join(name for name in get_args(BoxFormat) if name != "auto")
            raise ConfigurationError(
                f"nothing in {table} says what the four numbers of {field} are, such as {sample.boxes[0]}; "
                f"choose one of {choices}",
                about="bbox_format",
            )
        said.add(named_format(columns.convention, "bbox_format"))
    return said.pop() if said else asked
