"""The compiled kernels against the definition: canonical bytes by NumPy and Arrow, hashes by python-xxhash."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from differ import kernels
from differ.kernels import library
from differ.records.addresses import hash_rows
from differ.records.canonical import row_bytes
from differ.records.fingerprints import fingerprint, hash_binary
from differ.records.keytext import partition_hashes
from differ.records.types import BYTES, INT, STRING, Column, Schema
from tests.records.draw import storage, tables

compiled = pytest.mark.skipif(not kernels.LOADED, reason="differ was installed without a C compiler")
# Around every length at which XXH3 goes another way.
LENGTHS = sorted({*range(300), *range(1000, 1100), *range(2040, 2060), 5_000, 70_000})


@compiled
def test_both_hashes_are_those_of_xxhash_at_every_length() -> None:
    values = [np.random.default_rng(length).bytes(length) for length in LENGTHS]
    array = pa.array([b"before", *values], pa.binary())[1:]
    high, low = hash_binary(array)
    assert [int(a) << 64 | int(b) for a, b in zip(high, low, strict=True)] == [
        xxhash.xxh3_128_intdigest(value) for value in values
    ]
    assert partition_hashes(array).tolist() == [xxhash.xxh3_64_intdigest(value) for value in values]


@compiled
@settings(max_examples=200)
@given(tables(), st.integers(0, 5))
def test_rows_hash_to_what_their_canonical_bytes_hash_to(table: Any, start: int) -> None:
    """All logical types, nulls, and batches that begin in the middle of their buffers."""
    schema, rows = table
    batch = storage(schema, rows).slice(start)
    found = hash_rows(batch, schema, schema.names)
    if not batch.num_rows:
        assert found is None
        return
    assert found is not None
    expected = [xxhash.xxh3_128_intdigest(data) for data in row_bytes(batch, schema, schema.names).to_pylist()]
    assert [int(a) << 64 | int(b) for a, b in zip(*found, strict=True)] == expected


TEXTS = st.lists(st.none() | st.text(max_size=80), min_size=1, max_size=300)


@settings(max_examples=60)
@given(TEXTS, st.integers(0, 3), st.sampled_from([STRING, BYTES]))
def test_a_dictionary_hashes_like_its_texts(texts: list[str | None], start: int, type_: Any) -> None:
    schema = Schema(columns=(Column(name="id", type=INT), Column(name="t", type=type_)), key=("id",))
    plain = pa.array(texts, pa.string()).cast(type_.storage)
    ids = pa.array(range(len(texts)), pa.int64())
    coded = pa.concat_arrays([plain, plain]).dictionary_encode()[len(texts) :]
    whole = pa.record_batch([ids, plain], schema=schema.arrow)
    batch = pa.record_batch([ids, coded], names=["id", "t"])
    one, other = (fingerprint(item.slice(start), schema, schema.names) for item in (whole, batch))
    for name in ("key_hi", "key_lo", "row_hi", "row_lo"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


@compiled
def test_a_library_of_another_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "kernels.so"
    shutil.copy(library.PATH, copy)
    assert isinstance(library.load(copy), ctypes.CDLL)
    monkeypatch.setattr(library, "ABI", library.ABI + 1)
    assert library.load(copy) is None


@pytest.mark.parametrize("content", [None, b"", b"no library at all"])
def test_no_library_is_no_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "kernels.so"
    if content is not None:
        path.write_bytes(content)
    assert library.load(path) is None


@pytest.mark.slow
def test_without_a_compiler_the_package_is_still_made(tmp_path: Path) -> None:
    """The build hook finds no compiler on an empty PATH, says so, and the wheel is for any platform."""
    root = Path(__file__).parents[2]
    copy = tmp_path / "copy"
    shutil.copytree(root / "differ", copy / "differ", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore"):
        shutil.copy(root / name, copy / name)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(
        command, cwd=copy, env={"PATH": str(tmp_path)}, check=True, capture_output=True, text=True, timeout=100
    )
    assert "without its compiled kernels" in done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("py3-none-any.whl")
