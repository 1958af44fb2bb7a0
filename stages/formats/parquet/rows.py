"""The rows of Parquet files with images in them; the images themselves are not read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages.errors import first_line
from stages.formats.parquet.columns import columns_of_schema, shape_of_type
from stages.ingest.parquet import cell_uri, open_table

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

FACTS = ("image_id", "width", "height")
"""Columns about an image that are read by their names."""

_BATCH = 1024
_FEW = 16


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        uri: Where the bytes of its image are; empty where it has none.
        path: What it calls the image; empty where it does not.
        values: Its other columns by name.
    """

    uri: str
    path: str
    values: dict[str, Any]


class Table:
    """A Parquet file.

    Attributes:
        columns: What its columns are.

    Raises:
        OSError: It cannot be read, or is no Parquet file.
        StorageError: The store does not answer.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        with open_table(uri) as file:
            schema = file.schema_arrow
        self._shapes = {field.name: shape_of_type(field.type) for field in schema}
        self.columns = columns_of_schema(schema)

    def rows(self) -> Iterator[Row]:
        """Its rows, in order.

        Raises:
            OSError: The rest cannot be read.
        """
        import pyarrow as pa

        struct = self.columns.image.removesuffix(".bytes")
        fields = self._shapes[struct]
        path = f"{struct}.path" if isinstance(fields, dict) and "path" in fields else ""
        wanted = [self.columns.label, self.columns.objects, *FACTS]
        names = [*filter(None, [path]), *dict.fromkeys(name for name in wanted if name in self._shapes)]
        try:
            with open_table(self._uri) as file:
                for group in range(file.num_row_groups):
                    yield from self._group(file, group, names, struct if path else "")
        except pa.ArrowException as error:
            raise OSError(first_line(error)) from error

    def _group(self, file: ParquetFile, group: int, names: list[str], struct: str) -> Iterator[Row]:
        if names:
            batches = file.iter_batches(_BATCH, row_groups=[group], columns=names)
            rows = [row for batch in batches for row in batch.to_pylist()]
        else:
            rows = [{} for _ in range(file.metadata.row_group(group).num_rows)]
        absent = self._absent(file, group, [at for at, row in enumerate(rows) if struct and row[struct] is None])
        for at, values in enumerate(rows):
            image = values.pop(struct, None) or {}
            uri = "" if at in absent else cell_uri(self._uri, self.columns.image, group, at)
            yield Row(uri, image.get("path") or "", values)

    def _absent(self, file: ParquetFile, group: int, known: list[int]) -> set[int]:
        """The rows without an image: the file counts them, and they are looked for only where some are not known."""
        chunk = file.metadata.row_group(group)
        places = [at for at in range(chunk.num_columns) if chunk.column(at).path_in_schema == self.columns.image]
        counted = chunk.column(places[0]).statistics if places else None
        if counted is not None and counted.has_null_count and counted.null_count == len(known):
            return set(known)
        empty: set[int] = set()
        at = 0
        for batch in file.iter_batches(_FEW, row_groups=[group], columns=[self.columns.image]):
            values = batch.column(0)
            while values.type.num_fields:
                values = values.flatten()[0]
            empty.update(at + place for place, null in enumerate(values.is_null().to_pylist()) if null)
            at += len(values)
        return empty
