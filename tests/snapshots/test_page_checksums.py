"""Pages of a part carry checksums, and a reader that trusts a part's hash still verifies them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from differ.errors import CorruptionError
from differ.snapshots.manifest import Part
from differ.snapshots.parts import PartReader
from differ.snapshots.partwriter import PartWriter

ROWS = pa.RecordBatch.from_pydict({"id": list(range(1000)), "v": [f"value {number * 7919}" for number in range(1000)]})


def test_a_flipped_bit_of_any_page_is_found(tmp_path: Path) -> None:
    with PartWriter(tmp_path, "part", ROWS.schema) as writer:
        writer.write(ROWS)
        (stored,) = writer.finish(tmp_path)
    path = tmp_path / stored.path
    whole = path.read_bytes()
    chunks = [pq.read_metadata(path).row_group(0).column(number) for number in range(2)]
    for chunk in chunks:
        for share in (0.5, 0.9):
            body = bytearray(whole)
            body[chunk.data_page_offset + int(chunk.total_compressed_size * share)] ^= 1
            path.write_bytes(bytes(body))
            part = Part(kind="base", cycle=1, first_row=0, file=stored)
            with pytest.raises(CorruptionError, match="checksum mismatch"):
                list(PartReader(tmp_path, [part], ROWS.schema, "snapshot").groups())
            with pytest.raises(CorruptionError, match="CRC checksum"):
                list(PartReader(tmp_path, [part], ROWS.schema, "snapshot", verified={0: path}).groups())
