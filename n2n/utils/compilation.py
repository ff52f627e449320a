"""Functions that numba compiles, and the cache of their machine code, which lasts as long as their sources.

numba caches code beside the source file, so that each copy of n2n would compile again: another checkout, or the copy
that a sweep makes for its jobs. Here, all copies with equal sources share one folder of the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding as llvm
import numba
from numba.core import caching, codegen, compiler

MAX_AGE = 30 * 24 * 3600.0  # seconds since code was last added to a folder, after which a new folder replaces it

F = TypeVar("F", bound=Callable)


def compiled(function: F) -> F:
    """``numba.njit`` that releases the GIL and caches machine code on disk if a cache folder is writable.

    A damaged cache is emptied, and a cache that cannot be written is not used. Both give one warning. Code in the cache
    is used only as long as no file in the function's folder or in ``n2n.utils`` changes: numba itself watches only the
    function's own file, and would keep using old code of functions that it calls in other files.
    """
    dispatcher = numba.njit(nogil=True, no_cfunc_wrapper=True, pipeline_class=_Compiler)(function)
    with contextlib.suppress(RuntimeError, OSError):  # there is no folder to cache in
        dispatcher._cache = TolerantCache(function)
    return dispatcher


def compiled_part(function: F) -> F:
    """``numba.njit`` for a function that only compiled functions call, which contain its code.

    It compiles in a fraction of the time, because it needs no conversion of arguments from Python, no cache and no
    machine code of its own. It must neither allocate arrays nor return any: nothing counts references within it, which
    atomic instructions would do for each array of each call. Calling it from Python raises a ``TypeError``.
    """
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False, "pipeline_class": _PartCompiler}
    dispatcher = numba.njit(nogil=True, **options)(function)

    def add_overload(result: Any) -> None:
        """Keep compiled code for compiled callers; numba would also offer it to Python."""
        dispatcher.overloads[tuple(result.signature.args)] = result

    def refuse(*arguments: Any, **named: Any) -> None:
        raise TypeError(f"{function.__qualname__} is part of compiled functions and cannot be called from Python")

    dispatcher.add_overload, dispatcher._compile_for_args = add_overload, refuse
    return dispatcher


class _Compiler(compiler.Compiler):
    """numba's compiler, with fewer of LLVM's optimisations."""

    def __init__(self, typing_context: Any, target_context: Any, library: None, *arguments: Any) -> None:
        library = _ShortLibrary(target_context.codegen(), "function")
        library.enable_object_caching()
        super().__init__(typing_context, target_context, library, *arguments)


class _ShortLibrary(codegen.JITCodeLibrary):
    """Code without unrolled loops, which compiles in four fifths of the time and is no slower."""

    def _optimize_final_module(self) -> None:
        """Inline first, as numba does, and then optimise."""
        machine, module = self._codegen._tm, self._final_module
        passes, builder = self._codegen._module_pass_manager(loop_vectorize=False, opt=0, cost="cheap")
        passes.run(module, builder)
        tuning = llvm.create_pipeline_tuning_options(speed_level=3)
        tuning.loop_vectorization, tuning.slp_vectorization = True, False
        tuning.loop_unrolling = tuning.loop_interleaving = False
        builder = llvm.create_pass_builder(machine, tuning)
        passes = builder.getModulePassManager()
        passes.add_refprune_pass()
        passes.run(module, builder)


class _PartCompiler(compiler.Compiler):
    """numba's compiler, up to the code that LLVM has not yet optimised."""

    def __init__(self, typing_context: Any, target_context: Any, library: None, *arguments: Any) -> None:
        super().__init__(typing_context, target_context, _PartLibrary(target_context.codegen(), "part"), *arguments)


class _PartLibrary(codegen.JITCodeLibrary):
    """Code that LLVM optimises and translates only within the functions that contain it.

    numba would do both once more at each level of a chain of calls.
    """

    @property
    def codegen(self) -> _NoEngine:
        return _NoEngine()

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0

    def _optimize_final_module(self) -> None:
        """Leave it to the functions that contain the code."""

    def _finalize_final_module(self) -> None:
        self._finalized = True


class _NoEngine:
    """Takes the place of LLVM's engine, which does not have the code."""

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: a part converts no values for Python, so it needs no environment."""


class _BySources:
    """The cache folder of a function, named by the content of its sources instead of their path."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        folder = Path(py_file).parent
        return f"n2n_{folder.name}_{_source_hash(folder)[:16]}_{_source_hash(Path(__file__).parent)[:16]}"

    def ensure_cache_path(self) -> None:
        path = Path(self.get_cache_path())
        is_new = not path.exists()
        super().ensure_cache_path()
        if is_new:
            _remove_old(path)


def _remove_old(path: Path) -> None:
    """Remove folders of older sources, which would otherwise pile up with every change."""
    with contextlib.suppress(OSError):  # another process removes the same folders
        for other in path.parent.glob(f"{path.name.rsplit('_', 2)[0]}_*"):  # without the two hashes
            if time.time() - other.stat().st_mtime > MAX_AGE:
                shutil.rmtree(other, ignore_errors=True)


class _ChosenFolder(_BySources, caching.UserProvidedCacheLocator):
    """Below ``$NUMBA_CACHE_DIR``."""


class _UserFolder(_BySources, caching.UserWideCacheLocator):
    """Below the user's cache folder."""


class _SourceFolder(_BySources, caching.InTreeCacheLocator):
    """Next to the sources, if the user's cache folder is not writable."""

    def __init__(self, py_func: Callable, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = str(Path(self._cache_path) / self.get_suitable_cache_subpath(py_file))


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = (_ChosenFolder, _UserFolder, _SourceFolder)


@cache
def _source_hash(folder: Path) -> str:
    """Hash of all Python files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


class TolerantCache(caching.Cache):
    """A numba cache whose errors never stop a compilation.

    numba raises every error of its cache. After a full disk or a killed machine, an empty index file would make every
    call of the function fail, and a full disk every first call.
    """

    has_warned = False  # of this process: a damaged or full disk affects all functions alike
    _impl_class = _Implementation

    def load_overload(self, *arguments: Any) -> Any:
        """The overload from numba's cache; None if there is none or the cache is damaged."""
        try:
            return super().load_overload(*arguments)
        except Exception as error:  # a damaged pickle may raise anything
            self._empty(error)
            return None

    def save_overload(self, *arguments: Any) -> None:
        """Save to numba's cache, or warn if that fails."""
        try:
            super().save_overload(*arguments)
        except Exception as error:
            self._warn(f"cannot be written to ({_reason(error)}), so n2n compiles again in each process")

    def _empty(self, error: Exception) -> None:
        try:
            self.flush()
        except Exception as second:
            state = f"is damaged ({_reason(error)}) and cannot be emptied ({_reason(second)})"
            message = f"{state}, so n2n compiles again in each process"
        else:
            message = f"was damaged ({_reason(error)}) and has been emptied"
        self._warn(message)

    def _warn(self, message: str) -> None:
        if not TolerantCache.has_warned:
            TolerantCache.has_warned = True
            warnings.warn(
                f"numba's cache in {self.cache_path} {message}. NUMBA_CACHE_DIR names another folder",
                RuntimeWarning,
                stacklevel=3,
            )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
