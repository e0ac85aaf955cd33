"""What a disk may hold after the power was lost: a model that is played the steps a process announced.

    a file          holds what it held at its last sync, and of what was written since nothing, all, a torn piece, or
                    its length with zeros in the place of whole sectors
    a name          a create, a rename (one step), a removal or a new folder is there for sure once its folder was
                    synced (for a rename both folders); until then each is there or not, whatever the others are
    a database      changes as a whole where its commit is done, for good; SQLite's own journal is not replayed, and
                    what it promises with `synchronous=EXTRA` is taken for granted

A folder that is not there takes along what is in it. Source: Pillai et al., "All File Systems Are Not Created Equal",
OSDI 2014 (ALICE), whose model is a little harder than any file system that is in use.
"""

import errno
import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from differ.storage import seam

DATABASES = {"catalog.done": ".differ/catalog.db", "consumers.done": ".differ/consumers.db"}
SECTOR = 512
Files = Mapping[str, bytes | None]
"""What lies below a folder, by relative path; None for a folder."""


def read_tree(root: Path) -> dict[str, bytes | None]:
    """All that lies below a folder."""
    return {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
    }


def write_tree(root: Path, files: Files) -> None:
    """Make a folder of files."""
    for name, body in sorted(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if body is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(body)


@dataclass(frozen=True)
class Done:
    """A step that was announced, paths relative to the root. body: what is written, or a database as it is now; below:
    what lies in a folder that is removed, the deepest first."""

    point: str
    path: str = ""
    to: str = ""
    body: bytes = b""
    size: int = 0
    below: tuple[str, ...] = ()


class Recorder:
    """Writes down the steps of this process below a folder, as a context manager. stop_at: from the step of that number
    on nothing is done any more, as if the process had been killed there."""

    def __init__(self, root: Path, *, stop_at: int | None = None) -> None:
        self.root, self.stop_at = root, stop_at
        self.steps: list[Done] = []
        self._turn = threading.Lock()

    def __enter__(self) -> "Recorder":
        self._end = seam.watch(self._see)
        return self

    def __exit__(self, *details: object) -> None:
        self._end()

    def _see(self, step: seam.Step) -> None:
        with self._turn:
            if self.stop_at is not None and len(self.steps) >= self.stop_at:
                raise OSError(errno.EIO, "the process is gone")
            self.steps.append(self._done(step))

    def _done(self, step: seam.Step) -> Done:
        if step.point in DATABASES:
            name = DATABASES[step.point]
            return Done(step.point, name, body=(self.root / name).read_bytes())
        if step.path is None:
            return Done(step.point)
        below: tuple[str, ...] = ()
        if step.point == "folder.remove":
            below = tuple(self._name(path) for path in sorted(step.path.rglob("*"), reverse=True))
        return Done(
            step.point,
            self._name(step.path),
            "" if step.to is None else self._name(step.to),
            b"" if step.data is None else bytes(step.data),
            step.size or 0,
            below,
        )

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


@dataclass
class _Inode:
    durable: bytes | None
    """None for a folder."""
    pending: list[bytes | int] = field(default_factory=list)
    """What was done since the last sync: bytes appended, or a size it was cut to."""

    def with_pending(self, steps: int | None = None) -> bytes:
        body = self.durable or b""
        for change in self.pending[:steps]:
            body = body[:change] if isinstance(change, int) else body + change
        return body


@dataclass
class _Naming:
    """One change of names. unsynced: the folders that must be synced before it is there for sure."""

    kind: str
    path: str
    to: str
    inode: int
    unsynced: set[str]


class Disk:
    """The model: begin with a tree that is durable, `play` steps, then ask for `states`."""

    def __init__(self, files: Files) -> None:
        self._inodes = [_Inode(body) for body in files.values()]
        self._begin = {name: number for number, name in enumerate(files)}
        self._now = dict(self._begin)
        self._namings: list[_Naming] = []
        self._databases: dict[str, bytes] = {}

    def play(self, step: Done) -> None:
        """One step is done."""
        if step.point in DATABASES:
            self._databases[step.path] = step.body
        elif step.point in ("file.create", "folder.create"):
            self._inodes.append(_Inode(b"" if step.point == "file.create" else None))
            self._rename("make", step.path, step.path, len(self._inodes) - 1)
        elif step.point == "file.write":
            self._inodes[self._now[step.path]].pending.append(step.body)
        elif step.point == "file.cut":
            self._inodes[self._now[step.path]].pending.append(step.size)
        elif step.point == "file.fsync":
            inode = self._inodes[self._now[step.path]]
            inode.durable, inode.pending = inode.with_pending(), []
        elif step.point == "file.rename":
            self._rename("rename", step.path, step.to, self._now[step.path])
        elif step.point in ("file.remove", "folder.remove"):
            for name in (*step.below, step.path):
                if name in self._now:
                    self._rename("remove", name, name, self._now[name])
        elif step.point == "folder.fsync":
            for naming in self._namings:
                naming.unsynced.discard(step.path)

    def _rename(self, kind: str, path: str, to: str, inode: int) -> None:
        self._namings.append(_Naming(kind, path, to, inode, {_parent(path), _parent(to)}))
        _apply(self._namings[-1], self._now)

    def states(self, chance: random.Random, many: int) -> Iterator[dict[str, bytes | None]]:
        """Legal states, not all different: the extremes, each change of a name alone and left out alone, and random
        subsets with random torn writes."""
        open_ = [number for number, naming in enumerate(self._namings) if naming.unsynced]
        everything = set(open_)
        for how in ("none", "all", "torn", "zeros"):
            yield self._state(everything, how, chance)
            yield self._state(set(), how, chance)
        for number in open_:
            yield self._state({number}, "all", chance)
            yield self._state(everything - {number}, "torn", chance)
        for _ in range(many):
            kept = {number for number in open_ if chance.random() < 0.5}
            yield self._state(kept, chance.choice(["none", "all", "torn", "zeros", "mixed"]), chance)

    def _state(self, kept: set[int], how: str, chance: random.Random) -> dict[str, bytes | None]:
        names = dict(self._begin)
        for number, naming in enumerate(self._namings):
            if not naming.unsynced or number in kept:
                _apply(naming, names)
        state: dict[str, bytes | None] = {}
        for name, number in sorted(names.items()):  # A folder before what is in it.
            inode = self._inodes[number]
            if _parent(name) == "." or _parent(name) in state:
                state[name] = None if inode.durable is None else _content(inode, how, chance)
        return state | self._databases


def _content(inode: _Inode, how: str, chance: random.Random) -> bytes:
    durable = inode.durable or b""
    if not inode.pending or how == "none":
        return durable
    if how == "mixed":
        how = chance.choice(["all", "torn", "zeros"])
    full = inode.with_pending()
    if how == "all":
        return full
    if how == "torn":
        steps = chance.randrange(len(inode.pending))
        body, more = inode.with_pending(steps), inode.with_pending(steps + 1)
        return more[: chance.randint(len(body), len(more))] if len(more) > len(body) else body
    begin = min(len(durable), len(full))
    borders = [begin, *range((begin // SECTOR + 1) * SECTOR, len(full), SECTOR), len(full)]
    first, last = sorted(chance.choices(borders, k=2))
    return full[:first] + bytes(last - first) + full[last:]


def _apply(naming: _Naming, names: dict[str, int]) -> None:
    if naming.kind == "make":
        names[naming.path] = naming.inode
    elif naming.kind == "remove":
        names.pop(naming.path, None)
    else:
        inside = [name for name in names if name.startswith(f"{naming.path}/")]
        for name in inside:
            names[naming.to + name.removeprefix(naming.path)] = names.pop(name)
        names.pop(naming.path, None)
        names[naming.to] = naming.inode


def _parent(name: str) -> str:
    return name.rpartition("/")[0] or "."
