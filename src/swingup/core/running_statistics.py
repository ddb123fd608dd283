"""Running mean and variance of observations, part of the learner's state: normalisation that is saved, frozen and shipped. NumPy or JAX alike."""

from __future__ import annotations

from typing import NamedTuple

from swingup.types import Array

# Normalised observations are cut here: a value never seen while the statistics were young cannot blow up a network.
LIMIT = 10.0


class Moments(NamedTuple):
    """total[], mean[O] and the sum of squared deviations m2[O] of all observations so far."""

    total: Array
    mean: Array
    m2: Array


def init(size: int) -> Moments:
    """No observations yet; normalising with these changes nothing but the cut."""
    import jax.numpy as jnp

    return Moments(jnp.zeros(()), jnp.zeros(size), jnp.zeros(size))


def add(moments: Moments, obs) -> Moments:
    """Take note of obs[*, O], all at once (Chan's parallel update: as exact for a million as for ten)."""
    xp = obs.__array_namespace__()
    obs = obs.reshape(-1, obs.shape[-1])
    n, mean = obs.shape[0], xp.mean(obs, axis=0)
    count = moments.total + n
    delta = mean - moments.mean
    m2 = moments.m2 + xp.sum(xp.square(obs - mean), axis=0) + xp.square(delta) * moments.total * n / count
    return Moments(count, moments.mean + delta * n / count, m2)


def normalize(moments: Moments, obs):
    """obs[*, O] with mean 0 and variance 1 under the statistics so far, cut at LIMIT. NumPy in, NumPy out."""
    xp = obs.__array_namespace__()
    seen = moments.total > 1
    variance = xp.where(seen, moments.m2 / xp.maximum(moments.total, 1), 1)
    return xp.clip((obs - moments.mean) / xp.sqrt(variance + 1e-8), -LIMIT, LIMIT)
