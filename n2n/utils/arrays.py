"""The one door for numbers that users hold: lists, numpy, torch and pandas become plain arrays, or are refused.

Nothing is read that its owner has hidden or does not have: masked and missing values are refused.
"""

from __future__ import annotations

import math
import sys
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from n2n.utils.strict import short_repr

if TYPE_CHECKING:
    import torch

MAX_INT64 = np.iinfo(np.int64).max
SUM_TOLERANCE = 1e-8  # how far from 1 a given row of float64 may sum; it is normalised
ROUNDING = 1e-12  # how far the sum of float64 numbers may lie from 1 by rounding alone
_STEPS = 8  # of a narrower type, by which a row may sum to another number than 1
_DEEPEST = 32  # lists within lists, as many as the axes that every numpy allows
_HIDDEN = "none may be hidden or missing"


def integers(given: Any, what: str = "tokens") -> np.ndarray:
    """Integers of any type as a new int64 array.

    Raises:
        ValueError: masked or missing values, another type (whole floats and booleans too), rows of unequal lengths, or
            an integer that int64 does not hold.
    """
    array = _integral(_array(given, what), given, what)
    for value in (array.min(), array.max()) if array.size and array.dtype in (np.uint64, object) else ():
        if not -MAX_INT64 <= value <= MAX_INT64:
            raise ValueError(f"{what}: saw {short_repr(int(value))}; integers below 2**63 are needed")
    return np.array(array, dtype=np.int64, order="C")


def integer_tensor(given: Any, what: str = "tokens", device: torch.device | None = None) -> torch.Tensor:
    """Integers of any type as an int64 tensor: a tensor stays on its device, all else goes to ``device`` (None: CPU).

    Raises:
        ValueError: what ``integers`` refuses.
    """
    import torch

    if not isinstance(given, torch.Tensor):
        return torch.from_numpy(integers(given, what)).to(device)
    _refuse_strange_tensor(given, what)
    if given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise ValueError(f"{what}: saw {type(given).__name__} of type {_name(given.dtype)}; integers are needed")
    whole = given.to(torch.int64)
    if given.dtype == torch.uint64 and bool((whole < 0).any()):
        raise ValueError(f"{what}: saw {whole[whole < 0][0].item() + 2**64}; integers below 2**63 are needed")
    return whole


def reals(given: Any, what: str) -> np.ndarray:
    """Real numbers of any type as an array, in their own type where numpy has it; for reading.

    Raises:
        ValueError: masked or missing values, rows of unequal lengths, or something else than numbers.
    """
    array = _array(given, what)
    if array.dtype == object and all(map(_is_real, set(map(type, array.flat)))):
        array = array.astype(np.float64)
    if array.dtype.kind not in "iuf":
        _refuse_missing(array, what)
        raise ValueError(f"{what}: saw {type(given).__name__} of type {array.dtype}; real numbers are needed")
    return array


def probabilities(given: Any, what: str) -> np.ndarray:
    """A table of probabilities as a new float64 array.

    Rows that sum to 1 within the rounding of the type that is given, such as a softmax in float32, are divided by their
    sum. All others stay as they are, for the caller to refuse.

    Raises:
        ValueError: as ``reals``.
    """
    array = reals(given, what)
    table = np.array(array, dtype=np.float64, order="C")
    if table.ndim == 0 or table.size == 0:
        return table
    sums = table.sum(axis=-1, keepdims=True)
    off = np.abs(sums - 1).max()
    if ROUNDING < off < max(SUM_TOLERANCE, _STEPS * _spacing(given, array)):  # one that is exact stays bit for bit
        table /= sums
    return table


def _spacing(given: Any, array: np.ndarray) -> float:
    """Between 1 and the next number of the type that is given; 0 of integers."""
    if _is_tensor(given) and given.is_floating_point():
        return sys.modules["torch"].finfo(given.dtype).eps  # bfloat16 became float32 on its way to numpy
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0


def _array(given: Any, what: str, level: int = 0) -> np.ndarray:
    """What is given as numpy has it, in its own type."""
    if _is_tensor(given):
        return _of_tensor(given, what)
    if _is_pandas(given):
        return _of_pandas(given, what)
    if isinstance(given, np.ma.MaskedArray):
        if np.ma.is_masked(given):
            raise ValueError(f"{what}: saw {np.ma.count_masked(given)} masked values; {_HIDDEN}")
        return given.data
    if isinstance(given, list | tuple):
        return _of_list(given, what, level + 1)
    return np.asarray(given)


def _of_list(given: list | tuple, what: str, level: int) -> np.ndarray:
    """Each row by itself: numpy drops the masks of rows in a list, and takes a boolean among numbers for a number."""
    if level > _DEEPEST:
        raise ValueError(f"{what}: saw lists within lists beyond {_DEEPEST} levels; an array has fewer axes")
    kinds = set(map(type, given))
    if any(_has_parts(kind) for kind in kinds):
        try:
            return np.stack([_array(part, what, level) for part in given])
        except ValueError as error:
            if str(error).startswith(f"{what}: "):
                raise
            raise ValueError(f"{what}: saw rows of unequal lengths in {short_repr(given)}") from None
    if kinds & {bool, np.bool_}:
        raise ValueError(f"{what}: saw a boolean in {short_repr(given)}; numbers are needed")
    return np.array(given)


def _has_parts(kind: type) -> bool:
    return issubclass(kind, (list, tuple, np.ndarray, *_tensors(), *_pandas()))


def _of_tensor(given: torch.Tensor, what: str) -> np.ndarray:
    _refuse_strange_tensor(given, what)
    torch = sys.modules["torch"]
    narrow = given.is_floating_point() and given.dtype not in (torch.float16, torch.float32, torch.float64)
    return (given.float() if narrow else given).numpy(force=True)  # numpy has no bfloat16


def _refuse_strange_tensor(given: torch.Tensor, what: str) -> None:
    if hasattr(given, "get_mask"):
        raise ValueError(f"{what}: saw a masked tensor; {_HIDDEN}")
    if given.is_nested or given.layout != sys.modules["torch"].strided or given.is_meta:
        raise ValueError(f"{what}: saw a tensor of layout {given.layout} on {given.device}; a dense one is needed")


def _of_pandas(given: Any, what: str) -> np.ndarray:
    """A frame column by column: columns of pandas' nullable types become objects if they are taken together."""
    if given.ndim == 2:
        columns = [_of_pandas(given.iloc[:, i], what) for i in range(given.shape[1])]
        return np.stack(columns, axis=1) if columns else np.empty(given.shape)
    if given.isna().any():
        raise ValueError(f"{what}: saw {int(given.isna().sum())} missing values (NA); {_HIDDEN}")
    if isinstance(given.dtype, np.dtype):
        return given.to_numpy()
    return given.to_numpy(dtype=getattr(given.dtype, "numpy_dtype", None))


def _integral(array: np.ndarray, given: Any, what: str) -> np.ndarray:
    if array.dtype == object and array.size and all(map(_is_integer, set(map(type, array.flat)))):
        return array
    if array.dtype.kind not in "iu":
        _refuse_missing(array, what)
        raise ValueError(f"{what}: saw {type(given).__name__} of type {array.dtype}; integers are needed")
    return array


def _is_integer(kind: type) -> bool:
    return issubclass(kind, Integral) and not issubclass(kind, bool)


def _is_real(kind: type) -> bool:
    return issubclass(kind, Real) and not issubclass(kind, bool)


def _refuse_missing(array: np.ndarray, what: str) -> None:
    """Of an array of objects that has more than one: None by itself is no missing value but nothing at all."""
    for value in array.flat if array.dtype == object and array.ndim else ():
        if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"{what}: saw a missing value ({value}); {_HIDDEN}")
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"{what}: saw a missing value (nan); {_HIDDEN}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_tensor(given: Any) -> bool:
    return isinstance(given, _tensors())


def _tensors() -> tuple[type, ...]:
    """torch's tensors, without importing it: where there is one it was imported."""
    torch = sys.modules.get("torch")
    return () if torch is None else (torch.Tensor,)


def _is_pandas(given: Any) -> bool:
    return isinstance(given, _pandas())


def _pandas() -> tuple[type, ...]:
    """pandas' frames and sequences, likewise."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return ()
    return (pandas.DataFrame, pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray)
