"""Uniform replay: a ring of rows in order of time. Adding and sampling cost the same at any capacity."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from swingup.types import Layout, Transition


class Replay(NamedTuple):
    """rows[C, N, W]: C time steps, the oldest overwritten first; added[]: time steps ever added."""

    rows: jax.Array
    added: jax.Array


def init(capacity: int, n: int, width: int, block: int = 1) -> Replay:
    """Empty replay for at least `capacity` transitions of n environments, added `block` steps at once."""
    return Replay(jnp.zeros((-(-capacity // (n * block)) * block, n, width)), jnp.int32(0))


def size(replay: Replay):
    """How many transitions can be sampled."""
    c, n, _ = replay.rows.shape
    return jnp.minimum(replay.added, c) * n


def clear(replay: Replay) -> Replay:
    """The same replay, empty."""
    return replay._replace(added=jnp.zeros_like(replay.added))


def truncate(layout: Layout, replay: Replay, where=True) -> Replay:
    """The same replay, the newest transitions of the environments in where[N] marked as an episode's last."""
    newest = (replay.added - 1) % replay.rows.shape[0]
    steps = layout.unpack(replay.rows[newest])
    marked = steps._replace(last=jnp.where(where & (replay.added > 0), 1, steps.last))
    return replay._replace(rows=replay.rows.at[newest].set(layout.pack(marked)))


def add(replay: Replay, rows) -> Replay:
    """Write rows[K, N, W]; K must divide the ring's length C, so that a block never wraps (else ValueError).

    In place if the caller donates the replay or carries it in a scan; otherwise the whole ring is copied.
    """
    c, k = replay.rows.shape[0], rows.shape[0]
    if c % k:
        raise ValueError(
            f"replay_buffer.add: {k} time steps do not divide the ring's {c}; "
            f"make the capacity a multiple of {k}"
        )
    at = (replay.added % c, 0, 0)
    return Replay(
        jax.lax.dynamic_update_slice(replay.rows, rows.astype(replay.rows.dtype), at), replay.added + k
    )


def sample_indices(replay: Replay, key, shape: tuple[int, ...], n_step: int = 1):
    """Indices[*shape], uniform with replacement over transitions whose n_step - 1 successors are held too.

    An index is time * N + environment, where time is the row's position in the ring.
    """
    c, n, _ = replay.rows.shape
    held = jnp.minimum(replay.added, c)
    pick = jax.random.randint(key, shape, 0, jnp.maximum(held - n_step + 1, 1) * n)
    # From age (0 is the oldest) to position; until the ring is full, the oldest is at 0.
    return (pick + (replay.added - held) % c * n) % (c * n)


def gather(replay: Replay, index, n_step: int = 1):
    """The rows at index[*] and their successors in time, in the same environment: rows[*, n_step, W]."""
    c, n, width = replay.rows.shape
    indices = (index[..., None] + n * jnp.arange(n_step)) % (c * n)
    return replay.rows.reshape(-1, width)[indices]


def sample(replay: Replay, key, shape: tuple[int, ...], n_step: int = 1):
    """Rows[*shape, n_step, W], uniform with replacement; the ring must hold at least n_step time steps."""
    return gather(replay, sample_indices(replay, key, shape, n_step), n_step)


def still_going(last):
    """1 for each of the steps last[*, n] up to and including the one that ends the episode, 0 after it."""
    return jnp.cumprod(jnp.concatenate([jnp.ones_like(last[..., :1]), 1 - last[..., :-1]], -1), -1)


def n_step_batch(layout: Layout, rows, gamma: float, reward_scale: float | None = None) -> Transition:
    """Sampled rows[*, n, W] as a batch[*], with n rewards summed; the only place where gamma is applied.

    reward = sum of gamma^k r_k up to the episode's end or n steps; discount = gamma^m (0 if the episode
    terminated) for the m steps summed; next_obs is the observation after the last of them.
    """
    steps = layout.unpack(rows)
    n, going = rows.shape[-2], still_going(steps.last)
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
