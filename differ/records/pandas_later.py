"""pandas is imported when somebody wants it, not because pyarrow asks whether it is there.

At the first list that becomes an array, pyarrow imports pandas to learn whether the list might be one of its series:
0.4 s and 60 MiB in every process of the command line, for an answer that is no wherever nobody has imported pandas.
`ask_pandas_later` has pyarrow ask at once and be told that there is none. When somebody does import pandas (a plugin,
or differ for nanoseconds), pyarrow is told so before the import returns, and from then on takes frames and series as
ever.

Invariant: whoever holds an object of pandas has imported it, so no such object meets a pyarrow that does not know it.
Where pyarrow infers a type by itself it imports pandas nevertheless: on the scan's road, name the type.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pyarrow as pa


def ask_pandas_later() -> None:
    """Keep pyarrow from importing pandas until somebody does; idempotent, a no-op where pandas is imported already.

    Call it before other threads make arrays. A few microseconds.
    """
    shim = getattr(pa.lib, "_pandas_api", None)
    if shim is None or "pandas" in sys.modules or any(isinstance(finder, _Later) for finder in sys.meta_path):
        return
    later = _Later(shim)
    sys.meta_path.insert(0, later)
    _ = shim.have_pandas  # pyarrow asks once, and keeps the answer
    later.refuses = None


class _Later(MetaPathFinder):
    """Stands before all other finders until pandas is looked for by somebody who wants it."""

    def __init__(self, shim: Any) -> None:
        self._shim = shim
        self.refuses: int | None = threading.get_ident()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse pyarrow's own question; for everybody else find pandas as ever, and see to it that pyarrow learns.

        Looking for a module need not mean importing it (polars only looks), so this stays until the import.
        """
        if fullname != "pandas":
            return None
        if self.refuses == threading.get_ident():
            raise ModuleNotFoundError("pyarrow asks for pandas before anybody wants it", name=fullname)
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is not None and spec.loader is not None:
            # An attribute of this one loader: all else that is asked of it (its files, its source) is answered as ever.
            spec.loader.exec_module = partial(self._run, spec.loader.exec_module)  # type: ignore[method-assign]
        return spec

    def _run(self, run: Callable[[ModuleType], None], module: ModuleType) -> None:
        run(module)
        _ = self._shim.pd  # pyarrow asks again where it must have pandas
        sys.meta_path.remove(self)
