"""Heads, the meaning of a critic's last layer: one number (`Scalar`) or a distribution (`Categorical`, D4PG).

A head has `size` (the critic's outputs, None for a bare number), `value(out) -> q[]`,
`target(out, reward, discount)` and `loss(out, target)`, all for one sample; callers `vmap`.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Scalar:
    """The expected return, regressed on its one- or n-step target (DDPG paper, equation 4)."""

    size = None

    def value(self, out):
        """The output itself, q[]."""
        return out

    def target(self, out, reward, discount):
        """The bootstrapped return, []."""
        return reward + discount * out

    def loss(self, out, target):
        """The squared error, []."""
        return jnp.square(out - target)


@dataclass(frozen=True)
class Categorical:
    """The distribution of the return over Z = `atoms` equally spaced values from `low` to `high`.

    Returns beyond the ends are counted at the ends, so the range must cover the task's returns (C51,
    1707.06887; D4PG, 1804.08617).
    """

    low: float
    high: float
    atoms: int = 51

    @property
    def size(self) -> int:
        """The critic's outputs, the logits of Z atoms."""
        return self.atoms

    @property
    def support(self):
        """The values of the atoms, [Z]."""
        return np.linspace(self.low, self.high, self.atoms, dtype=jnp.result_type(float))

    def value(self, out):
        """The mean of the distribution whose logits are out[*, Z]; NumPy or JAX."""
        xp = out.__array_namespace__()
        weight = xp.exp(out - xp.max(out, axis=-1, keepdims=True))
        return weight @ xp.asarray(self.support, dtype=out.dtype) / xp.sum(weight, axis=-1)

    def target(self, out, reward, discount):
        """The probabilities[Z] of the bootstrapped return, projected on the atoms."""
        return self.project(jax.nn.softmax(out), reward + discount * self.support)

    def loss(self, out, target):
        """The cross-entropy of logits out[Z] to probabilities target[Z], []."""
        return -jnp.dot(target, jax.nn.log_softmax(out))

    def project(self, probabilities, values):
        """Probabilities[Z] of arbitrary values[Z], divided between each value's two nearest atoms.

        Mass is kept, and so is the mean where values lie in the range. An atom's share of a value falls
        linearly from 1 at the atom to 0 at its neighbours (C51, algorithm 1, without its loop).
        """
        gap = (self.high - self.low) / (self.atoms - 1)
        distance = jnp.abs(jnp.clip(values, self.low, self.high)[None, :] - self.support[:, None])
        return jnp.clip(1 - distance / gap, 0, 1) @ probabilities
