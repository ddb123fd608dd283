"""Gymnasium's MountainCarContinuous-v0 in JAX: a car in a valley, its engine weaker than the slope."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.envs.api import Outcome
from swingup.envs.tasks.canvas import BLUE, GREEN, GREY, INK, RED, Canvas
from swingup.types import Spec

LEFT, RIGHT, GOAL = -1.2, 0.6, 0.45  # positions; LEFT is a wall
MAX_SPEED = 0.07  # per step
POWER, SLOPE = 0.0015, 0.0025  # per step²

SPEC = Spec("native/MountainCarContinuous-v0", (2,), (1,), "float32", (-1.0,), (1.0,))


class State(NamedTuple):
    """position[]; speed[] in units of position per step."""

    position: Any
    speed: Any


@dataclass(frozen=True)
class MountainCar:
    """Observation (position, speed); action: the force; reward 100 at the goal, minus 0.1 force² per step.

    An episode starts at rest near the valley's bottom and terminates at the goal, unless the car moves
    backwards there. Source: Gymnasium, classic_control, MountainCarContinuous-v0.
    """

    spec: Spec = SPEC
    limit: int | None = 999

    def reset(self, key: Any) -> tuple[State, Any]:
        position = jax.random.uniform(key, (), jnp.float32, -0.6, -0.4)
        state = State(position, jnp.zeros_like(position))
        return state, jnp.stack(state)

    def step(self, state: State, action: Any) -> tuple[State, Outcome]:
        force = self.spec.to_env(action)[0]
        speed = jnp.clip(
            state.speed + (force * POWER - SLOPE * jnp.cos(3 * state.position)), -MAX_SPEED, MAX_SPEED
        )
        position = jnp.clip(state.position + speed, LEFT, RIGHT)
        speed = jnp.where(position <= LEFT, jnp.maximum(speed, 0), speed)
        there = (position >= GOAL) & (speed >= 0)
        state = State(position, speed)
        return state, Outcome(jnp.stack(state), jnp.where(there, 100.0, 0.0) - 0.1 * force**2, there)

    def frame(self, state: State) -> np.ndarray:
        x = float(state.position)
        slope = np.arctan(slant(x))
        along, up = np.array([np.cos(slope), np.sin(slope)]), np.array([-np.sin(slope), np.cos(slope)])
        place = lambda a, b: (x, height(x)) + a * along + b * up
        canvas = backdrop().copy()
        canvas.rod(place(-0.07, 0.01), place(0.07, 0.01), 0.012, INK, soft=10, opacity=0.3)
        canvas.polygon(
            [place(*p) for p in ((-0.055, 0.075), (0.04, 0.075), (0.02, 0.115), (-0.04, 0.115))], BLUE
        )
        canvas.polygon(
            [place(*p) for p in ((-0.036, 0.078), (0.023, 0.078), (0.011, 0.105), (-0.031, 0.105))],
            (214, 232, 245),
        )
        canvas.rod(place(-0.065, 0.055), place(0.065, 0.055), 0.022, BLUE)
        for wheel in (-0.045, 0.045):
            canvas.disc(place(wheel, 0.028), 0.028, INK)
            canvas.disc(place(wheel, 0.028), 0.012, GREY)
        return canvas.image()


def height(x: Any) -> Any:
    """The hill's height at x, in units of position; used for the picture only."""
    return 0.45 * np.sin(3 * x) + 0.55


def slant(x: Any) -> Any:
    """The derivative of `height` at x."""
    return 1.35 * np.cos(3 * x)


@cache
def backdrop() -> Canvas:
    """The static part of the picture: the sky, the hill and the flag."""
    canvas = Canvas(600, 400, 600 / 1.86, ((LEFT + RIGHT) / 2, 0.58))
    canvas.pixels[:] = np.linspace((196, 220, 240), (250, 246, 238), 400)[:, None]
    everywhere = (-9, -9, 9, 9)
    canvas.paint(
        lambda x, y: y - 0.35 - 0.12 * np.sin(4 * x + 1) - 0.05 * np.sin(9 * x),
        everywhere,
        (178, 202, 196),
        soft=2,
    )
    canvas.rod((GOAL, height(GOAL)), (GOAL, height(GOAL) + 0.17), 0.005, INK)
    canvas.polygon(
        [(GOAL, height(GOAL) + 0.1), (GOAL + 0.1, height(GOAL) + 0.135), (GOAL, height(GOAL) + 0.17)], RED
    )
    # Divided by the slope's length, the vertical distance is the distance to the curve.
    edge = lambda x, y: (y - height(x)) / np.hypot(1, slant(x))
    canvas.paint(edge, everywhere, GREEN)
    canvas.paint(lambda x, y: edge(x, y) + 0.02, everywhere, (126, 104, 82))
    canvas.paint(lambda x, y: edge(x, y) + 0.2, everywhere, (104, 84, 66), soft=60, opacity=0.6)
    return canvas
