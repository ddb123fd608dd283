"""Running mean and variance of observations, in NumPy or JAX.

They are part of the learner's state, saved in checkpoints, and frozen in a deployed policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from swingup.types import Array


# Normalised observations are clipped here: values far outside early statistics would make outputs huge.
LIMIT = 10.0


class RunningStatistics(NamedTuple):
    """total[], mean[O] and the sum of squared deviations m2[O] of all observations so far."""

    total: Array
    mean: Array
    m2: Array


def init(size: int) -> RunningStatistics:
    """Statistics of no observations; normalising with them only clips."""
    import jax.numpy as jnp

    return RunningStatistics(jnp.zeros(()), jnp.zeros(size), jnp.zeros(size))


def add(statistics: RunningStatistics, obs) -> RunningStatistics:
    """The statistics with obs[*, O] included (Chan's parallel update: as exact for a million as for ten)."""
    xp = obs.__array_namespace__()
    obs = obs.reshape(-1, obs.shape[-1])
    n, mean = obs.shape[0], xp.mean(obs, axis=0)
    count = statistics.total + n
    delta = mean - statistics.mean
    m2 = (
        statistics.m2
        + xp.sum(xp.square(obs - mean), axis=0)
        + xp.square(delta) * statistics.total * n / count
    )
    return RunningStatistics(count, statistics.mean + delta * n / count, m2)


def normalize(statistics: RunningStatistics, obs):
    """obs[*, O] with mean 0 and variance 1 under the statistics, clipped at +-LIMIT. NumPy in, NumPy out."""
    xp = obs.__array_namespace__()
    seen = statistics.total > 1
    variance = xp.where(seen, statistics.m2 / xp.maximum(statistics.total, 1), 1)
    return xp.clip((obs - statistics.mean) / xp.sqrt(variance + 1e-8), -LIMIT, LIMIT)
