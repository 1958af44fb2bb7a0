"""Parquet files that say what made them and notice any change of their bytes.

The pages of a sealed file have checksums, which any reader can verify. They do not cover the footer, which holds the
schema and a part's counts, so the footer also has a SHA-256 of the whole file, computed with zeros in its own place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.store import atomic as storage
from stages.errors import StorageError
from stages.ingest.uris import read_bytes

_DIGEST = b"wsl_pipeline.sha256"
_ZEROS = b"0" * 64
_BETWEEN = 2  # Bytes between a key and its value in the footer: the field's number and the value's length.


class SealError(ValueError):
    """The file is not the one that is looked for; the message says how."""


def seal(table: pa.Table, facts: Mapping[str, str]) -> bytes:
    """A table as the bytes of a sealed Parquet file; equal tables and facts give equal bytes.

    Args:
        table: The table.
        facts: What made it: entries of the footer, by key.
    """
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**facts, _DIGEST.decode(): _ZEROS.decode()})
    data: bytes = sink.getvalue().to_pybytes()
    start, end = _place(data)
    assert data[start:end] == _ZEROS
    return data[:start] + hashlib.sha256(data).hexdigest().encode() + data[end:]


def unseal(data: bytes, facts: Mapping[str, str]) -> dict[str, str]:
    """Check that bytes are those of a sealed file with these facts.

    Args:
        data: The whole file.
        facts: Entries that its footer must have.

    Returns:
        All entries of its footer.

    Raises:
        SealError: They are not.
    """
    if not data:
        raise SealError("it is empty")
    start, end = _place(data)
    digest = hashlib.sha256(data[:start] + _ZEROS)
    digest.update(memoryview(data)[end:])
    if digest.hexdigest().encode() != data[start:end]:
        raise SealError("its bytes are not those that were written")
    found = {key.decode(): value.decode() for key, value in pq.read_metadata(pa.BufferReader(data)).metadata.items()}
    if not facts.items() <= found.items():
        raise SealError("it was made from other images, by another network or configuration, or for another shard")
    return found


def read_sealed(uri: str, columns: list[str], facts: Mapping[str, str] | None) -> pa.Table:
    """Columns of a sealed file, with the entries of its footer as the metadata of the schema.

    Args:
        uri: Local path or uri.
        columns: Names of the wanted columns.
        facts: Entries that its footer must have; None for a file of a version that sealed none.

    Raises:
        SealError: It is damaged or another one; says which and how.
        StorageError: It cannot be read.
    """
    try:
        data = read_bytes(uri)
    except OSError as error:
        message = f"cannot read {uri}: {storage.reason(error)}; fix it and run the same command again"
        raise StorageError(message) from None
    try:
        found = {} if facts is None else unseal(data, facts)
        table = pq.read_table(pa.BufferReader(_native(data)), columns=columns, page_checksum_verification=True)
        if table.column_names == columns:
            return table.replace_schema_metadata((table.schema.metadata or {}) | found)
        reason = "it lacks columns"
    except (SealError, pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
    raise SealError(f"{uri} is damaged ({reason})")


def _native(data: bytes) -> pa.Buffer:
    """The bytes in memory of Arrow's own.

    Arrow's threads let go of what they read after the table is there. Where that is an object of Python and Python
    is just ending, the process aborts.
    """
    sink = pa.BufferOutputStream()
    sink.write(data)
    return sink.getvalue()


def _place(data: bytes) -> tuple[int, int]:
    """Where the digest is; a file without one has another digest there."""
    start = data.rfind(_DIGEST) + len(_DIGEST) + _BETWEEN
    return start, start + len(_ZEROS)
