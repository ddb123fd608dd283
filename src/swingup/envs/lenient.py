"""Rewards, flags and observations in another form than declared, where their meaning is beyond doubt.

Each function returns the value as the declared form would be, to the last bit, or None if there is a doubt.
They are called only where the strict check has failed.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np


def as_array(value: Any) -> np.ndarray | None:
    """A plain NumPy array of the numbers in an array of any library; None if it is no array of numbers."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        return None
    if isinstance(value, np.generic) or not hasattr(value, "__array__"):
        return None
    try:
        array = np.asarray(value)
    except Exception:  # other libraries' arrays raise what they like, for example on another device
        return None
    return array if array.dtype.kind in "biuf" else None


def reward(value: Any) -> float | int | None:
    """The number in an array of size one."""
    array = as_array(value)
    return None if array is None or array.size != 1 or array.dtype.kind == "b" else array.item()


def flag(value: Any) -> bool | None:
    """0 or 1, or an array without axes that holds a truth value, 0 or 1, as a bool."""
    array = as_array(value)
    if array is not None:
        value = array.item() if array.ndim == 0 else None
    return bool(value) if isinstance(value, (bool, numbers.Real)) and value in (0, 1) else None


def observation(value: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """An array of this shape and dtype, from a list or an array of another class or precision.

    Integers are not taken for real numbers, except in a list: an array of them is mostly a state whose
    fractions were lost.
    """
    array, listed = as_array(value), isinstance(value, (list, tuple)) or np.isscalar(value)
    if array is None and listed:
        try:
            array = np.asarray(value)
        except ValueError:  # lists of several lengths
            return None
    if array is None or array.shape != shape:
        return None
    kind, wanted = array.dtype.kind, dtype.kind
    same_kind = (kind in "iu" and wanted in "iu") or kind == wanted
    if not same_kind and not (listed and kind in "iu" and wanted == "f"):
        return None
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which is then refused
        cast = array.astype(dtype)
    return cast if wanted == "f" or (cast == array).all() else None
