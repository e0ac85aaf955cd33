"""Find an iterator by its name: built in, in the project's `iterators/` folder, or from an installed package.

Looked through in this order, and the first that has the name gives it:

1. `sql`, `mongodb`, `files`, imported only when they are asked for;
2. `iterators/*.py` of the project: the file's stem where the file marks one iterator, and the name of each
   marked one; a file whose name begins with an underscore is for the others to import;
3. the entry-point group `differ.iterators` of what is installed.

Invariants: a file that cannot be imported fails only the sources that need it, and a project's file can never
stand in for a built-in iterator without being noticed. Source: pytest's and dbt's discovery by path,
setuptools' entry points.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from differ.errors import DifferError, IteratorError, UsageError
from differ.iterators.contract import IteratorSpec
from differ.iterators.loading import PACKAGE, import_file

GROUP = "differ.iterators"
FOLDER = "iterators"
BUILT_IN = {
    "sql": "differ.iterators.sql:sql",
    "mongodb": "differ.iterators.mongodb:mongodb",
    "files": "differ.iterators.files:files",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundIterator:
    """One iterator, or one file or entry point that should have given one: `spec` or `error`, never both."""

    name: str
    where: str
    spec: IteratorSpec | None = None
    error: DifferError | None = None


def find_iterator(name: str, project: Path) -> IteratorSpec:
    """Return the iterator of this name; `project` is the folder that holds scheduler.yaml.

    Raises UsageError for an unknown name, with the nearest ones; IteratorError when the file that has the
    name cannot be imported or marks nothing, and when a name has two owners. Cost: one import; all files of
    the folder only where no file is called `name`.
    """
    files = project_files(project)
    by_stem = {file.stem: file for file in files}
    if name in BUILT_IN:
        if name in by_stem:
            raise _clash(name, by_stem[name])
        return _built_in(name)
    if name in by_stem:
        return _from_stem(name, by_stem[name])
    owners, broken, others = _search_marked(name, [file for file in files if file.stem != name])
    if len(owners) > 1:
        raise IteratorError(
            f"find iterator {name!r}: it is marked in both {owners[0][0]} and {owners[1][0]}",
            hint="rename one of them",
        )
    if owners:
        return owners[0][1]
    points = list(entry_points(group=GROUP, name=name))
    if points:
        return _from_entry_point(points)
    raise _unknown(name, project, {*by_stem, *others}, broken)


def list_iterators(project: Path) -> list[FoundIterator]:
    """Everything that can be found, in the order in which it is looked through, with the reason where it
    cannot be used.

    Imports all of it. Never raises for what a file or package does.
    """
    found = [_attempt(name, "built in", partial(_built_in, name)) for name in BUILT_IN]
    owners: dict[str, str] = {}
    for file in project_files(project):
        for one in _list_file(file):
            if one.name in owners and one.spec is not None:
                error = IteratorError(
                    f"load {file}: {one.name!r} is marked in {owners[one.name]} too", hint="rename one"
                )
                found.append(replace(one, spec=None, error=error))
            else:
                found.append(one)
                owners[one.name] = str(file)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        where = f"entry point: {point.value}"
        if point.name in BUILT_IN or point.name in owners:
            owner = owners.get(point.name, "differ itself")
            error = IteratorError(f"load {where}: {point.name!r} is taken by {owner}", hint="rename the project's one")
            found.append(FoundIterator(name=point.name, where=where, error=error))
        else:
            found.append(_attempt(point.name, where, partial(_from_entry_point, [point])))
    return found


def project_files(project: Path) -> list[Path]:
    """The project's iterator files, sorted; none where there is no folder."""
    return sorted(file for file in (Path(project) / FOLDER).glob("*.py") if not file.name.startswith("_"))


def _built_in(name: str) -> IteratorSpec:
    module, _, attribute = BUILT_IN[name].partition(":")
    spec: IteratorSpec = getattr(importlib.import_module(module), attribute).__differ_iterator__
    return spec


def _from_stem(name: str, file: Path) -> IteratorSpec:
    marked = marked_in(file)
    if name in marked:
        return marked[name]
    if len(marked) == 1:
        return next(iter(marked.values()))
    raise IteratorError(
        f"load {file}: it marks {', '.join(map(repr, marked))}, and none of them is {name!r}",
        hint=f"name one of those in scheduler.yaml, or mark one with @iterator(name={name!r})",
    )


def marked_in(file: Path) -> dict[str, IteratorSpec]:
    """The iterators that a project's file marks, by name. Raises IteratorError; also when it marks none."""
    if file.stem in BUILT_IN:
        raise _clash(file.stem, file)
    module = import_file(file)
    marked: dict[str, IteratorSpec] = {}
    for spec in _marked(module):
        if spec.name in BUILT_IN:
            raise _clash(spec.name, file)
        if spec.name in marked:
            raise IteratorError(f"load {file}: {spec.name!r} is marked twice", hint="give one of them another name=")
        marked[spec.name] = spec
    if not marked:
        raise IteratorError(
            f"load {file}: nothing in it is marked with @iterator",
            hint="mark its function or class, or begin the file's name with _ if others only import it",
        )
    return marked


def _marked(module: ModuleType) -> Iterator[IteratorSpec]:
    """The marked targets that a module defines, or takes from an installed package; not those of its
    neighbours.
    """
    seen: set[int] = set()
    for value in vars(module).values():
        home = str(getattr(value, "__module__", ""))
        foreign = home.startswith((f"{PACKAGE}_", "differ.")) and home != module.__name__
        spec = getattr(value, "__dict__", {}).get("__differ_iterator__")
        if not isinstance(spec, IteratorSpec) or foreign or id(value) in seen:
            continue
        seen.add(id(value))
        # A decorator above @iterator copied the mark: what it made is what shall run.
        yield spec if spec.target is value else replace(spec, target=value)


def _search_marked(name: str, files: list[Path]) -> tuple[list[tuple[Path, IteratorSpec]], list[DifferError], set[str]]:
    """Who marks `name`, which files could not be looked into, and every other name that was seen."""
    owners: list[tuple[Path, IteratorSpec]] = []
    broken: list[DifferError] = []
    names: set[str] = set()
    for file in files:
        try:
            marked = marked_in(file)
        except DifferError as error:
            broken.append(error)
            continue
        names.update(marked)
        if name in marked:
            owners.append((file, marked[name]))
    return owners, broken, names


def _from_entry_point(points: list[EntryPoint]) -> IteratorSpec:
    point = points[0]
    if len({one.value for one in points}) > 1:
        packages = " and ".join(sorted({one.value for one in points}))
        raise IteratorError(f"find iterator {point.name!r}: two packages offer it, {packages}", hint="uninstall one")
    try:
        target = point.load()
    except (Exception, SystemExit) as error:
        raise IteratorError(
            f"load entry point {point.value}: {type(error).__name__}: {error}",
            hint="install or mend the package that provides it",
        ) from error
    spec = getattr(target, "__dict__", {}).get("__differ_iterator__")
    if not isinstance(spec, IteratorSpec):
        raise IteratorError(
            f"load entry point {point.value}: it is not marked with @iterator",
            hint="the package must mark it with differ.iterators.iterator",
        )
    return replace(spec, name=point.name)


def _list_file(file: Path) -> list[FoundIterator]:
    try:
        marked = marked_in(file)
    except DifferError as error:
        return [FoundIterator(name=file.stem, where=str(file), error=error)]
    names = dict(marked)
    if len(marked) == 1:
        names = {file.stem: next(iter(marked.values()))} | names
    return [FoundIterator(name=name, where=str(file), spec=spec) for name, spec in names.items()]


def _attempt(name: str, where: str, load: Callable[[], IteratorSpec]) -> FoundIterator:
    try:
        return FoundIterator(name=name, where=where, spec=load())
    except DifferError as error:
        return FoundIterator(name=name, where=where, error=error)
    except ImportError as error:
        cause = IteratorError(f"load {where}: {error}", hint="install the package that is missing where differ runs")
        return FoundIterator(name=name, where=where, error=cause)


def _clash(name: str, file: Path) -> IteratorError:
    return IteratorError(
        f"load {file}: {name!r} is the name of a built-in iterator", hint="give the project's another name"
    )


def _unknown(name: str, project: Path, names: set[str], broken: list[DifferError]) -> UsageError:
    installed = {point.name for point in entry_points(group=GROUP)}
    folder = Path(project) / FOLDER
    near = difflib.get_close_matches(name, [*BUILT_IN, *sorted(names | installed)], n=3)
    looked = (
        f"looked through the built-in ones ({', '.join(BUILT_IN)}), "
        f"{folder} ({', '.join(sorted(names)) or 'no iterator'}) "
        f"and installed packages ({', '.join(sorted(installed)) or 'none'})"
    )
    unread = f"; could not be looked into: {'; '.join(error.message for error in broken)}" if broken else ""
    nearest = f"did you mean {' or '.join(map(repr, near))}? or " if near else ""
    return UsageError(
        f"find iterator {name!r}: there is none of that name; {looked}{unread}",
        hint=f"{nearest}write {folder / (name + '.py')}, for example with: differ iterator new {name}",
    )
