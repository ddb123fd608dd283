"""Exploration noise, in units of the half-range: `init(n, action_size) -> state`, `sample(state, key, first) -> offset, state`.

`first[N]` is 1 for environments whose episode has just begun; that is where a noise with memory starts afresh.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp


class NoiseState(NamedTuple):
    """offset[N, A]: the noise last added (its shape is what `sample` draws), episode[N]: episodes begun before this one."""

    offset: jax.Array
    episode: jax.Array


def init(n: int, action_size: int) -> NoiseState:
    """The state before the first action of n environments."""
    # -1, because `sample` counts an episode when it begins.
    return NoiseState(jnp.zeros((n, action_size)), jnp.full((n,), -1, jnp.int32))


@dataclass(frozen=True)
class Gaussian:
    """Independent N(0, sigma^2) at every step; TD3's authors found it as good as correlated noise (1802.09477, 6.1)."""

    sigma: float

    def sample(self, state: NoiseState, key, first):
        offset = self.sigma * jax.random.normal(key, state.offset.shape, state.offset.dtype)
        return offset, NoiseState(offset, state.episode + first.astype(jnp.int32))


@dataclass(frozen=True)
class OrnsteinUhlenbeck:
    """Noise that drifts: dx = -theta x dt + sigma dW, x = 0 at episode starts (DDPG paper, section 7).

    The step is exact for any dt: x' = e^(-theta dt) x + sigma sqrt((1 - e^(-2 theta dt)) / (2 theta)) N(0, 1).
    The paper's theta 0.15 and sigma 0.2 are per step, that is dt = 1; the stationary sd is sigma / sqrt(2 theta).
    """

    sigma: float
    theta: float = 0.15
    dt: float = 1.0

    def sample(self, state: NoiseState, key, first):
        decay = math.exp(-self.theta * self.dt)
        spread = self.sigma * math.sqrt((1 - decay**2) / (2 * self.theta))
        before = state.offset * (1 - first)[:, None]
        offset = decay * before + spread * jax.random.normal(key, before.shape, before.dtype)
        return offset, NoiseState(offset, state.episode + first.astype(jnp.int32))


@dataclass(frozen=True)
class EpisodeDecay:
    """The 2017 tutorial's offset: 1/(1 + episode) in environment units, always positive, so it biases rather than explores.

    half[A]: half the action range per dimension, in environment units.
    """

    half: tuple[float, ...]

    def sample(self, state: NoiseState, key, first):
        del key
        episode = state.episode + first.astype(jnp.int32)
        offset = 1 / (1 + episode)[:, None] / jnp.asarray(self.half, state.offset.dtype)
        return offset, NoiseState(offset, episode)
