"""Import the Python files of a project's `iterators/` folder, as modules of a package that belongs to this
project.

The folder is no package that Python would find by itself: it is given the name
`differ_project_<digest>.iterators`, where the digest stands for its path. So two projects in one process
never share a module, relative imports among the files of a folder work, and what is defined there (a
dataclass, say) finds its module in `sys.modules`.

Invariant: the modules of a folder are from one state of its files; when any file changed, all are imported
anew. Source: pytest's `importlib` import mode.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import stat
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

from differ.errors import DifferError, IteratorError

PACKAGE = "differ_project"
_stamps: dict[str, frozenset[tuple[str, bytes]]] = {}
_lock = threading.RLock()


def import_file(file: Path) -> ModuleType:
    """Import one Python file of a project's iterator folder; an unchanged file is executed once a process.

    Raises IteratorError naming file, line and cause when the file is not valid Python, imports something that
    is missing or raises, and when the folder or a file in it may be written by everybody.
    """
    folder = file.parent.resolve()
    check_writable(folder)
    with _lock:
        package = _package(folder)
        name = f"{package}.{file.stem}"
        if name in sys.modules:
            return sys.modules[name]
        return _execute(name, folder / file.name)


def namespace(folder: Path) -> str:
    """The name of the package that the files of `folder` are imported into."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return f"{PACKAGE}_{digest}.iterators"


def check_writable(folder: Path) -> None:
    """Raise IteratorError when everybody may write the folder or Python in it: that would run anybody's code."""
    places = [folder, *(path for path in folder.rglob("*") if path.is_dir() or path.suffix == ".py")]
    for path in places:
        if path.stat().st_mode & stat.S_IWOTH:
            raise IteratorError(
                f"load {path}: everybody on this machine may write it, and differ would run what is in it",
                hint=f"run: chmod o-w {path}",
            )


def _package(folder: Path) -> str:
    """Make sure that the folder's package stands and is fresh; return its name."""
    name = namespace(folder)
    stamp = _stamp(folder)
    if _stamps.get(name) != stamp:
        root = name.partition(".")[0]
        for loaded in [module for module in sys.modules if module == root or module.startswith(root + ".")]:
            del sys.modules[loaded]
        importlib.invalidate_caches()
        sys.modules[root] = _make_package(root, [])
        sys.modules[name] = _make_package(name, [str(folder)])
        sys.modules[root].__dict__["iterators"] = sys.modules[name]
        _stamps[name] = stamp
    return name


def _make_package(name: str, path: list[str]) -> ModuleType:
    module = ModuleType(name)
    spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = path
    module.__spec__, module.__path__, module.__package__ = spec, path, name
    return module


def _stamp(folder: Path) -> frozenset[tuple[str, bytes]]:
    """What the files hold: their times move in steps of milliseconds, in which a program may write one twice."""
    return frozenset((str(path), hashlib.sha256(path.read_bytes()).digest()) for path in folder.rglob("*.py"))


def _execute(name: str, file: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _import_error(file, error) from error


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the files of iterator folders, whoever of them imports which."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(f"{PACKAGE}_") or not path:
            return None
        file = Path(path[0]) / f"{fullname.rpartition('.')[2]}.py"
        if not file.is_file():
            return None  # A folder with an __init__.py is found in Python's usual way.
        return importlib.util.spec_from_file_location(fullname, file, loader=_SourceLoader(fullname, str(file)))


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Always compiles the source: cached bytecode is told apart by whole seconds, and an edit may be quicker."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


sys.meta_path.insert(0, _Finder())  # before Python's own, which would cache bytecode


def _import_error(file: Path, error: BaseException) -> IteratorError:
    place, hint = _place(file, error), "correct the file; the other sources are not affected"
    cause = f"{type(error).__name__}: {error}"
    match error:
        case DifferError():
            cause, hint = error.message, error.hint or hint
        case SyntaxError():
            cause = f"{type(error).__name__}: {error.msg}"
        case ModuleNotFoundError() if error.name:
            hint = f"install the package that provides {error.name!r} where differ runs"
        case SystemExit():
            cause = "it ends the process while it is imported (SystemExit)"
    return IteratorError(f"load {place}: {cause}", hint=hint)


def _place(file: Path, error: BaseException) -> str:
    """`file:line`, the line where the error arose, in the folder's own code."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}"
    own = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(file.parent)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else str(file)
