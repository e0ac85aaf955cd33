"""Consumers of the whole: each keeps a mirror, may end at any callback, and holds the state once it was left alone."""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import xxhash

from differ.client import Checkpoint, Client, Events, Next, Pace, Retries
from differ.client.bootstrapping import Bootstrap
from differ.formats.partitions import Partitions
from tests.client.mirror import Hook, Key, Mirror, Store, is_in
from tests.faults.whole import Row, Whole, shown

ALWAYS = Pace(checkpoint_events=1, checkpoint_seconds=0, batch_events=3)
PATIENT = Retries(attempts=3, first_seconds=0, most_seconds=0)
NAMES = ("all", "half", "pair")
"""all: its checkpoints lie on the relay. half: it has them itself, and follows half of the keys. pair: a group."""


class Crash(BaseException):
    """The process of a consumer ends here."""


class Watching(Mirror):
    """A mirror that looks at each event: the one that was committed under that SCN, and in order."""

    def __init__(self, whole: Whole, hook: Hook) -> None:
        super().__init__(hook)
        self._whole = whole
        self._last = 0

    def on_events(self, events: Events) -> Next | None:
        for event in events:
            assert self._whole.log[event.scn] == (event.source, event.op, event.key["id"])
            assert event.scn > self._last, "events go back without a rollback"
            self._last = event.scn
        return super().on_events(events)

    def on_rollback(self, checkpoint: Checkpoint) -> Next | None:
        self._last = checkpoint.cursor.scn
        return super().on_rollback(checkpoint)

    def on_bootstrap_start(self, bootstrap: Bootstrap) -> Next | None:
        self._last = bootstrap.scn
        return super().on_bootstrap_start(bootstrap)


class Follower:
    """One consumer, or a group of two, over all its lives."""

    def __init__(self, whole: Whole, url: str, name: str, seen: Counter[str]) -> None:
        self._whole, self._url, self.name, self._seen = whole, url, name, seen
        self._partition = "0/2" if name == "half" else None
        self._store = Store()
        self._rows: dict[Key, tuple[Row, str, int]] = {}
        self._generations = ["", ""]
        self.may_bootstrap = True
        """Whether there is a reason to: it is new, was reset or let down, or a new base began without events."""

    def run(self, crash_at: int | None, meanwhile: dict[int, Callable[[], None]]) -> None:
        """Run up to the head, or until its process ends at its callback number `crash_at`.

        meanwhile: what happens before callbacks, by their number; each once. Of a group two members run.
        """
        is_calm = crash_at is None and not meanwhile
        if self.name != "pair":
            mirrors = [self._mirror(0, crash_at, meanwhile)]
            self._live(mirrors[0], {"partition": self._partition} | self._own_store())
        else:
            mirrors = [self._mirror(0, crash_at, {}), self._mirror(1, None, {})]
            self._live_together(mirrors)
        self._generations = [mirror.generation for mirror in mirrors]
        for mirror in mirrors:
            for begun in mirror.of("bootstrap_start"):
                self._seen["a bootstrap was resumed" if begun.resumed else "a bootstrap was begun"] += 1
            self._seen["a bootstrap came to its end"] += len(mirror.of("bootstrap_end"))
        if not self.may_bootstrap:
            assert not any(mirror.of("bootstrap_start") for mirror in mirrors), "it was let down"
        if is_calm:  # Else a new base may have begun after it looked for the last time.
            self.may_bootstrap = False

    def reset(self) -> None:
        """Forget where it stands."""
        self.may_bootstrap = True
        self._store.checkpoint = None
        if self._whole.world.project.consumers.get(self.name) is not None:
            self._whole.world.project.consumers.reset(self.name)

    def agrees(self) -> None:
        """Left alone, it comes to hold what the sources hold."""
        self.run(None, {})
        for source in self._whole.sources:
            expected = self._whole.expected(source)
            mine = {row["id"]: row for key, (row, _, _) in self._rows.items() if key[0] == source}
            columns = self._whole.sources[source].columns
            assert {key: shown(row, columns) for key, row in mine.items()} == {
                key: row for key, row in expected.items() if self._follows(key)
            }, (self.name, source)

    def _follows(self, key: int) -> bool:
        partitions = None if self._partition is None else Partitions.parse(self._partition)
        return is_in(partitions, xxhash.xxh3_64_intdigest(f'{{"id":{key}}}'))

    def _own_store(self) -> dict[str, Any]:
        return {"checkpoints": self._store} if self.name == "half" else {}

    def _mirror(self, number: int, crash_at: int | None, meanwhile: dict[int, Callable[[], None]]) -> Watching:
        count = -1

        def hook(name: str) -> None:
            nonlocal count
            count += 1
            if count in meanwhile:
                meanwhile.pop(count)()
            if count == crash_at:
                self._seen[f"a consumer ended in {name}"] += 1
                raise Crash

        mirror = Watching(self._whole, hook)
        mirror.rows, mirror.generation = self._rows, self._generations[number]
        return mirror

    def _live(self, mirror: Watching, options: dict[str, Any]) -> None:
        with suppress(Crash):
            Client(self._url).run(mirror, name=self.name, until_head=True, retries=PATIENT, pace=ALWAYS, **options)

    def _live_together(self, mirrors: list[Watching]) -> None:
        errors: list[BaseException] = []

        def live(mirror: Watching) -> None:
            try:
                self._live(mirror, {"group": True, "lease_seconds": 1.0})
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=live, args=(mirror,)) for mirror in mirrors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        if errors:
            raise errors[0]
