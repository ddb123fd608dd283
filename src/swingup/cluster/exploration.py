"""Exploration with NumPy, for workers that have no JAX: `core.noise`'s formulas on given random numbers.

The learner draws the random numbers and sends them, so they do not depend on who steps which environment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

F32 = np.float32


@dataclass(frozen=True)
class Exploration:
    """The noise of a run.

    kind: gaussian, ou, pink or decay; start, end, counts: its strength goes from start to end over so many
    samples and stays (counts 0: always start), each one number or one per action dimension; theta, dt,
    octaves, half: see `core.noise`.
    """

    kind: str
    action_size: int
    start: tuple[float, ...] = (0.0,)
    end: tuple[float, ...] = (0.0,)
    counts: int = 0
    theta: float = 0.15
    dt: float = 1.0
    octaves: int = 10
    half: tuple[float, ...] = ()

    @property
    def memory(self) -> tuple[int, ...]:
        """The shape of what an environment's noise remembers between steps."""
        return {"ou": (self.action_size,), "pink": (self.action_size, self.octaves)}.get(self.kind, (0,))

    @property
    def drawn(self) -> tuple[int, ...]:
        """The shape of the normal numbers that one step of one environment takes."""
        return {"decay": (0,), "gaussian": (self.action_size,)}.get(self.kind, self.memory)

    def strength(self, samples: int) -> np.ndarray:
        """The strength[A or 1] after so many samples."""
        start, end = np.array(self.start, F32), np.array(self.end, F32)
        return start + (end - start) * F32(min(samples / self.counts, 1)) if self.counts else start

    def offset(
        self, normal: np.ndarray, memory: np.ndarray, first: bool, episode: int, samples: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The noise[A] of one environment and its next memory.

        normal: its draws; first: whether an episode has just begun; episode: its number.
        """
        strength = self.strength(samples)
        if self.kind == "decay":
            return F32(1) / F32(1 + episode) / np.array(self.half, F32), memory
        if self.kind == "gaussian":
            return strength * normal, memory
        if self.kind == "ou":
            decay = math.exp(-self.theta * self.dt)
            spread = math.sqrt((1 - decay**2) / (2 * self.theta))
            memory = F32(decay) * (memory * F32(not first)) + F32(spread) * normal
            return strength * memory, memory
        decays = np.exp(F32(-2) / F32(2) ** np.arange(self.octaves, dtype=F32))
        memory = normal if first else decays * memory + np.sqrt(1 - decays**2) * normal
        return strength / F32(math.sqrt(self.octaves)) * memory.sum(-1), memory


def of_noise(noise: Any, action_size: int) -> Exploration:
    """The exploration that computes what a noise of `core.noise` does."""
    kinds = {"Gaussian": "gaussian", "OrnsteinUhlenbeck": "ou", "Pink": "pink", "EpisodeDecay": "decay"}
    kind = kinds[type(noise).__name__]
    if kind == "decay":
        return Exploration(kind, action_size, half=noise.half)
    sigma, more = noise.sigma, {}
    if callable(sigma):  # a schedules.Linear
        more = {"end": numbers(sigma.end), "counts": sigma.counts}
        sigma = sigma.start
    own = {k: getattr(noise, k) for k in ("theta", "dt", "octaves") if hasattr(noise, k)}
    return Exploration(kind, action_size, numbers(sigma), **more, **own)


def numbers(x: float | tuple[float, ...]) -> tuple[float, ...]:
    """One number or several, as a tuple."""
    return x if isinstance(x, tuple) else (x,)
