"""Every type of documents and of files, from the store to each form of its events and back."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from bson import Binary, Decimal128
from bson.binary import UuidRepresentation
from bson.json_util import CANONICAL_JSON_OPTIONS, JSONOptions, dumps, loads
from pymongo import MongoClient

from differ.snapshots.duckdb import state_query
from tests.cycle.world import World
from tests.iterators.test_mongodb import VALUES
from tests.road.forms import all_forms, comparable, fold, row

CANONICAL = CANONICAL_JSON_OPTIONS.with_options(uuid_representation=UuidRepresentation.UNSPECIFIED)
AWARE = JSONOptions(tz_aware=True, tzinfo=UTC, uuid_representation=UuidRepresentation.STANDARD)
NAMES = list(VALUES)


def value(name: str, step: int) -> Any:
    """The value that stands at `name` after so many steps: everybody moves on by one."""
    found = VALUES[NAMES[(NAMES.index(name) + step) % len(NAMES)]]
    return Decimal128("1.5") if isinstance(found, Decimal128) else found  # Decimals are kept as numbers.


def test_every_bson_type_turned_into_every_other(world: World, mongodb_url: str) -> None:
    world.source("things", iterator="mongodb", options={"url": mongodb_url, "collection": "things"})
    with MongoClient[dict[str, Any]](mongodb_url, retryWrites=False) as client:
        things = client.get_default_database()["things"]
        things.insert_many([{"_id": name, "v": value(name, 0)} for name in NAMES])
        head = world.commit("things").scn_last or 0
        for name in NAMES[1:]:
            things.replace_one({"_id": name}, {"_id": name, "v": value(name, 1)})
        things.delete_one({"_id": NAMES[0]})
        things.insert_one({"_id": "new", "v": {"$odd.name": 1, "": None}})
        result = world.commit("things")
    assert (result.updates, result.deletes, result.inserts) == (len(NAMES) - 1, 1, 1), result
    assert world.scan("things").status == "unchanged"
    seen = set()
    for batch in world.project.event_batches("things", since=head):
        for event in batch.events.to_pylist():
            name = json.loads(event["key"]["_id"])
            seen.add(name)
            for part, step in (("before", 0), ("after", 1)):
                if event[part] is not None and name != "new":
                    assert json.loads(event[part]["document"])["v"] == canonical(value(name, step)), (name, part)
    assert seen == {*NAMES, "new"}
    for event in world.project.events("things", since=head):
        if event.op == "update":
            assert event.before is not None
            assert event.after is not None
            name = event.key["_id"]
            pairs = [(event.before["document"]["v"], value(name, 0)), (event.after["document"]["v"], value(name, 1))]
            for found, wanted in pairs:
                assert repr(found) == repr(python(wanted)), name
    world.verify("things")


def python(wanted: Any) -> Any:
    """What an event gives: as json_util does, but a UUID of the old kind stays what it is."""
    old = isinstance(wanted, Binary) and wanted.subtype == 3
    return wanted if old else loads(text(wanted), json_options=AWARE)


def text(wanted: Any) -> str:
    return dumps(wanted, json_options=CANONICAL)


def canonical(wanted: Any) -> Any:
    return json.loads(text(wanted))


TYPES: Mapping[str, tuple[pa.DataType, list[Any]]] = {
    "int8": (pa.int8(), [-128, 127]),
    "uint32": (pa.uint32(), [2**32 - 1, 0]),
    "int64": (pa.int64(), [-(2**63), 2**63 - 1]),
    "uint64": (pa.uint64(), [2**64 - 1, 0]),
    "float": (pa.float32(), [0.5, float("inf")]),
    "double": (pa.float64(), [float("nan"), -0.0, 5e-324]),
    "small": (pa.decimal128(4, 4), [Decimal("0.0001"), Decimal("-0.9999")]),
    "wide": (pa.decimal256(76, 38), [Decimal("1" * 38 + "." + "9" * 38)]),
    "text": (pa.large_string(), ["", "\u0000 🦆 \u202e", "x" * 100_000]),
    "bytes": (pa.binary(), [b"", b"\x00\xff"]),
    "fixed": (pa.binary(3), [b"abc", b"\x00\x00\x00"]),
    "date": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "time": (pa.time64("us"), [time(0), time(23, 59, 59, 999_999)]),
    "duration": (pa.duration("us"), [timedelta(microseconds=-1), timedelta(days=99_999)]),
    "local": (pa.timestamp("us"), [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)]),  # noqa: DTZ001
    "instant": (pa.timestamp("us", tz="Asia/Kolkata"), [datetime(1969, 12, 31, 23, 59, 59, 1, UTC)]),
    "list": (pa.list_(pa.int32()), [[], [None], [1, 2]]),
    "struct": (pa.struct([("a", pa.string()), ("b", pa.int16())]), [{"a": None, "b": None}, {"a": "x", "b": 1}]),
    "flag": (pa.bool_(), [True, False]),
    "uuid": (pa.uuid(), [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]),
}
LOGICAL = {
    "int8": "int8", "uint32": "int64", "int64": "int64", "uint64": "decimal(20,0)", "float": "float32",
    "double": "float64", "small": "decimal(4,4)", "wide": "decimal(76,38)", "text": "string", "bytes": "bytes",
    "fixed": "bytes", "date": "date", "time": "time[us]", "duration": "duration[us]", "local": "timestamp[us]",
    "instant": "timestamp[us,UTC]", "list": "list<int32>", "struct": "struct<a:string,b:int16>", "flag": "bool",
    "uuid": "uuid", "id": "int64",
}  # fmt: skip
ROUNDS = 4


def test_every_parquet_type(world: World) -> None:
    path = world.folder / "rows.parquet"
    world.source("t", iterator="files", options={"path": path.name}, key="id")

    def write(rows: dict[int, int]) -> dict[int, Any]:
        """Rows whose values are number n of each column, counted round with null; returns what is expected."""
        held = {id_: {"id": id_, **{name: nth(name, number) for name in TYPES}} for id_, number in rows.items()}
        schema = pa.schema([("id", pa.int64()), *((name, type_) for name, (type_, _) in TYPES.items())])
        pq.write_table(pa.Table.from_pylist(list(held.values()), schema), path)
        return {id_: row(values, LOGICAL) for id_, values in held.items()}

    old = write({id_: id_ for id_ in range(ROUNDS)})
    head = world.commit("t").scn_last or 0
    assert {name: str(type_) for name, type_ in world.project.snapshot("t").schema.types.items()} == LOGICAL
    new = write({id_: id_ + 1 for id_ in range(1, ROUNDS + 1)})
    result = world.commit("t")
    assert (result.updates, result.deletes, result.inserts) == (ROUNDS - 1, 1, 1), result
    wanted = {
        ("delete", 0): (old[0], None),
        ("insert", ROUNDS): (None, new[ROUNDS]),
        **{("update", id_): (old[id_], new[id_]) for id_ in range(1, ROUNDS)},
    }
    for form, changes in all_forms(world.project, "t", head, LOGICAL).items():
        assert len(changes) == len(wanted), form
        for op, key, *images in changes:
            for found, expected in zip(images, wanted[op, key["id"][1]], strict=True):
                wrong = {name for name in expected or {} if found[name] != expected[name]}
                assert (found is None, wrong) == (expected is None, set()), (form, op, key)
    assert fold(all_forms(world.project, "t", 0, LOGICAL)["python"]) == {(("int", id_),): new[id_] for id_ in new}
    assert world.scan("t").status == "unchanged"
    snapshot = world.project.snapshot("t")
    read = duckdb.sql(state_query(world.folder / "snapshots", snapshot.manifest)).arrow().read_all().to_pylist()
    for values in read:
        assert comparable(values["struct"]) == new[values["id"]]["struct"]
        assert comparable(values["list"]) == new[values["id"]]["list"]


def nth(name: str, number: int) -> Any:
    values = [*TYPES[name][1], None]
    return values[number % len(values)]
