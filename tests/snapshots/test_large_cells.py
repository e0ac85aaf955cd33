"""Rows far larger than usual: a row group stays small enough to be read back whole."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from differ.snapshots import partwriter
from differ.snapshots.manifest import Part
from differ.snapshots.parts import PartReader
from differ.snapshots.partwriter import PartWriter


def test_a_large_batch_becomes_many_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partwriter, "ROW_GROUP_BYTES", 1 << 16)
    cells = [f"{number:05d}" * 4_000 for number in range(100)]  # 20 kB each
    batch = pa.record_batch({"cell": cells})
    with PartWriter(tmp_path, "part", batch.schema) as writer:
        writer.write(batch.slice(0, 1))
        writer.write(batch.slice(1))
        (file,) = writer.finish(tmp_path)
    groups = pq.ParquetFile(tmp_path / file.path).metadata
    assert max(groups.row_group(i).num_rows for i in range(groups.num_row_groups)) <= 2 * (1 << 16) // 20_000 + 1
    reader = PartReader(tmp_path, [Part(kind="base", cycle=1, first_row=0, file=file)], batch.schema, "test")
    assert [row for _, rows in reader.groups() for row in rows.column("cell").to_pylist()] == cells
