import hashlib
import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.store import seal as seals
from pipeline.store.seal import SealError, read_sealed, seal, unseal

FACTS = {"made by": "this"}


@pytest.fixture(scope="module")
def sealed():
    values = np.random.default_rng(0).random(500).astype(np.float32)
    table = pa.table({"value": values, "name": [f"image {number % 7}" for number in range(500)]})
    return seal(table.replace_schema_metadata({"counts": '{"right": 3}'}), FACTS)


def test_a_sealed_file_is_parquet_for_everybody(sealed):
    table = pq.read_table(pa.BufferReader(sealed), page_checksum_verification=True)
    assert table.num_rows == 500 and table.schema.metadata[b"counts"] == b'{"right": 3}'
    assert unseal(sealed, FACTS)["counts"] == '{"right": 3}'


def test_no_thread_holds_the_bytes_of_a_file_that_was_read(sealed, monkeypatch):
    class Bytes(bytearray):
        pass

    alive = []

    def read(_: str) -> Bytes:
        data = Bytes(sealed)
        alive.append(weakref.ref(data))
        return data

    monkeypatch.setattr(seals, "read_bytes", read)
    for _ in range(200):
        read_sealed("part", ["value", "name"], FACTS)
        assert alive[-1]() is None


def test_pages_have_checksums(sealed):
    column = pq.read_metadata(pa.BufferReader(sealed)).row_group(0).column(0)
    broken = bytearray(sealed)
    broken[column.dictionary_page_offset + column.total_compressed_size - 9] ^= 1
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(pa.BufferReader(bytes(broken)), columns=["value"], page_checksum_verification=True)


def test_every_flipped_bit_is_noticed(sealed):
    bits = np.random.default_rng(1).permutation(8 * len(sealed))[:4000]
    for bit in bits.tolist():
        broken = bytearray(sealed)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError, match="its bytes are not those that were written"):
            unseal(bytes(broken), FACTS)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "it is empty"),
        (lambda data: data[:-1], "its bytes"),
        (lambda data: data + b"\0", "its bytes"),
        (lambda data: data[: len(data) // 2], "its bytes"),
        (lambda data: b"PAR1", "its bytes"),
        (lambda data: hashlib.sha256(data).digest(), "its bytes"),
    ],
    ids=["empty", "short", "long", "half", "magic", "noise"],
)
def test_a_file_of_another_length_is_noticed(sealed, damage, message):
    with pytest.raises(SealError, match=message):
        unseal(damage(sealed), FACTS)


def test_a_file_that_something_else_made_is_not_taken(sealed):
    with pytest.raises(SealError, match="made from other images"):
        unseal(sealed, {"made by": "that"})
    with pytest.raises(SealError, match="its bytes"):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"value": [1.0]}), sink)
        unseal(sink.getvalue().to_pybytes(), FACTS)
