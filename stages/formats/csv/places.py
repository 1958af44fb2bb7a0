"""Which table of a folder is read, and which of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from stages.errors import ConfigurationError, DataError
from stages.formats.csv import Options
from stages.formats.csv.columns import Columns, columns_of
from stages.formats.folder import find_images
from stages.formats.parts import candidates, note_taken, parts_among, unwrapped
from stages.formats.source import Notes
from stages.formats.system_files import system_kind
from stages.formats.tables import SUFFIXES, ImageNames, Table, cell_of, read_table
from stages.ingest.paths import basename, join, parent
from stages.ingest.uris import is_file, is_folder, walk

_MOST_TABLES = 20
"""Number of tables that are looked into."""


class Place(NamedTuple):
    """A table and its images.

    Attributes:
        root: The folder of both.
        name: The table, relative to it.
        files: All files below the root.
        folder: The folder of the images as a prefix of their names, which is not a part of what they are called.
        images: The images, by what the table may call them.
        table: The content.
        columns: Its columns.
        notes: What was said when it was read.
    """

    root: str
    name: str
    files: list[str]
    folder: str
    images: ImageNames
    table: Table
    columns: Columns
    notes: Notes

    def named(self) -> int:
        """Number of images that the table names."""
        found = (self.images.find(cell_of(row, self.columns.image)) for row in self.table.rows)
        return len({one for one in found if one})


def find_table(root: str, split: str, notes: Notes) -> tuple[Place, bool]:
    """The table of a part, or the one that names most images; and whether the part is that of its name.

    Args:
        root: Local path or uri of the folder, or of the table.
        split: The part.
        notes: Told which table is taken, where there are several.

    Raises:
        ConfigurationError: There is no such part.
        DataError: There is no such folder or table, or it names no images.
    """
    if not (is_folder(root) or is_file(root)):
        raise DataError(f"no folder or table {root}", about="root")
    tables = [] if is_folder(root) else [basename(root)]
    place = parent(root) if tables else root
    files = walk(place)
    found = find_images(files)
    if tables and not found.names:  # The table lies in a folder of its own, beside that of the images.
        tables, place = [f"{basename(place)}/{tables[0]}"], parent(place)
        files = walk(place)
        found = find_images(files)
    found.require(place)
    tables = tables or [name for name in files if name.lower().endswith(SUFFIXES) and not system_kind(name)]
    if not tables:
        raise DataError(
            f"{root} has no table ({', '.join(SUFFIXES)}); data.format=imagefolder needs none", about="root"
        )
    ordered = _of_parts(root, tables, split)
    opened = _opened(place, ordered or tables[:_MOST_TABLES], files, found.names)
    if ordered:
        usable = list(opened)
        chosen = next((one for one in usable if one.columns.label is not None), usable[0] if usable else None)
    else:
        chosen = max(opened, key=Place.named, default=None)
    if chosen is None:
        listed = " or ".join((ordered or tables)[:5])
        raise DataError(f"no column of {listed} names an image that is under {place}", about="root")
    if others := [one for one in tables if one != chosen.name]:
        how = "data.split or data.root" if ordered else "data.root"
        notes.say(f"the table is {chosen.name}; {how} takes {' or '.join(others[:5])}")
    notes.extend(chosen.notes)
    return chosen, bool(ordered)


def _opened(root: str, names: list[str], files: list[str], pictures: list[str]) -> Iterator[Place]:
    """The tables that name images."""
    folder = unwrapped(pictures, "", "")
    for name in names:
        beside, _, _ = name.rpartition("/")
        images, notes = ImageNames(pictures, [f"{beside}/".lstrip("/"), folder]), Notes()
        table = read_table(join(root, name), images, notes, lists=True)
        columns = columns_of(table, images)
        if columns is not None:
            yield Place(root, name, files, folder, images, table, columns, notes)


def _of_parts(root: str, tables: list[str], split: str) -> list[str]:
    """Tables that are called like parts or lie in their folders, the preferred one first; none where none are."""
    if len(tables) > 1:
        stems = {basename(name).rpartition(".")[0]: name for name in reversed(tables)}
        folders = {name.partition("/")[0]: name for name in reversed(tables) if "/" in name}
        for words in (stems, folders):
            if parts_among(words):
                return [words[one] for one in candidates(root, list(words), split)]
    return []


def rows_of(place: Place, split: str, by_name: bool, notes: Notes) -> list[list[str]]:
    """The rows of a part by the column ``split``, or all of them where there is none or it is empty.

    Args:
        place: The table.
        split: The part.
        by_name: Whether the table itself is that of the part.
        notes: Told which part is taken.

    Raises:
        ConfigurationError: There is no such part.
    """
    rows, at = place.table.rows, place.columns.split
    values = [] if at is None else list(dict.fromkeys(filter(None, (cell_of(row, at) for row in rows))))
    if at is None or not values or by_name:
        if split != Options.split and not by_name:
            raise ConfigurationError(f"{place.name} is not divided into parts; leave this key out", about="split")
        return rows
    parts = candidates(place.name, values, split)
    if not parts:
        return rows
    others = [one for one in values if one != parts[0]]
    note_taken(notes, f"the rows of {parts[0]} are", others)
    notes.count(f"rows of {place.name} are of no part: left out", sum(not cell_of(row, at) for row in rows))
    return [row for row in rows if cell_of(row, at) == parts[0]]
