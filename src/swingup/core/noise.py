"""Exploration noise, added to actions in [-1, 1].

Every noise has `init(n, action_size) -> state` and `sample(state, key, first) -> offset[N, A], state`.
`first[N]` is 1 for environments whose episode has just started; there a noise with memory restarts. The
strength `sigma` is one number, one per action dimension, or a `Linear` of either over the samples taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from swingup.core.schedules import Strength, at


class NoiseState(NamedTuple):
    """The state of the noise of N environments.

    offset[N, A]: the noise last added; episode[N]: the number of each environment's episode; samples[]: how
    many were taken; memory: the noise's own state (or None).
    """

    offset: jax.Array
    episode: jax.Array
    samples: jax.Array
    memory: Any


def start(n: int, action_size: int, memory: Any = None) -> NoiseState:
    """The state before the first action of n environments."""
    # -1, because `sample` counts an episode when it starts.
    return NoiseState(jnp.zeros((n, action_size)), jnp.full((n,), -1, jnp.int32), jnp.int32(0), memory)


def moved(state: NoiseState, first, offset, memory: Any = None):
    """The result of `sample`: offset[N, A] and the next state."""
    return offset, NoiseState(offset, state.episode + first.astype(jnp.int32), state.samples + 1, memory)


@dataclass(frozen=True)
class Gaussian:
    """Independent N(0, sigma^2) at every step; as good as correlated noise for TD3 (1802.09477, 6.1)."""

    sigma: Strength

    def init(self, n: int, action_size: int) -> NoiseState:
        """The state before the first action; it has no memory."""
        return start(n, action_size)

    def sample(self, state: NoiseState, key, first):
        """An independent draw."""
        return moved(
            state,
            first,
            at(self.sigma, state.samples) * jax.random.normal(key, state.offset.shape, state.offset.dtype),
        )


@dataclass(frozen=True)
class OrnsteinUhlenbeck:
    """Correlated noise: dx = -theta x dt + sigma dW, x = 0 at episode starts (DDPG paper, section 7).

    Exact for any dt: x' = e^(-theta dt) x + sigma sqrt((1 - e^(-2 theta dt)) / (2 theta)) N(0, 1).
    The paper's theta 0.15 and sigma 0.2 are per step, so dt = 1; the stationary sd is sigma / sqrt(2 theta).
    memory[N, A] is x for sigma = 1, so that a changing sigma scales all of x.
    """

    sigma: Strength
    theta: float = 0.15
    dt: float = 1.0

    def init(self, n: int, action_size: int) -> NoiseState:
        """The state before the first action, with x = 0."""
        return start(n, action_size, jnp.zeros((n, action_size)))

    def sample(self, state: NoiseState, key, first):
        """One step of x, which is reset to 0 where first[N] is 1."""
        decay = math.exp(-self.theta * self.dt)
        spread = math.sqrt((1 - decay**2) / (2 * self.theta))
        before = state.memory * (1 - first)[:, None]
        memory = decay * before + spread * jax.random.normal(key, before.shape, before.dtype)
        return moved(state, first, at(self.sigma, state.samples) * memory, memory)


@dataclass(frozen=True)
class Pink:
    """Noise with a 1/f spectrum, between independent and OU noise; sd sigma (Eberhard et al., ICLR 2023).

    The sum of J = `octaves` autoregressive processes of equal variance, whose time constants double from half
    a step on. memory[N, A, J] holds them; an episode starts with a draw from their stationary distribution.
    """

    sigma: Strength
    octaves: int = 10

    def init(self, n: int, action_size: int) -> NoiseState:
        """The state before the first action."""
        return start(n, action_size, jnp.zeros((n, action_size, self.octaves)))

    def sample(self, state: NoiseState, key, first):
        """One step of all processes, which are drawn anew where first[N] is 1."""
        fresh = jax.random.normal(key, state.memory.shape, state.memory.dtype)
        decay = jnp.exp(-2.0 / 2.0 ** jnp.arange(self.octaves))
        memory = jnp.where(
            first[:, None, None] > 0, fresh, decay * state.memory + jnp.sqrt(1 - decay**2) * fresh
        )
        return moved(
            state,
            first,
            at(self.sigma, state.samples) / math.sqrt(self.octaves) * jnp.sum(memory, -1),
            memory,
        )


@dataclass(frozen=True)
class EpisodeDecay:
    """The 2017 tutorial's offset, 1/(1 + episode) in environment units: always positive, so it is a bias.

    half[A]: half the action range per dimension, in environment units.
    """

    half: tuple[float, ...]

    def init(self, n: int, action_size: int) -> NoiseState:
        """The state before the first action; it has no memory."""
        return start(n, action_size)

    def sample(self, state: NoiseState, key, first):
        """The offset of each environment's episode; nothing is drawn."""
        del key
        episode = state.episode + first.astype(jnp.int32)
        return moved(state, first, 1 / (1 + episode)[:, None] / jnp.asarray(self.half, state.offset.dtype))
