"""Dead letters: events that a consumer could not process, kept so that nothing is lost and the rest could go on.

A file of JSON lines, only ever appended to, each line synced before the run goes on:

    {"check","consumer","stream","scn","source","key","error","attempts","at","event":{..},"frame":".."}    a letter
    {"check","done":3,"how":"replayed"|"dropped","at"}                                 the third letter is settled

`check` is the line's checksum (see `differ.formats.checked`). `event` is the event as NDJSON has it, for people and
tools; `frame` is the same in base64 as an Arrow frame, from which a replay has exactly the values that the consumer was
given. Letters are numbered from 1 by their place in the file, which is emptied when all are settled. Invariant: a
letter stays pending until a replay of it succeeded or someone dropped it; a line that a crash tore is cut off before
the next is written.
"""

from __future__ import annotations

import base64
import fcntl
import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from differ.client.checkpoints import CheckpointStore
from differ.client.consumer import Consumer, Next, overrides
from differ.client.delivery import FailedError, guarded
from differ.client.events import Events
from differ.errors import CorruptionError, DifferError, UsageError
from differ.formats import checked
from differ.formats.cursor import GENESIS_CHAIN, Cursor
from differ.formats.events import change_events
from differ.formats.frames import encode_frame, read_frames
from differ.formats.ndjson import encode_line, event_objects
from differ.records.clock import datetime_text
from differ.storage import ensure_folder, seam
from differ.storage.files import cut, storage_errors, sync_file, sync_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One event that failed; `number` is its place in the file, `event` its NDJSON object."""

    number: int
    consumer: str
    stream: str
    scn: int
    source: str
    key: Mapping[str, Any]
    error: str
    attempts: int
    at: str
    event: Mapping[str, Any]
    frame: str

    def to_json(self) -> dict[str, Any]:
        """What is shown of it: everything but the frame."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "frame"}

    def events(self) -> Events:
        """The event as the consumer was given it, in a batch of one."""
        (frame,) = read_frames(io.BytesIO(base64.b64decode(self.frame)))
        return Events(frame.batch, frame.cursor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """How a replay went: the numbers of the letters that are settled, and why others are still pending."""

    done: tuple[int, ...]
    failed: Mapping[int, str]


class DeadLetters:
    """The letters of one file. Several processes may use it at once; each change is made under a lock of the file."""

    def __init__(self, path: str | Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path = Path(path)
        self._clock = clock

    def add(self, consumer: str, events: Events, error: Exception, attempts: int) -> None:
        """Append the one event of a batch, durably. Raises StorageError."""
        (shown,) = event_objects(events.batch)
        cursor = Cursor(stream=events.stream, scn=events.cursor.scn, chain=GENESIS_CHAIN, floors=0)
        letter = {
            "consumer": consumer,
            "stream": shown["stream"],
            "scn": shown["scn"],
            "source": shown["source"],
            "key": shown["key"],
            "error": error_text(error),
            "attempts": attempts,
            "at": datetime_text(self._clock()),
            "event": shown,
            "frame": base64.b64encode(encode_frame(events.batch, cursor)).decode(),
        }
        with self._locked() as file:
            self._append(file, letter)

    def pending(self) -> list[DeadLetter]:
        """The letters that are not settled, oldest first. Raises CorruptionError for a line that is none."""
        with storage_errors("read dead letters", self.path):
            try:
                with self.path.open("rb") as file:
                    return _pending(file, self.path)
            except FileNotFoundError:
                return []

    def drop(self, numbers: Collection[int] | None = None) -> list[DeadLetter]:
        """Settle letters without processing them (None: all that are pending) and return them.

        Raises UsageError for a number that is not pending; then nothing is dropped.
        """
        with self._locked() as file:
            dropped = chosen(_pending(file, self.path), numbers, self.path)
            for letter in dropped:
                self._append(file, self._mark(letter.number, "dropped"))
            self._empty_if_settled(file)
        return dropped

    def replay(
        self, consumer: Consumer, numbers: Collection[int] | None = None, *, checkpoints: CheckpointStore | None = None
    ) -> Replayed:
        """Give letters to a consumer again, oldest first, between `on_start` and `on_stop`.

        Each is settled when its callback succeeded; one that fails stays pending, and the others still get their turn.
        checkpoints: of the consumer, which must not be running: after each event `on_checkpoint` is called with its
        present checkpoint, which is saved as it is, so that a consumer that writes at checkpoints writes now.
        A letter's event is older than what the consumer did since: one that keeps a state compares SCNs.
        """
        letters = chosen(self.pending(), numbers, self.path)
        done: list[int] = []
        failed: dict[int, str] = {}
        consumer.on_start()
        try:
            for letter in letters:
                try:
                    _give(consumer, letter.events(), checkpoints)
                except FailedError as failure:
                    failed[letter.number] = error_text(failure.failures[0].error)
                    continue
                with self._locked() as file:
                    self._append(file, self._mark(letter.number, "replayed"))
                done.append(letter.number)
        finally:
            consumer.on_stop()
        if done:
            with self._locked() as file:
                self._empty_if_settled(file)
        return Replayed(done=tuple(done), failed=failed)

    def _mark(self, number: int, how: str) -> dict[str, Any]:
        return {"done": number, "how": how, "at": datetime_text(self._clock())}

    def _empty_if_settled(self, file: IO[bytes]) -> None:
        if not _pending(file, self.path):
            cut(file, self.path, 0)

    def _append(self, file: IO[bytes], body: Mapping[str, Any]) -> None:
        """Write a line durably; where that fails it is no line, so that whoever tries again leaves no two."""
        size = file.seek(0, os.SEEK_END)
        line = checked.write(encode_line(body))
        try:
            seam.at("file.write", self.path, data=line)
            while line:  # Nothing stays in a buffer that a later call would write after all.
                line = line[os.write(file.fileno(), line) :]
            sync_file(file, self.path)
        except OSError:
            with suppress(OSError):
                cut(file, self.path, size)
            raise

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        with storage_errors("write dead letters", self.path):
            ensure_folder(self.path.parent)
            if not self.path.exists():
                seam.at("file.create", self.path)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "a+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not file.seek(0, os.SEEK_END):
                    sync_folder(self.path.parent)  # Its name may be new, also where its maker died before this.
                self._cut_torn(file)
                sync_file(file, self.path)  # What a writer that died left without a sync is acted upon from here on.
                yield file

    def _cut_torn(self, file: IO[bytes]) -> None:
        """Cut off a last line that was not synced when its writer died: it has no end, or pieces of it are lost."""
        size = file.seek(0, os.SEEK_END)
        end = _line_start(file, size)
        begin = _line_start(file, end - 1)
        file.seek(begin)
        last, rest = file.read(end - begin), file.read()
        if checked.is_lost(last):
            end = begin
        elif rest and not checked.is_torn(rest):
            raise CorruptionError(f"read dead letters {self.path}: its last line has no end", hint=_HINT)
        if end < size:
            cut(file, self.path, end)


_HINT = "mend or remove that line"


def chosen(letters: list[DeadLetter], numbers: Collection[int] | None, path: Path) -> list[DeadLetter]:
    """Those of these numbers, all for None; raises UsageError for a number that is not among them."""
    if numbers is None:
        return letters
    missing = sorted(set(numbers) - {letter.number for letter in letters})
    if missing:
        raise UsageError(
            f"dead letters {path}: number {', '.join(map(str, missing))} is not pending",
            hint="'differ dead-letters list' shows those that are",
        )
    return [letter for letter in letters if letter.number in numbers]


def error_text(error: BaseException) -> str:
    """An error in one line: its class, unless it is one of differ's own, and what it says."""
    text = " ".join(str(error).split())
    if isinstance(error, DifferError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _give(consumer: Consumer, events: Events, checkpoints: CheckpointStore | None) -> None:
    """One event through the callbacks that it failed in; raises FailedError."""
    (event,) = change_events(events.batch)
    if overrides(consumer, "on_events"):
        guarded("on_events", consumer.on_events, events)
    else:
        guarded("on_event", consumer.on_event, event)
    if checkpoints is None or (checkpoint := checkpoints.load()) is None:
        return
    if guarded("on_checkpoint", consumer.on_checkpoint, checkpoint) is not Next.SKIP:
        guarded("storing the checkpoint", lambda: checkpoints.save(checkpoint))


def _line_start(file: IO[bytes], end: int) -> int:
    """Where the line begins that the byte before `end` is in: behind the newline before it."""
    while end > 0:
        begin = max(0, end - 65_536)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _pending(file: IO[bytes], path: Path) -> list[DeadLetter]:
    found: dict[int, DeadLetter] = {}
    number = place = 0
    file.seek(0)
    try:
        for body in checked.lines(file):
            place += 1
            if "done" in body:
                found.pop(body["done"], None)
            else:
                number += 1
                found[number] = DeadLetter(number=number, **body)
    except ValueError as error:
        raise CorruptionError(f"read dead letters {path}: {error}", hint=_HINT) from error
    except TypeError as error:
        raise CorruptionError(f"read dead letters {path}: line {place} is none: {error}", hint=_HINT) from error
    return list(found.values())
