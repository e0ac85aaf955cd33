"""Finding and loading the compiled library; None where it was not compiled, or is of another version of its source.

Nothing is downloaded, compiled or searched for at run time: the library lies beside this file or is not there.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from pathlib import Path

ABI = 2
"""Raised with every change of a signature in kernels.c, so that a library left from before is not called."""

PATH = Path(__file__).with_name("kernels.so")
log = logging.getLogger(__name__)

_POINTER, _COUNT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
_SIGNATURES = {
    "differ_hash_binary": (None, [_POINTER, _POINTER, _COUNT, _POINTER, _POINTER]),
    "differ_hash64_binary": (None, [_POINTER, _POINTER, _COUNT, _POINTER]),
    "differ_hash_rows": (None, [_POINTER, _INT, _INT, _COUNT, _POINTER, _POINTER, _POINTER, _POINTER]),
    "differ_directory": (None, [_POINTER, _COUNT, _INT, _INT, _POINTER]),
    "differ_probe": (_COUNT, [_POINTER, _INT, _COUNT, *[_POINTER] * 8]),
}


def load(path: Path = PATH) -> ctypes.CDLL | None:
    """The library with its signatures declared, or None. Never raises: without it differ is slower, not broken."""
    if sys.byteorder != "little" or not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
        if library.differ_abi() != ABI:
            log.warning("%s is of another version and is not used: install differ again", path)
            return None
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        log.warning("%s cannot be used, going on without it: %s", path, error)
        return None
    return library
