"""Conversion of a state (a pytree) to the named arrays that a checkpoint holds, and back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swingup.errors import InputError


def flatten_named(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a state as NumPy arrays, named by their path."""
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def unflatten_named(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A state like `tree` with the values of `arrays`; InputError if names, shapes or types differ."""
    leaves, form = jax.tree_util.tree_flatten_with_path(tree)
    want = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    odd = sorted(want.keys() ^ arrays.keys())
    odd += [
        k
        for k in want.keys() & arrays.keys()
        if (want[k].shape, want[k].dtype) != (arrays[k].shape, arrays[k].dtype)
    ]
    if odd:
        raise InputError(
            f"checkpoint: {odd[0]} does not fit this run's settings; "
            "resume with the settings that it was made with"
        )
    return jax.tree.unflatten(form, [jnp.array(arrays[k]) for k in want])


def same_shapes(
    saved: dict[str, np.ndarray], now: dict[str, np.ndarray], growing: str | tuple[str, ...] = ()
) -> None:
    """ValueError if an array of `now` has another shape or dtype in `saved`, KeyError if it is missing there.

    growing: prefixes of the names of arrays whose first axis may have any length.
    """
    for name, array in now.items():
        cut = int(name.startswith(growing))
        found = saved[name]
        if (found.dtype, found.shape[cut:], found.ndim) != (array.dtype, array.shape[cut:], array.ndim):
            raise ValueError(f"{name} is {found.dtype}{list(found.shape)}")
