"""Functions compiled by numba, whose machine code is kept on disk where that is possible and made anew where not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable)


def compiled(function: F) -> F:
    """``numba.njit`` that releases the GIL and keeps its machine code on disk, where any cache folder is writable.

    A cache that is damaged is emptied, and one that cannot be written to is done without: one warning tells it.
    """
    try:
        dispatcher = numba.njit(nogil=True, cache=True)(function)
    except (RuntimeError, OSError):  # numba found no folder to cache in
        return numba.njit(nogil=True)(function)
    dispatcher._cache = Forgiving(dispatcher._cache)
    return dispatcher


class Forgiving:
    """A cache of numba's that never stops a compilation.

    numba lets every error through. An index left empty by a full disk or a killed machine would stop each call of the
    function for ever, and a full disk each first call.
    """

    told = False  # whether this process has warned: a damaged or full disk concerns all functions alike

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *arguments: Any) -> Any:
        """What numba's own gives, or None, as of a function that is not cached."""
        try:
            return self._cache.load_overload(*arguments)
        except Exception as error:  # a damaged pickle may raise any
            self._make_anew(error)
            return None

    def save_overload(self, *arguments: Any) -> None:
        """As numba's own, if it can."""
        try:
            self._cache.save_overload(*arguments)
        except Exception as error:
            self._warn(f"cannot be written to ({_said(error)}), so n2n compiles anew in each process")

    def _make_anew(self, error: Exception) -> None:
        try:
            self._cache.flush()
        except Exception as also:
            said = f"is damaged ({_said(error)}) and cannot be emptied ({_said(also)}), so n2n compiles in each process"
        else:
            said = f"was damaged ({_said(error)}) and is made anew"
        self._warn(said)

    def _warn(self, said: str) -> None:
        if not Forgiving.told:
            Forgiving.told = True
            folder = self._cache.cache_path
            warnings.warn(
                f"numba's cache in {folder} {said}. NUMBA_CACHE_DIR names another folder", RuntimeWarning, stacklevel=3
            )


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
