"""Where files lie: resolve a path, list or glob, open the bytes, and notice when they change under the scan.

A path with a scheme (`s3://`, `memory://`) goes through fsspec, anything else is a path of this machine, relative to
the project. Invariant: what was listed when the scan began is what is there when it ends, or the scan fails; so files
read as one consistent state although nothing locks them.

A local file is told by device, inode, size and modification time; a remote one by whatever of size, ETag, version,
checksum and times its store tells.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from differ.errors import ConfigError, DifferError, SourceError, SourceUnavailableError

_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_MAGIC = "*?["
# What stores call the things that change with the content: S3, GCS, Azure, HTTP, memory and archives.
_TELLING = (
    "size", "ETag", "etag", "VersionId", "version_id", "generation", "md5Hash", "content_md5", "checksum", "crc32c",
    "mtime", "LastModified", "last_modified", "updated", "created", "modified",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Place:
    """One file: `name` is what people call it, `path` what its file system does; no file system for local ones."""

    name: str
    path: str
    system: Any = field(default=None, compare=False, repr=False)

    @property
    def suffix(self) -> str:
        """The lower-case suffix without that of the compression."""
        stem, suffix = os.path.splitext(self.path.lower())
        return os.path.splitext(stem)[1] if suffix in _COMPRESSIONS else suffix

    @property
    def size(self) -> int:
        """Bytes at rest; 0 where the store does not tell."""
        return os.stat(self.path).st_size if self.system is None else int(self.system.info(self.path)["size"] or 0)

    def stamp(self) -> Hashable:
        """What changes when the content does. Raises SourceError when the file is gone."""
        with reading(self):
            if self.system is None:
                status = os.stat(self.path)
                return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            self.system.invalidate_cache()
            info = self.system.info(self.path)
            return tuple((name, str(info[name])) for name in _TELLING if info.get(name) is not None)

    def open(self) -> BinaryIO:
        """The file's bytes as they are at rest."""
        with reading(self):
            if self.system is None:
                return open(self.path, "rb")
            stream: BinaryIO = self.system.open(self.path, "rb")
            return stream

    def open_arrow(self) -> Any:
        """The same as a file that Arrow reads by itself where it can, without the interpreter's lock."""
        if self.system is not None:
            return self.open()
        with reading(self):
            return pa.OSFile(self.path, "rb")

    @contextmanager
    def open_text(self) -> Iterator[BinaryIO]:
        """The file's bytes, uncompressed where the suffix says that they are compressed."""
        compression = _COMPRESSIONS.get(os.path.splitext(self.path.lower())[1])
        with self.open() as raw:
            if compression is None:
                yield raw
            else:
                with pa.CompressedInputStream(raw, compression) as stream:
                    yield stream


@contextmanager
def reading(place: Place) -> Iterator[None]:
    """Turn whatever a file system, a codec or a decoder raises into errors that name the file."""
    try:
        yield
    except DifferError:
        raise
    except FileNotFoundError as error:
        raise SourceError(f"read {place.name}: there is no such file", hint="was it removed in mid-scan?") from error
    except IsADirectoryError as error:
        raise _directory(place.name) from error
    except PermissionError as error:
        raise SourceError(f"read {place.name}: permission denied", hint="let differ read the file") from error
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"read {place.name}: {_first_line(error)}", hint="is the file whole, and of this format?"
        ) from error
    except OSError as error:
        raise SourceUnavailableError(f"read {place.name}: {_first_line(error)}") from error
    except Exception as error:  # Each store's client raises its own; none of them may pass as a traceback.
        raise SourceUnavailableError(f"read {place.name}: {type(error).__name__}: {_first_line(error)}") from error


class Places:
    """The files of one scan, as they stood when it began."""

    def __init__(self, paths: tuple[str, ...], project: str, storage_options: Mapping[str, Any]) -> None:
        """Resolve the paths. Raises SourceError where one of them matches nothing."""
        self._paths, self._project, self._storage_options = paths, project, dict(storage_options)
        self.places = self._resolve()
        self._stamps = {place: place.stamp() for place in self.places}

    def check(self, place: Place) -> None:
        """Raise SourceError when the file is no longer the one that was there when the scan began."""
        if place.stamp() != self._stamps[place]:
            raise _changed(place.name, "it changed while it was read")

    def check_all(self) -> None:
        """`check` every file, and that the paths still mean the same ones; asked when everything was read."""
        now, before = set(self._resolve()), set(self.places)
        for place in sorted(now ^ before, key=lambda place: place.name):
            raise _changed(place.name, "it came" if place in now else "it went away")
        for place in self.places:
            self.check(place)

    def _resolve(self) -> list[Place]:
        found: dict[str, Place] = {}
        for path in self._paths:
            places = self._remote(path) if "://" in path or "::" in path else self._local(path)
            if not places:
                raise SourceError(
                    f"read {path}: no file matches",
                    hint="check the path; where no file means no rows, leave an empty file there",
                )
            found.update((place.path, place) for place in places)
        return sorted(found.values(), key=lambda place: place.path)

    def _local(self, path: str) -> list[Place]:
        whole = str(Path(self._project) / Path(path).expanduser())
        if os.path.isdir(whole):
            raise _directory(path)
        if os.path.exists(whole):
            return [Place(name=path, path=whole)]
        if not any(sign in path for sign in _MAGIC):
            return []
        matches = glob.glob(whole, recursive=True)
        return [Place(name=_relative(match, self._project), path=match) for match in matches if os.path.isfile(match)]

    def _remote(self, path: str) -> list[Place]:
        import fsspec

        anywhere = Place(name=path, path=path)
        with reading(anywhere):
            try:
                system, inner = fsspec.core.url_to_fs(path, **self._storage_options)
            except (ImportError, ValueError) as error:
                raise ConfigError(
                    f"read {path}: {_first_line(error)}",
                    hint="install the fsspec package of this scheme, for example s3fs for s3://",
                ) from error
            except TypeError as error:
                raise ConfigError(f"read {path}: storage_options: {_first_line(error)}") from error
            system.invalidate_cache()
            if system.isfile(inner):
                return [Place(name=path, path=inner, system=system)]
            if system.isdir(inner):
                raise _directory(path)
            matches = system.glob(inner) if any(sign in inner for sign in _MAGIC) else []
            files = [match for match in matches if system.isfile(match)]
            return [Place(name=system.unstrip_protocol(match), path=match, system=system) for match in files]


def _relative(path: str, project: str) -> str:
    return str(Path(path).relative_to(project)) if Path(path).is_relative_to(project) else path


def _directory(name: str) -> SourceError:
    return SourceError(f"read {name}: it is a folder", hint=f"name its files with a glob: {name.rstrip('/')}/*.parquet")


def _changed(name: str, what: str) -> SourceError:
    return SourceError(
        f"read {name}: {what} during the scan",
        hint="scan again; writers should write a new file and rename it into place",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
