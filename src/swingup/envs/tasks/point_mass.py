"""A point mass in the plane that must come to rest at the origin: the smallest task with two actions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.envs.api import Outcome
from swingup.envs.tasks.canvas import BLUE, GOLD, GREEN, GREY, INK, SHADE, Canvas
from swingup.types import Spec

STEP = 0.05  # s
MAX_PUSH = 1.0  # m/s², along each axis
WALL = 1.5  # m from the origin, along each axis
START = 1.0  # m from the origin, along each axis

SPEC = Spec("native/PointMass-v0", (4,), (2,), "float32", (-MAX_PUSH,) * 2, (MAX_PUSH,) * 2)


class State(NamedTuple):
    """position[2] in m; speed[2] in m/s; push[2]: the last one, in m/s², for the picture."""

    position: Any
    speed: Any
    push: Any


def moved(position: Any, speed: Any, push: Any) -> tuple[Any, Any]:
    """Position and speed, each [2], after a step with a push; walls stop the point along their axis."""
    speed = speed + push * STEP
    position = position + speed * STEP
    return jnp.clip(position, -WALL, WALL), jnp.where(jnp.abs(position) >= WALL, 0, speed)


@dataclass(frozen=True)
class PointMass:
    """Observation (position, speed); action: the acceleration along both axes.

    The reward, -(|position|² + 0.1 |speed|² + 0.01 |push|²), is that of the state after the step. A double
    integrator: only the push slows the point, and walls at 1.5 m stop it. Nothing terminates; an episode
    starts at rest, at most 1 m from the origin along each axis, and is truncated after 100 steps, 5 s.
    Returns over 1,000 episodes: the best linear regulator -9.7, doing nothing -68, noise -97.
    """

    spec: Spec = SPEC
    limit: int | None = 100

    def reset(self, key: Any) -> tuple[State, Any]:
        position = jax.random.uniform(key, (2,), jnp.float32, -START, START)
        rest = jnp.zeros_like(position)
        return State(position, rest, rest), jnp.concat([position, rest])

    def step(self, state: State, action: Any) -> tuple[State, Outcome]:
        push = self.spec.to_env(action)
        position, speed = moved(state.position, state.speed, push)
        reward = -((position**2).sum() + 0.1 * (speed**2).sum() + 0.01 * (push**2).sum())
        return State(position, speed, push), Outcome(
            jnp.concat([position, speed]), reward, jnp.zeros((), bool)
        )

    def frame(self, state: State) -> np.ndarray:
        at, push = np.asarray(state.position, float), np.asarray(state.push, float)
        canvas = backdrop().copy()
        canvas.disc(at + np.array([0.02, -0.03]), 0.085, INK, soft=14, opacity=0.3)
        canvas.arrow(at, at + 0.5 * push, 0.03, GOLD)
        canvas.disc(at, 0.08, BLUE)
        return canvas.image()


@cache
def backdrop() -> Canvas:
    """The static part of the picture: a grid of half metres, the walls and the goal."""
    canvas = Canvas(400, 400, 400 / 3.4)
    for k in np.arange(-WALL, WALL + 0.1, 0.5):
        canvas.rod((k, -WALL), (k, WALL), 0.004, SHADE)
        canvas.rod((-WALL, k), (WALL, k), 0.004, SHADE)
    for a in (-WALL, WALL):
        canvas.rod((a, -WALL), (a, WALL), 0.015, GREY)
        canvas.rod((-WALL, a), (WALL, a), 0.015, GREY)
    for radius in (0.09, 0.17):
        canvas.ring((0, 0), radius, 0.022, GREEN)
    return canvas
