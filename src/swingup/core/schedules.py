"""Schedules of numbers that change during training: learning rates and the strength of noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Linear:
    """A number (or one per dimension) that goes linearly from `start` to `end` over `counts`, then stays."""

    start: float | tuple[float, ...]
    end: float | tuple[float, ...]
    counts: int

    def __call__(self, count: Any) -> Any:
        """The value at `count`."""
        start, end = vector(self.start), vector(self.end)
        return start + (end - start) * jnp.minimum(count / self.counts, 1)


Strength = float | tuple[float, ...] | Linear


def at(strength: Strength, count: Any) -> Any:
    """The number (or one per dimension) at `count`."""
    return strength(count) if callable(strength) else vector(strength)


def vector(x: float | tuple[float, ...]) -> Any:
    """A tuple as a float32 array; a number unchanged, as it takes the other operand's precision."""
    return np.asarray(x, np.float32) if isinstance(x, tuple) else x
