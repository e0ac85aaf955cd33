"""Load a class or function that scheduler.yaml names: `mapping.py:function` of the project, or `package.module:name`.

A file of the project is compiled from its source each time it is loaded, so an edit is seen whenever a sink starts and
no cached bytecode is run or written. It is registered in `sys.modules` before it runs, as dataclasses need, under a
name made of its path, so two projects in one process never share one.

Invariant: code that everybody on the machine may write is not run. Source: pytest's `importlib` import mode.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import stat
import sys
import traceback
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from differ.config.problems import suggestion
from differ.errors import ConfigError, DifferError, SinkError

PACKAGE = "differ_project"


def load_attribute(text: str, project: Path, *, what: str) -> Any:
    """What `file.py:name` (relative to the project) or `package.module:name` stands for.

    what: the setting, for messages. Raises ConfigError where the text or the file is wrong, SinkError where the code
    does not load.
    """
    place, mark, name = text.rpartition(":")
    if not mark or not place or not name.isidentifier():
        raise ConfigError(f"{what} {text!r}: expected file.py:name or package.module:name")
    module = _from_file(project / place, project, what) if place.endswith(".py") else _from_package(place, what)
    if not hasattr(module, name):
        public = [item for item in vars(module) if not item.startswith("_")]
        raise ConfigError(f"{what} {text!r}: {place} has no {name!r}; {suggestion(name, public)}")
    return getattr(module, name)


def _from_file(file: Path, project: Path, what: str) -> ModuleType:
    if not file.is_file():
        raise ConfigError(f"{what}: there is no file {file}", hint="the path starts from the project's folder")
    file = file.resolve()
    if not file.is_relative_to(project.resolve()):
        raise ConfigError(
            f"{what}: {file} lies outside of the project", hint="move it into the project's folder, or install it"
        )
    for place in (file, file.parent):
        if place.stat().st_mode & stat.S_IWOTH:
            raise SinkError(
                f"load {place}: everybody on this machine may write it, and differ would run what is in it",
                hint=f"run: chmod o-w {place}",
            )
    digest = hashlib.sha256(str(file.parent).encode()).hexdigest()[:12]
    name = f"{PACKAGE}_{digest}_sinks_{file.stem}"
    loader = _SourceLoader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    if spec is None:
        raise SinkError(f"load {file}: it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise _load_error(str(file), file, error) from error
    return module


def _from_package(name: str, what: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{what}: {name!r} is no module", hint="expected file.py:name or package.module:name")
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _load_error(name, None, error) from error


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Always compiles the source: cached bytecode is told apart by whole seconds, and an edit may be quicker."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _load_error(place: str, file: Path | None, error: BaseException) -> SinkError:
    hint = "correct the file; the other sinks are not affected"
    cause = f"{type(error).__name__}: {error}"
    match error:
        case DifferError():
            cause, hint = error.message, error.hint or hint
        case ModuleNotFoundError() if error.name:
            hint = f"install the package that provides {error.name!r} where differ runs"
        case SyntaxError():
            cause = f"{type(error).__name__}: {error.msg}"
            place = f"{error.filename}:{error.lineno}" if error.filename and error.lineno else place
        case SystemExit():
            cause = "it ends the process while it is imported (SystemExit)"
    if file is not None and not isinstance(error, SyntaxError):
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
        place = f"{file}:{own[-1].lineno}" if own else place
    return SinkError(f"load {place}: {cause}", hint=hint)
