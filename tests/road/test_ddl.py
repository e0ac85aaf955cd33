"""What becomes of a source when somebody changes its table between two scans, by the table of docs/concepts.md."""

from typing import Any

import pytest
import sqlalchemy as sa

from differ.model import CycleResult
from tests.cycle.world import World
from tests.iterators.sql.scanning import run

ROWS = 30
VALUES = ", ".join(f"({number}, 'name {number}', {number}.50, {number})" for number in range(ROWS))
Updates = tuple[int, set[str]]
"""How many rows are updates, and what each names as changed."""
NOTHING: Updates = (0, set())


@pytest.fixture
def shop(world: World, url: str) -> str:
    run(
        url,
        "CREATE TABLE t (id INT NOT NULL, name VARCHAR(20), price DECIMAL(10,2), n INT, PRIMARY KEY (id))",
        f"INSERT INTO t VALUES {VALUES}",
    )
    world.source("t", iterator="sql", options={"url": url, "table": "t"})
    world.commit("t")
    return url


def kind(url: str) -> str:
    return sa.make_url(url).get_backend_name()


def after(world: World, url: str, *statements: str) -> CycleResult:
    run(url, *statements)
    result = world.scan("t")
    if result.status == "committed":
        again = world.scan("t")
        assert (again.status, again.schema_changes) == ("unchanged", ()), again
        world.verify("t")
    return result


def updates(world: World, since: int = ROWS) -> Updates:
    """The events after the first scan, which must be updates that all name the same columns."""
    events = list(world.project.events("t", since=since))
    assert {event.op for event in events} <= {"update"}
    named = {event.changed for event in events}
    assert len(named) <= 1, named
    return len(events), set(*named)


def versions(world: World) -> int:
    return len(world.project.catalog.schemas("t"))


FILLS = {
    "sqlite": ["ALTER TABLE t ADD COLUMN extra TEXT DEFAULT 'x'"],
    "postgresql": ["ALTER TABLE t ADD COLUMN extra text DEFAULT 'x'"],
    "mysql": ["ALTER TABLE t ADD COLUMN extra TEXT DEFAULT 'x'"],
}
MODIFY = {
    "postgresql": "ALTER TABLE t ALTER COLUMN {name} TYPE {type}",
    "mysql": "ALTER TABLE t MODIFY COLUMN {name} {type}",
}


def modified(url: str, name: str, type_: str) -> list[str]:
    """SQLite cannot change a column's type, so its table is made anew, as its documentation advises."""
    if kind(url) != "sqlite":
        return [MODIFY[kind(url)].format(name=name, type=type_)]
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        types = {row[1]: row[2] for row in connection.exec_driver_sql("PRAGMA table_info(t)")} | {name: type_}
    columns = ", ".join(f"{column} {declared}" for column, declared in types.items())
    return [
        f"CREATE TABLE other ({columns}, PRIMARY KEY (id))",
        "INSERT INTO other SELECT * FROM t",
        "DROP TABLE t",
        "ALTER TABLE other RENAME TO t",
    ]


def test_a_new_column_of_nulls_is_a_schema_version_alone(world: World, shop: str) -> None:
    result = after(world, shop, "ALTER TABLE t ADD COLUMN extra INT")
    assert (result.status, updates(world), versions(world)) == ("committed", NOTHING, 2)
    assert "extra" in str(result.schema_changes)
    assert world.state("t")[3,]["extra"] is None
    run(shop, "UPDATE t SET extra = 7 WHERE id = 3")
    world.commit("t")
    assert updates(world) == (1, {"extra"})


def test_a_new_column_with_a_default_changes_every_row(world: World, shop: str) -> None:
    result = after(world, shop, *FILLS[kind(shop)])
    assert (result.status, updates(world), versions(world)) == ("committed", (ROWS, {"extra"}), 2)


def test_a_dropped_column_is_a_schema_version_alone(world: World, shop: str) -> None:
    result = after(world, shop, "ALTER TABLE t DROP COLUMN name")
    assert (result.status, updates(world), versions(world)) == ("committed", NOTHING, 2)
    assert "name" not in world.state("t")[3,]


def test_a_column_that_comes_back_changes_every_row(world: World, shop: str) -> None:
    """No event told that its values were gone: whoever follows the events holds them until now."""
    after(world, shop, "ALTER TABLE t DROP COLUMN name")
    run(shop, "ALTER TABLE t ADD COLUMN name VARCHAR(20)", "UPDATE t SET name = 'n' WHERE id < 4")
    assert world.commit("t").updates == ROWS
    assert (updates(world), versions(world)) == ((ROWS, {"name"}), 3)
    assert [world.state("t")[number,]["name"] for number in (3, 4)] == ["n", None]
    world.verify("t")
    world.commit("t")
    assert updates(world) == (ROWS, {"name"})


def test_a_widened_column_is_a_schema_version_alone(world: World, shop: str) -> None:
    steps = [("n", "BIGINT"), ("name", "VARCHAR(200)"), ("name", "TEXT"), ("price", "DECIMAL(20,2)"),
             ("price", "DECIMAL(30,6)")]  # fmt: skip
    for number, (column, type_) in enumerate(steps, start=2):
        result = after(world, shop, *modified(shop, column, type_))
        assert (result.status, updates(world), versions(world)) == ("committed", NOTHING, number), type_
    run(shop, "UPDATE t SET n = 8, price = 8 WHERE id = 3")
    world.commit("t")
    assert updates(world) == (1, {"n", "price"})
    world.verify("t")


def test_whole_numbers_that_become_floats_are_the_same_numbers(world: World, shop: str) -> None:
    result = after(world, shop, *modified(shop, "n", "DOUBLE PRECISION"))
    assert (result.status, updates(world), versions(world)) == ("committed", NOTHING, 2)


def test_a_narrowed_scale_changes_only_what_was_rounded(world: World, shop: str) -> None:
    run(shop, "UPDATE t SET price = 7 WHERE id = 0")
    world.commit("t")
    after(world, shop, *modified(shop, "price", "DECIMAL(10,0)"))
    rounded = 0 if kind(shop) == "sqlite" else ROWS - 1  # SQLite keeps what is there: the column becomes wider.
    assert updates(world, since=ROWS + 1) == (rounded, {"price"} if rounded else set())


def test_an_int_that_becomes_text_changes_every_row(world: World, shop: str) -> None:
    result = after(world, shop, *modified(shop, "n", "TEXT"))
    assert (result.status, updates(world), versions(world)) == ("committed", (ROWS, {"n"}), 2)
    assert (world.state("t")[3,]["n"], world.state("t", ROWS)[3,]["n"]) == ("3", 3)


def test_a_renamed_column_is_one_dropped_and_one_added(world: World, shop: str) -> None:
    result = after(world, shop, "ALTER TABLE t RENAME COLUMN name TO title")
    assert (result.status, updates(world), versions(world)) == ("committed", (ROWS, {"title"}), 2)


def test_columns_in_another_order_are_no_change(world: World, shop: str) -> None:
    moved = {
        "mysql": ["ALTER TABLE t MODIFY COLUMN n INT FIRST"],
        "sqlite": ["CREATE TABLE other (n INT, price DECIMAL(10,2), id INT NOT NULL PRIMARY KEY, name VARCHAR(20))"],
        "postgresql": [
            "CREATE TABLE other (n int, price decimal(10,2), id int NOT NULL PRIMARY KEY, name varchar(20))"
        ],
    }[kind(shop)]
    if kind(shop) != "mysql":
        moved += ["INSERT INTO other SELECT n, price, id, name FROM t", "DROP TABLE t", "ALTER TABLE other RENAME TO t"]
    result = after(world, shop, *moved)
    assert (result.status, versions(world)) == ("unchanged", 1)


def test_another_collation_or_character_set_is_no_change(world: World, mariadb_url: str, postgresql_url: str) -> None:
    for url, statements in {
        mariadb_url: [
            "ALTER TABLE t CONVERT TO CHARACTER SET latin1",
            "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            "ALTER TABLE t CONVERT TO CHARACTER SET ucs2",
        ],
        postgresql_url: ['ALTER TABLE t ALTER COLUMN name TYPE varchar(20) COLLATE "C"'],
    }.items():
        source = kind(url)
        run(url, "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20))", "INSERT INTO t VALUES (1, 'Zoë ß'), (2, 'x')")
        world.source(source, iterator="sql", options={"url": url, "table": "t"})
        world.commit(source)
        for statement in statements:
            run(url, statement)
            result = world.scan(source)
            assert (result.changes, result.status, result.schema_changes) == (0, "unchanged", ()), statement


def test_without_its_primary_key_the_scan_fails_and_says_what_to_set(world: World, shop: str) -> None:
    drop = {
        "postgresql": ["ALTER TABLE t DROP CONSTRAINT t_pkey"],
        "mysql": ["ALTER TABLE t DROP PRIMARY KEY"],
        "sqlite": ["CREATE TABLE u AS SELECT * FROM t", "DROP TABLE t", "ALTER TABLE u RENAME TO t"],
    }[kind(shop)]
    result = after(world, shop, *drop)
    assert (result.status, result.exit_code) == ("failed", 3)
    assert "no primary key" in (result.error or "")
    assert "key: id" in (result.hint or "")
    world.source("t", key="id")
    assert world.scan("t").changes == 0
    run(shop, "INSERT INTO t (id, name) VALUES (3, 'again')")
    doubled = world.scan("t")
    assert (doubled.status, doubled.exit_code) == ("failed", 3)
    assert "key" in (doubled.error or "")
    world.verify("t")
    assert updates(world) == NOTHING


def test_another_primary_key_is_other_rows(world: World, shop: str) -> None:
    """The rows of the old key are deletes and those of the new one inserts; the guards, open here, hold that."""
    rekeyed = {
        "postgresql": ["ALTER TABLE t DROP CONSTRAINT t_pkey", "ALTER TABLE t ADD PRIMARY KEY (name)"],
        "mysql": ["ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (name)"],
        "sqlite": ["CREATE TABLE u (id INT, name VARCHAR(20) PRIMARY KEY, price DECIMAL(10,2), n INT)",
                   "INSERT INTO u SELECT * FROM t", "DROP TABLE t", "ALTER TABLE u RENAME TO t"],
    }[kind(shop)]  # fmt: skip
    world.source("t", guards={})
    held = after(world, shop, *rekeyed)
    assert (held.status, held.exit_code) == ("held", 4)
    world.project.reject("t")
    world.source("t", guards={"deletes": "100%", "updates": "100%", "rows": {"min": 0}})
    result = world.scan("t")
    assert (result.status, result.inserts, result.deletes) == ("committed", ROWS, ROWS)
    assert {event.op for event in world.project.events("t", since=ROWS)} == {"insert", "delete"}
    assert world.scan("t").status == "unchanged"
    assert set(world.state("t")) == {(f"name {number}",) for number in range(ROWS)}


def test_a_dropped_table_fails_and_an_emptied_one_is_held(world: World, shop: str) -> None:
    world.source("t", guards={})
    run(shop, "CREATE TABLE kept AS SELECT * FROM t", "DROP TABLE t")
    failed = world.scan("t")
    assert (failed.status, failed.exit_code) == ("failed", 3)
    assert "there is no table or view 't'" in (failed.error or "")
    assert updates(world) == NOTHING
    run(shop, "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20), price DECIMAL(10,2), n INT)")
    held = world.scan("t")
    assert (held.status, held.exit_code, held.deletes) == ("held", 4, ROWS)
    assert updates(world) == NOTHING
    run(shop, "INSERT INTO t SELECT * FROM kept ORDER BY id DESC")
    back = world.scan("t")
    assert (back.changes, back.status) == (0, "unchanged")
    assert world.project.catalog.held("t") is None
    world.verify("t")


@pytest.mark.parametrize("change", ["evolve", "hold", "fail"])
def test_on_schema_change_decides(world: World, shop: str, change: str) -> None:
    world.source("t", on_schema_change=change)
    run(shop, "ALTER TABLE t ADD COLUMN extra INT")
    result = world.scan("t")
    expected: dict[str, tuple[Any, ...]] = {"evolve": ("committed", 0), "hold": ("held", 4), "fail": ("failed", 3)}
    assert (result.status, result.exit_code) == expected[change]
    assert updates(world) == NOTHING
