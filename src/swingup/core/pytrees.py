"""Helpers for pytrees: Polyak averaging, random keys by name, a cheap check for finite values, copies."""

from typing import Any

import jax
import jax.numpy as jnp

# One number per use of randomness. A key is a pure function of (seed, stream, iteration), so a resumed run
# has no key to restore and two uses never share a draw. Do not renumber: that changes every result.
STREAMS = {"init": 0, "sample": 1, "act": 2, "warmup": 3, "smooth": 4, "demos": 5}


def polyak_update(average, value, rate):
    """`average` moved towards `value` by `rate`: Polyak averaging (DDPG paper, algorithm 1, last line)."""
    return jax.tree.map(lambda a, v: a + rate * (v - a), average, value)


def stream(key, name, iteration=0):
    """The key of one use at one iteration: `fold_in(fold_in(key, STREAMS[name]), iteration)`."""
    return jax.random.fold_in(jax.random.fold_in(key, STREAMS[name]), iteration)


def finite(tree):
    """Whether every element of every leaf is finite, as a scalar bool.

    Matrices are summed by a product with ones: XLA's reduction on the CPU is a serial chain of additions and
    cost 250 us for two 400-300 networks; the product costs less than can be measured.
    """

    def total(x):
        rows = x.reshape(-1, x.shape[-1]) if x.ndim > 1 else x[None]
        return jnp.sum(jnp.ones((1, rows.shape[0]), x.dtype) @ rows)

    return jnp.isfinite(sum(total(x) for x in jax.tree.leaves(tree)))


def keep_if(condition, tree):
    """`tree` where `condition` holds, else zeros."""
    return jax.tree.map(lambda x: jnp.where(condition, x, 0), tree)


def device_copy(tree: Any) -> Any:
    """A copy of `tree` on the device."""
    return jax.tree.map(jnp.array, tree)
