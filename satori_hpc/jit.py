"""Compile loops over arrays to machine code, once per machine rather than once per process.

Import it where loops are first needed: numba is slow to load.
"""

import contextlib
import hashlib
import pickle
from collections.abc import Callable
from typing import Any

import numba
from numba.core import caching


def compile_loops(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compile a function with numba; the machine code is kept on disk for the processes that follow.

    It is in __pycache__ next to the source or, if that is read-only, in the user's cache; NUMBA_CACHE_DIR names
    another folder. Where none can be written to, every process compiles for itself. A change of the function's file
    recompiles it, so the function may use constants and functions of that file only.

    Args:
        function: in the part of Python that numba takes; it runs without the interpreter's lock.
        options: of numba.njit.
    """
    compiled: Any = numba.njit(nogil=True, **options)(function)
    with contextlib.suppress(Exception):  # no folder that can be written to, or a numba whose inner parts are others
        compiled._cache = _Cache(function)
    found: Callable[..., Any] = compiled
    return found


class _Files(caching.IndexDataCacheFile):
    """Store machine code on disk, one file per version, signature and processor, named after these.

    numba's own files are numbered by an index that is written before them: processes that start together, perhaps on
    nodes with other processors, overwrite each other's, and take code for theirs that is not.
    """

    def save(self, key: Any, data: Any) -> None:
        with contextlib.suppress(OSError):  # a full quota is no reason to fail
            self._save_data(self._name(key), data)

    def load(self, key: Any) -> Any:
        with contextlib.suppress(OSError, EOFError, pickle.UnpicklingError):
            return self._load_data(self._name(key))
        return None

    def _name(self, key: Any) -> str:
        digest = hashlib.sha256(repr((self._version, self._source_stamp, key)).encode()).hexdigest()
        return f"{self._index_name.removesuffix('.nbi')}.{digest[:32]}.nbc"


class _Cache(caching.FunctionCache):
    """numba's cache of a function, with those files."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)
