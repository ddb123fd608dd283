"""Uniform replay: a ring of packed rows, in time. The cost of adding and sampling does not grow with the capacity."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from swingup.types import Layout, Transition


class Replay(NamedTuple):
    """rows[C, N, W]: C times N packed transitions, oldest overwritten first; head[]: time steps ever added."""

    rows: jax.Array
    head: jax.Array


def init(capacity: int, n: int, width: int) -> Replay:
    """An empty ring for `capacity` transitions (rounded up to a multiple of n) of n environments."""
    return Replay(jnp.zeros((-(-capacity // n), n, width)), jnp.int32(0))


def size(replay: Replay):
    """How many transitions can be sampled."""
    c, n, _ = replay.rows.shape
    return jnp.minimum(replay.head, c) * n


def clear(replay: Replay) -> Replay:
    """The same ring, empty."""
    return replay._replace(head=jnp.zeros_like(replay.head))


def add(replay: Replay, rows) -> Replay:
    """Write rows[K, N, W]; K must divide the ring's length, so that a block never wraps.

    In place when the caller donates the replay (or carries it in a scan): an undonated call copies the whole ring.
    """
    c, k = replay.rows.shape[0], rows.shape[0]
    if c % k:
        raise ValueError(f"replay.add: {k} time steps do not divide the ring's {c}; make the capacity a multiple of {k}")
    at = (replay.head % c, 0, 0)
    return Replay(jax.lax.dynamic_update_slice(replay.rows, rows.astype(replay.rows.dtype), at), replay.head + k)


def sample(replay: Replay, key, shape: tuple[int, ...]):
    """Rows[*shape, W], uniform with replacement over what the ring holds; it must hold something."""
    index = jax.random.randint(key, shape, 0, size(replay))
    return replay.rows.reshape(-1, replay.rows.shape[-1])[index]


def fold(layout: Layout, rows, gamma: float) -> Transition:
    """Sampled rows as a batch, gamma multiplied into the discount: the only place where gamma appears."""
    batch = layout.unpack(rows)
    return batch._replace(discount=gamma * batch.discount)
