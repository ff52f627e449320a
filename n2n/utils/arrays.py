"""Conversion of users' numbers: lists, numpy, torch and pandas objects become plain arrays or are refused.

Masked and missing values are always refused. ``numpy.asarray`` is not enough: it silently drops masks, takes booleans
for numbers and turns missing values into nan or objects.
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
SUM_TOLERANCE = 1e-8  # largest distance from 1 of the sum of a float64 row, which is then normalised
ROUNDING = 1e-12  # largest distance from 1 that rounding causes in a sum of float64 probabilities
_MAX_STEPS = 8  # largest distance from 1 of a row's sum, in units of the machine epsilon of the row's type
_MAX_LEVELS = 32  # levels of nested lists: the number of axes that every version of numpy allows
_HIDDEN = "none may be hidden or missing"


def integers(values: Any, what: str = "tokens") -> np.ndarray:
    """Integers of any type as a new int64 array.

    Raises:
        ValueError: masked or missing values, another type (also floats with integer values, and booleans), rows of
            unequal lengths, or an integer outside the range of int64.
    """
    array = _integral(_array(values, what), values, what)
    for value in (array.min(), array.max()) if array.size and array.dtype in (np.uint64, object) else ():
        if not -MAX_INT64 <= value <= MAX_INT64:
            raise ValueError(f"{what}: saw {short_repr(int(value))}; integers below 2**63 are needed")
    return np.array(array, dtype=np.int64, order="C")


def integer_tensor(values: Any, what: str = "tokens", device: torch.device | None = None) -> torch.Tensor:
    """Integers of any type as an int64 tensor.

    Args:
        values: integers; a tensor stays on its device.
        what: name of the values in error messages.
        device: device for anything but a tensor (None: CPU).

    Raises:
        ValueError: as ``integers``.
    """
    import torch

    if not isinstance(values, torch.Tensor):
        return torch.from_numpy(integers(values, what)).to(device)
    _refuse_unusual_tensor(values, what)
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise ValueError(f"{what}: saw {type(values).__name__} of type {_name(values.dtype)}; integers are needed")
    converted = values.to(torch.int64)
    if values.dtype == torch.uint64 and bool((converted < 0).any()):
        raise ValueError(f"{what}: saw {converted[converted < 0][0].item() + 2**64}; integers below 2**63 are needed")
    return converted


def reals(values: Any, what: str) -> np.ndarray:
    """Real numbers as an array of their own type where numpy has it; read-only use, since memory may be shared.

    Raises:
        ValueError: masked or missing values, rows of unequal lengths, or values that are not numbers.
    """
    array = _array(values, what)
    if array.dtype == object and all(map(_is_real, set(map(type, array.flat)))):
        array = array.astype(np.float64)
    if array.dtype.kind not in "iuf":
        _refuse_missing(array, what)
        raise ValueError(f"{what}: saw {type(values).__name__} of type {array.dtype}; real numbers are needed")
    return array


def probabilities(values: Any, what: str) -> np.ndarray:
    """A table of probabilities as a new float64 array.

    Rows whose sum is 1 up to the rounding of their own type, such as a softmax in float32, are divided by their sum.
    All other rows stay unchanged; the caller refuses them.

    Raises:
        ValueError: as ``reals``.
    """
    array = reals(values, what)
    table = np.array(array, dtype=np.float64, order="C")
    if table.ndim == 0 or table.size == 0:
        return table
    sums = table.sum(axis=-1, keepdims=True)
    off = np.abs(sums - 1).max()
    if ROUNDING < off < max(SUM_TOLERANCE, _MAX_STEPS * _epsilon(values, array)):  # an exact table stays bit for bit
        table /= sums
    return table


def _epsilon(values: Any, array: np.ndarray) -> float:
    """Machine epsilon of the type of ``values``; 0 for integers."""
    if _is_tensor(values) and values.is_floating_point():
        return sys.modules["torch"].finfo(values.dtype).eps  # ``array`` is float32 where ``values`` is bfloat16
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0


def _array(values: Any, what: str, level: int = 0) -> np.ndarray:
    """``values`` as a numpy array of their own type."""
    if _is_tensor(values):
        return _of_tensor(values, what)
    if _is_pandas(values):
        return _of_pandas(values, what)
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            raise ValueError(f"{what}: saw {np.ma.count_masked(values)} masked values; {_HIDDEN}")
        return values.data
    if isinstance(values, list | tuple):
        return _of_list(values, what, level + 1)
    return np.asarray(values)


def _of_list(values: list | tuple, what: str, level: int) -> np.ndarray:
    """Convert row by row: numpy drops the masks of rows in a list, and takes a boolean among numbers for a number."""
    if level > _MAX_LEVELS:
        raise ValueError(f"{what}: saw lists within lists beyond {_MAX_LEVELS} levels; an array has fewer axes")
    types = set(map(type, values))
    if any(map(_is_container, types)):
        try:
            return np.stack([_array(part, what, level) for part in values])
        except ValueError as error:
            if str(error).startswith(f"{what}: "):
                raise
            raise ValueError(f"{what}: saw rows of unequal lengths in {short_repr(values)}") from None
    if types & {bool, np.bool_}:
        raise ValueError(f"{what}: saw a boolean in {short_repr(values)}; numbers are needed")
    return np.array(values)


def _is_container(kind: type) -> bool:
    return issubclass(kind, (list, tuple, np.ndarray, *_tensors(), *_pandas()))


def _of_tensor(values: torch.Tensor, what: str) -> np.ndarray:
    _refuse_unusual_tensor(values, what)
    torch = sys.modules["torch"]
    narrow = values.is_floating_point() and values.dtype not in (torch.float16, torch.float32, torch.float64)
    return (values.float() if narrow else values).numpy(force=True)  # numpy has no bfloat16


def _refuse_unusual_tensor(values: torch.Tensor, what: str) -> None:
    if hasattr(values, "get_mask"):
        raise ValueError(f"{what}: saw a masked tensor; {_HIDDEN}")
    if values.is_nested or values.layout != sys.modules["torch"].strided or values.is_meta:
        raise ValueError(f"{what}: saw a tensor of layout {values.layout} on {values.device}; a dense one is needed")


def _of_pandas(values: Any, what: str) -> np.ndarray:
    """Convert a frame column by column: together, columns of pandas' nullable types would become objects."""
    if values.ndim == 2:
        columns = [_of_pandas(values.iloc[:, i], what) for i in range(values.shape[1])]
        return np.stack(columns, axis=1) if columns else np.empty(values.shape)
    if values.isna().any():
        raise ValueError(f"{what}: saw {int(values.isna().sum())} missing values (NA); {_HIDDEN}")
    if isinstance(values.dtype, np.dtype):
        return values.to_numpy()
    return values.to_numpy(dtype=getattr(values.dtype, "numpy_dtype", None))


def _integral(array: np.ndarray, values: Any, what: str) -> np.ndarray:
    if array.dtype == object and array.size and all(map(_is_integer, set(map(type, array.flat)))):
        return array
    if array.dtype.kind not in "iu":
        _refuse_missing(array, what)
        raise ValueError(f"{what}: saw {type(values).__name__} of type {array.dtype}; integers are needed")
    return array


def _is_integer(kind: type) -> bool:
    return issubclass(kind, Integral) and not issubclass(kind, bool)


def _is_real(kind: type) -> bool:
    return issubclass(kind, Real) and not issubclass(kind, bool)


def _refuse_missing(array: np.ndarray, what: str) -> None:
    """Refuse missing values in an array of objects; None without an array around it has its own message."""
    for value in array.flat if array.dtype == object and array.ndim else ():
        if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
            raise ValueError(f"{what}: saw a missing value ({value}); {_HIDDEN}")
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"{what}: saw a missing value (nan); {_HIDDEN}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_tensor(values: Any) -> bool:
    return isinstance(values, _tensors())


def _tensors() -> tuple[type, ...]:
    """torch's tensor type if torch is imported already; otherwise no value can be a tensor."""
    torch = sys.modules.get("torch")
    return () if torch is None else (torch.Tensor,)


def _is_pandas(values: Any) -> bool:
    return isinstance(values, _pandas())


def _pandas() -> tuple[type, ...]:
    """pandas' types of frames and sequences if pandas is imported already."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return ()
    return (pandas.DataFrame, pandas.Series, pandas.Index, pandas.api.extensions.ExtensionArray)
