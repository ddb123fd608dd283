"""Numbers that change while training goes on: step sizes and the strength of noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Linear:
    """A number (or one per dimension) that goes from `start` to `end` over so many counts, and stays there."""

    start: float | tuple[float, ...]
    end: float | tuple[float, ...]
    counts: int

    def __call__(self, count: Any) -> Any:
        start, end = vector(self.start), vector(self.end)
        return start + (end - start) * jnp.minimum(count / self.counts, 1)


Strength = float | tuple[float, ...] | Linear


def at(strength: Strength, count: Any) -> Any:
    """The number (or numbers) of now."""
    return strength(count) if callable(strength) else vector(strength)


def vector(x: float | tuple[float, ...]) -> Any:
    # A bare number stays one: unlike an array it takes the precision of what it meets.
    return np.asarray(x, np.float32) if isinstance(x, tuple) else x
