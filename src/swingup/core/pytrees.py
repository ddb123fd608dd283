"""Pytree helpers: the moving average of weights, named key streams, and a cheap finiteness check."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from swingup.errors import InputError

# One number per consumer of randomness. A key is a pure function of (seed, stream, iteration), so a resumed run has
# nothing to restore and two consumers never share a draw. Never renumber: that changes every result.
STREAMS = {"init": 0, "sample": 1, "act": 2, "warmup": 3, "smooth": 4}


def ema(average, value, rate):
    """Move `average` towards `value` by `rate`, leaf by leaf: Polyak averaging (DDPG paper, algorithm 1, last line)."""
    return jax.tree.map(lambda a, v: a + rate * (v - a), average, value)


def stream(key, name, iteration=0):
    """The key of one consumer at one iteration: `fold_in(fold_in(key, STREAMS[name]), iteration)`."""
    return jax.random.fold_in(jax.random.fold_in(key, STREAMS[name]), iteration)


def finite(tree):
    """Whether every element of every leaf is finite, as a scalar bool.

    Matrices are summed by a product with ones: XLA's CPU reduction is a serial chain of additions and cost 250 us for
    two 400-300 networks, the product costs less than can be measured.
    """

    def total(x):
        rows = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x[None]
        return jnp.sum(jnp.ones((1, rows.shape[0]), x.dtype) @ rows)

    return jnp.isfinite(sum(total(x) for x in jax.tree.leaves(tree)))


def keep_if(condition, tree):
    """`tree` where `condition` holds, zeros elsewhere."""
    return jax.tree.map(lambda x: jnp.where(condition, x, 0), tree)


def own(tree: Any) -> Any:
    """A copy on the device."""
    return jax.tree.map(jnp.array, tree)


def named(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a state as NumPy arrays by their path."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def fill(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A state like `tree` with the values of `named`; InputError where names, shapes or types differ."""
    leaves, form = jax.tree_util.tree_flatten_with_path(tree)
    want = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    odd = sorted(want.keys() ^ arrays.keys())
    odd += [k for k in want.keys() & arrays.keys() if (want[k].shape, want[k].dtype) != (arrays[k].shape, arrays[k].dtype)]
    if odd:
        raise InputError(f"checkpoint: {odd[0]} does not fit this run's settings; resume with the settings that it was made with")
    return jax.tree.unflatten(form, [jnp.array(arrays[k]) for k in want])
