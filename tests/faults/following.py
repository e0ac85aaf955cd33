"""Scenarios of who follows a source: bootstraps, checkpoints, dead letters, a `files` sink."""

from datetime import UTC, datetime
from typing import Any

from differ.catalog.pins import Pins
from differ.client.checkpoints import FileCheckpoints
from differ.client.deadletters import DeadLetters
from differ.client.events import Events
from differ.formats.checkpoint import StreamCheckpoint
from differ.formats.cursor import GENESIS_CHAIN, Cursor
from differ.project import Project
from differ.sinks.contract import Generation
from differ.sinks.filebook import FileBook
from tests.cycle.world import World
from tests.faults.cycling import CHANGE, ROWS, look, scan, settle, shop

MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


def checkpoint_at(project: Project, scn: int) -> StreamCheckpoint:
    stream = project.catalog.stream()
    return StreamCheckpoint(cursor=Cursor(stream=stream.stream_id, scn=scn, chain="0" * 32, floors=0))


def pinned(world: World) -> None:
    """A bootstrap has begun; meanwhile there are other snapshots, and keeping one is enough."""
    shop(world, snapshots={"keep": 1})
    world.commit("orders")
    pins = Pins(world.project.consumers)
    pins.create(world.project.catalog, ["orders"], consumer="index", partition=None, lease_seconds=3600)
    world.sql("UPDATE orders SET v = 'later' WHERE id = 5")
    world.commit("orders")
    world.sql(CHANGE)


def bootstrap(project: Project) -> None:
    """A second bootstrap begins, reads, is renewed and lets go, while the source goes on."""
    pins = Pins(project.consumers)
    pin = pins.create(project.catalog, ["orders"], consumer="other", partition=None, lease_seconds=3600)
    scan(project)
    assert sum(batch.num_rows for batch in project.snapshot("orders", pin.scn).to_batches()) == ROWS
    pins.remove(pin.id)


def look_at_pins(world: World) -> Any:
    """Whatever a pin holds can be read to its end."""
    for pin in Pins(world.project.consumers).all():
        entry = world.project.catalog.cycle("orders", pin.sources["orders"] or 0)
        assert entry.staged is not None
        assert world.state("orders", pin.scn), pin
    return look(world)


def let_pins_go(project: Project) -> None:
    pins = Pins(project.consumers)
    for pin in pins.all():
        pins.remove(pin.id)
    settle(project)


def followed(world: World) -> None:
    """A consumer with checkpoints in a file and at the relay, and with a dead letter."""
    shop(world)
    world.commit("orders")
    store(world.project).save(checkpoint_at(world.project, 10))
    world.project.consumers.put("index", checkpoint=checkpoint_at(world.project, 10))
    bury(world.project, 11)


def store(project: Project) -> FileCheckpoints:
    return FileCheckpoints(project.settings.project / "consumer" / "index.json")


def letters(project: Project) -> DeadLetters:
    return DeadLetters(project.settings.project / "consumer" / "letters.jsonl", clock=lambda: MOMENT)


def bury(project: Project, scn: int) -> None:
    (batch,) = project.event_batches("orders", since=scn - 1, until=scn)
    stream = project.catalog.stream().stream_id
    cursor = Cursor(stream=stream, scn=scn, chain=GENESIS_CHAIN, floors=0)
    letters(project).add("index", Events(batch, cursor), ValueError("poison"), 1)


def look_at_consumer(world: World) -> Any:
    project = world.project
    saved, entry = store(project).load(), project.consumers.get("index")
    return (
        saved.cursor.scn if saved else None,
        entry.checkpoint.cursor.scn if entry and entry.checkpoint else None,
        [letter.scn for letter in letters(project).pending()],
    )


def save_to_file(project: Project) -> None:
    store(project).save(checkpoint_at(project, 20))


def save_at_relay(project: Project) -> None:
    project.consumers.put("index", checkpoint=checkpoint_at(project, 20))


def bury_one(project: Project) -> None:
    letters(project).drop([])  # Nothing; but what is read from now on is durable.
    if 12 not in [letter.scn for letter in letters(project).pending()]:
        bury(project, 12)


def drop_letters(project: Project) -> None:
    letters(project).drop()


def book(project: Project) -> FileBook:
    return FileBook(project.settings.project / "mirror", "ndjson")


def mirrored(world: World) -> None:
    """A `files` sink that stands at SCN 10."""
    shop(world)
    world.commit("orders")
    write_mirror(world.project, 1, 10)


def write_mirror(project: Project, first: int, last: int) -> None:
    """What the sink does for a window, also after a crash: away with what overlaps, then the file, then the place."""
    checkpoint = checkpoint_at(project, last)
    stream = checkpoint.cursor.stream
    files = book(project)
    files.drop_events(stream, "orders", first - 1, first)
    files.write(files.events(stream, "orders", first, last), f"{first}..{last}".encode())
    files.store(checkpoint)


def mirror_more(project: Project) -> None:
    if stands_at(project) == 10:
        write_mirror(project, 11, 20)


def generation(project: Project) -> Generation:
    return Generation(id="20-abc", cursor=checkpoint_at(project, 20).cursor, sources=("orders",))


def mirror_anew(project: Project) -> None:
    """A bootstrap of the sink."""
    files, own = book(project), generation(project)
    loading = files.loading(own)
    files.drop_loading(but=loading)
    files.drop_pages(loading, 0)
    files.write(files.page(loading, "orders", 0), b"rows")
    files.complete(own)
    files.store(checkpoint_at(project, 20))


def stands_at(project: Project) -> int:
    found, _ = book(project).checkpoint()
    return found.cursor.scn if found else 0


def look_at_mirror(world: World) -> Any:
    """Up to where the sink stands all files are whole."""
    scn = stands_at(world.project)
    stream = world.project.catalog.stream().stream_id
    first = book(world.project).events(stream, "orders", 1, 10)
    assert first.read_bytes() == b"1..10"
    loaded = world.folder / "mirror" / stream / f"bootstrap-{20:020d}-20-abc" / "orders" / "00000.ndjson"
    if scn == 20:
        more = book(world.project).events(stream, "orders", 11, 20)
        assert (more.exists() and more.read_bytes() == b"11..20") or loaded.read_bytes() == b"rows"
    return scn
