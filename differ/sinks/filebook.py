"""Where the files of a `files` sink lie, and which of them count.

    <folder>/checkpoint.json                                        where the sink stands; replaced as a whole
    <folder>/<stream>/events/<source>/<first SCN>-<last SCN>.parquet        20 digits each, so names sort by SCN
    <folder>/<stream>/bootstrap-<SCN>-<generation>/<source>/00000.parquet   the sources' rows at that SCN
    <folder>/<stream>/.loading-.../                                         the same, not yet complete

Data files are written first, the checkpoint last; each is synced with its folder. A file of events behind the
checkpoint is what a crash or a failed attempt left: its events come again, and whatever they overlap goes first.
Invariant: no event is in two files that are left when the sink stands still.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from differ.errors import CorruptionError, UsageError
from differ.formats import checked
from differ.formats.checkpoint import BootstrapCheckpoint, Checkpoint, checkpoint_from_json
from differ.sinks.contract import Generation
from differ.storage import create, ensure_folder, remove_file, remove_tree
from differ.storage.files import rename, storage_errors

SCN_DIGITS = 20
NUMBER_DIGITS = 5
_NAME = re.compile(rf"([0-9]{{{SCN_DIGITS}}})-([0-9]{{{SCN_DIGITS}}})\.[a-z]+")


class FileBook:
    """The folder of one sink. Raises StorageError for what the disk refuses."""

    def __init__(self, folder: Path, extension: str) -> None:
        self.folder, self._extension = folder, extension

    # -- the checkpoint -----------------------------------------------------------------------------------------------

    def checkpoint(self) -> tuple[Checkpoint | None, int]:
        """Where the sink stands, and how many files of the bootstrap under way belong to that."""
        path = self.folder / "checkpoint.json"
        with storage_errors("read checkpoint", path):
            try:
                text = path.read_bytes()
            except FileNotFoundError:
                return None, 0
        try:
            body = checked.read(text)
            return checkpoint_from_json(body["checkpoint"]), int(body["files"])
        except (ValueError, KeyError, TypeError, UsageError) as error:
            hint = "remove it to begin anew"
            raise CorruptionError(f"read checkpoint {path}: it holds none: {error}", hint=hint) from None

    def store(self, checkpoint: Checkpoint, files: int = 0) -> None:
        """Replace the checkpoint, durably."""
        body = {"checkpoint": checkpoint.to_json(), "files": files}
        self.write(self.folder / "checkpoint.json", checked.write(json.dumps(body).encode()))

    # -- events -------------------------------------------------------------------------------------------------------

    def events(self, stream: str, source: str, first: int, last: int) -> Path:
        """The file of a source's events from one SCN to another."""
        name = f"{first:0{SCN_DIGITS}}-{last:0{SCN_DIGITS}}.{self._extension}"
        return self.folder / stream / "events" / source / name

    def drop_events(self, stream: str, source: str, behind: int, since: int) -> None:
        """Remove a source's files that begin behind an SCN and hold events from another SCN on."""
        for path in self._below(self.folder / stream / "events" / source):
            found = _NAME.fullmatch(path.name)
            if found and int(found[1]) > behind and int(found[2]) >= since:
                remove_file(path)

    def sources(self, stream: str) -> list[str]:
        """The sources that have files of events."""
        return [path.name for path in self._below(self.folder / stream / "events")]

    # -- bootstraps ---------------------------------------------------------------------------------------------------

    def loading(self, generation: Generation) -> Path:
        """The folder that a generation is loaded into."""
        return self.folder / generation.stream / f".loading-{_named(generation)}"

    def page(self, folder: Path, source: str, number: int) -> Path:
        """A file of rows; numbers count through all sources."""
        return folder / source / f"{number:0{NUMBER_DIGITS}}.{self._extension}"

    def drop_pages(self, folder: Path, since: int) -> None:
        """Remove the files of rows from a number on."""
        for source in self._below(folder):
            for path in self._below(source):
                if path.stem.isdigit() and int(path.stem) >= since:
                    remove_file(path)

    def drop_loading(self, but: Path | None) -> None:
        """Remove what unfinished bootstraps left, except for one."""
        for stream in self._below(self.folder):
            for path in self._below(stream):
                if path.name.startswith(".loading-") and path != but:
                    remove_tree(path)

    def complete(self, generation: Generation) -> None:
        """Give a loaded generation its name, in one step; once more is nothing. One without rows is an empty folder."""
        folder = self.folder / generation.stream / f"bootstrap-{_named(generation)}"
        if folder.exists():
            return
        loading = self.loading(generation)
        with storage_errors("complete a bootstrap", folder):
            rename(ensure_folder(loading), folder)

    # -- bytes --------------------------------------------------------------------------------------------------------

    def write(self, path: Path, data: bytes) -> None:
        """A whole file, durably: temporary name, sync, rename, sync the folder."""
        ensure_folder(path.parent)
        with create(path, replaces=True) as file:
            file.write(data)
            file.commit(root=self.folder)

    def _below(self, folder: Path) -> Iterator[Path]:
        with storage_errors("read folder", folder):
            yield from sorted(folder.iterdir()) if folder.is_dir() else []


def in_bootstrap(checkpoint: Checkpoint | None, generation: Generation) -> bool:
    """Whether a checkpoint is in the middle of this generation."""
    return isinstance(checkpoint, BootstrapCheckpoint) and checkpoint.generation == generation.id


def _named(generation: Generation) -> str:
    safe = re.sub(r"[^A-Za-z0-9-]", "_", generation.id)
    return f"{generation.scn:0{SCN_DIGITS}}-{safe}"
