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


def init(capacity: int, n: int, width: int, block: int = 1) -> Replay:
    """An empty ring for at least `capacity` transitions of n environments, added `block` time steps at once."""
    return Replay(jnp.zeros((-(-capacity // (n * block)) * block, n, width)), jnp.int32(0))


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


def draw(replay: Replay, key, shape: tuple[int, ...], n_step: int = 1):
    """Places[*shape] of transitions, uniform with replacement over those whose n_step - 1 successors are held too.

    A place is time * N + environment, time being the row's position in the ring.
    """
    c, n, _ = replay.rows.shape
    held = jnp.minimum(replay.head, c)
    pick = jax.random.randint(key, shape, 0, jnp.maximum(held - n_step + 1, 1) * n)
    # From age (0 is the oldest) to position; while the ring is not full the oldest is at 0.
    return (pick + (replay.head - held) % c * n) % (c * n)


def take(replay: Replay, place, n_step: int = 1):
    """The rows at place[*] and their successors in time, in the same environment: rows[*, n_step, W]."""
    c, n, width = replay.rows.shape
    places = (place[..., None] + n * jnp.arange(n_step)) % (c * n)
    return replay.rows.reshape(-1, width)[places]


def sample(replay: Replay, key, shape: tuple[int, ...], n_step: int = 1):
    """Rows[*shape, n_step, W], uniform with replacement over what the ring holds; it must hold something."""
    return take(replay, draw(replay, key, shape, n_step), n_step)


def fold(layout: Layout, rows, gamma: float, reward_scale: float | None = None) -> Transition:
    """Sampled rows[*, n, W] as a batch: n rewards summed, gamma multiplied in; the only place where gamma appears.

    reward = sum of gamma^k r_k up to the episode's end or n; discount = gamma^m (0 after a terminal state) for the m
    steps summed; next_obs follows the last of them.
    """
    steps = layout.unpack(rows)
    n = rows.shape[-2]
    # 1 up to and including the step that ends the episode, 0 after it.
    going = jnp.cumprod(jnp.concatenate([jnp.ones_like(steps.last[..., :1]), 1 - steps.last[..., :-1]], -1), -1)
    powers = gamma ** jnp.arange(n, dtype=rows.dtype)
    reward = jnp.sum(going * powers * steps.reward, -1)
    m = jnp.sum(going, -1).astype(jnp.int32) - 1
    final = jnp.take_along_axis(rows, m[..., None, None], -2)[..., 0, :]
    end, start = layout.unpack(final), layout.unpack(rows[..., 0, :])
    return Transition(
        obs=start.obs,
        action=start.action,
        reward=reward if reward_scale is None else reward_scale * reward,
        discount=gamma * powers[m] * end.discount,
        next_obs=end.next_obs,
        last=end.last,
    )
