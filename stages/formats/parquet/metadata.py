"""Tables ``metadata.parquet`` and ``metadata.jsonl`` of Hugging Face's image folders."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from stages.errors import DataError, first_line
from stages.formats.content import content_of
from stages.formats.delimited import text_of
from stages.formats.parquet.columns import columns_of, columns_of_schema, shape_of_values
from stages.formats.parquet.rows import Row
from stages.formats.source import Notes
from stages.ingest.paths import basename, join, parent

NAMES = ("metadata.parquet", "metadata.jsonl")


class Metadata:
    """A table that names the images beside it.

    Attributes:
        columns: What its columns are.

    Raises:
        DataError: It cannot be read.
    """

    def __init__(self, uri: str, notes: Notes) -> None:
        self._uri, self._notes = uri, notes
        if uri.lower().endswith(".jsonl"):
            self._rows = list(_json_rows(uri, notes))
            self.columns = columns_of(shape_of_values(self._rows) or {}, None)
        else:
            self._read_parquet()

    def rows(self, images: set[str]) -> Iterator[Row]:
        """Its rows, in order; one whose image is not there is counted.

        Args:
            images: Paths of the images that there are, relative to the folder of the table.
        """
        name = basename(self._uri)
        for values in self._rows:
            path = values.get("file_name")
            plain = path.replace("\\", "/").removeprefix("./") if isinstance(path, str) else ""
            if plain in images:
                yield Row(join(parent(self._uri), plain), plain, values)
            else:
                self._notes.count(f"rows of {name} name no image that is there: left out", example=str(path))

    def _read_parquet(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(io.BytesIO(content_of(self._uri))).read(use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot read {self._uri}: {first_line(error)}", about="root") from error
        self._rows = table.to_pylist()
        self.columns = columns_of_schema(table.schema)


def _json_rows(uri: str, notes: Notes) -> Iterator[dict[str, Any]]:
    for line in filter(str.strip, text_of(uri, notes).split("\n")):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if isinstance(entry, dict):
            yield entry
        else:
            notes.count(f"lines of {basename(uri)} are not JSON objects: left out", example=line[:60])
