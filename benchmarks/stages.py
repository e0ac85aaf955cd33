"""CPU seconds of the stages of a second cycle, each alone on one thread: where the time goes, and what a choice costs.

    python benchmarks/stages.py [--scale 1]

The rows are those of TPC-H orders, in another order than the state that they are compared with. `fallback` is what
runs where differ was installed without a C compiler. Figures are for comparing lines of one run: alone, a stage has the
caches and the memory to itself, which it has not in a cycle.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cycle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rounds
import tpch

import differ
from differ import kernels
from differ.diff.encoding import Encoding
from differ.iterators.contract import Context
from differ.iterators.files.plugin import files
from differ.records.normalize import fit, to_batches
from differ.snapshots.bits import Bits
from differ.snapshots.partwriter import PartWriter

CHANGED_SHARE = 0.015


def main() -> None:
    """Print a line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1)
    scale = parser.parse_args().scale
    pa.set_cpu_count(1)
    old, new = tpch.states(tpch.ORDERS, scale)
    print(f"{rounds.machine()}; {rounds.versions(())}")
    with differ.open(cycle.committed(tpch.ORDERS, [old])) as project:
        snapshot = project.snapshot("orders")
        encoding = Encoding.of(snapshot)
        reader = files(
            Context(source="orders", options={"path": str(new)}, project=str(new.parent), key=("o_orderkey",))
        )
        read = timed("decode the new Parquet file", lambda: [b for s in reader.splits() for b in reader.read(s)])
        rows = sum(batch.num_rows for batch in read)
        types = encoding.schema.types
        batches = timed(
            "to logical types",
            lambda: [
                fit(piece, encoding.schema, source="orders")
                for batch in read
                for piece in to_batches(batch, source="orders", types=types, dictionaries=True)
            ],
        )
        hashes = timed("canonical bytes and hashes", lambda: [encoding.fingerprint(batch) for batch in batches])
        index = timed("open the index", lambda: snapshot.index)
        seen = Bits(index.size)
        timed("look keys up", lambda: [index.match(item, seen) for item in hashes])
        with fallback():
            timed("canonical bytes and hashes, fallback", lambda: [encoding.fingerprint(batch) for batch in batches])
            again = Bits(index.size)
            timed("look keys up, fallback", lambda: [index.match(item, again) for item in hashes])
        step = max(1, int(1 / CHANGED_SHARE))
        wanted = np.arange(0, snapshot.manifest.part_rows, step, dtype=np.int64)
        timed(f"before images of each {step}th row", lambda: list(snapshot.rows_at(wanted)))
        table = snapshot.to_arrow()
    print(f"{rows:,} rows\n")
    codecs(table)


def codecs(table: pa.Table) -> None:
    """What writing and reading the rows costs by codec, and what statistics of texts cost."""
    with TemporaryDirectory(dir=tpch.BUILD) as name:
        folder = Path(name)
        with PartWriter(folder, "part", table.schema) as writer:
            timed("write a part as a cycle does", lambda: _write_part(writer, table, folder))
        for codec in ("lz4", "zstd", "snappy"):
            for statistics in (False, True):
                path = folder / f"{codec}-{statistics}.parquet"
                options: dict[str, Any] = {"compression": codec, "write_statistics": statistics}
                if codec == "zstd":
                    options["compression_level"] = 1
                words = "with" if statistics else "without"
                timed(f"write, {codec}, {words} statistics", lambda p=path, o=options: _write(table, p, o))
                timed(f"read, {codec}: {path.stat().st_size:,} bytes", lambda p=path: _read(p))


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Run some work and print its CPU seconds."""
    start = time.process_time()
    found = work()
    print(f"{name:<48} {time.process_time() - start:7.2f} CPU s")
    return found


@contextmanager
def fallback() -> Iterator[None]:
    """As if there had been no C compiler."""
    loaded, kernels.LOADED = kernels.LOADED, False
    try:
        yield
    finally:
        kernels.LOADED = loaded


def _write_part(writer: PartWriter, table: pa.Table, folder: Path) -> None:
    for batch in table.to_batches():
        writer.write(batch)
    writer.finish(folder)


def _write(table: pa.Table, path: Path, options: dict[str, Any]) -> None:
    repeating = ["o_orderstatus", "o_orderdate", "o_orderpriority", "o_clerk", "o_shippriority"]
    pq.write_table(table, path, row_group_size=1 << 17, use_dictionary=repeating, write_page_checksum=True, **options)


def _read(path: Path) -> None:
    file = pq.ParquetFile(path)
    for group in range(file.metadata.num_row_groups):
        file.read_row_group(group, use_threads=False)


if __name__ == "__main__":
    main()
