"""Gymnasium's Pendulum-v1 in JAX: swing a rod up and hold it, with a motor too weak to lift it at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.envs.api import Outcome
from swingup.envs.tasks.canvas import BLUE, GREY, INK, RED, SHADE, Canvas, on_circle
from swingup.types import Spec

GRAVITY = 10.0  # m/s²
MASS, LENGTH = 1.0, 1.0  # kg, m: a uniform rod that turns about its end
STEP = 0.05  # s
MAX_TORQUE, MAX_SPEED = 2.0, 8.0  # N·m, rad/s

SPEC = Spec("native/Pendulum-v1", (3,), (1,), "float32", (-MAX_TORQUE,), (MAX_TORQUE,))


class State(NamedTuple):
    """angle[] in rad, 0 upright, counterclockwise, in [-pi, pi]; speed[] in rad/s.

    torque[]: the last one, in N·m, for the picture.
    """

    angle: Any
    speed: Any
    torque: Any


@dataclass(frozen=True)
class Pendulum:
    """Observation (cos, sin of the angle, speed); action: the torque.

    The reward, -(angle² + 0.1 speed² + 0.001 torque²), is that of the state before the step. Nothing
    terminates; an episode starts anywhere on the circle, at up to 1 rad/s. Source: Gymnasium,
    classic_control, Pendulum-v1.
    """

    spec: Spec = SPEC
    limit: int | None = 200

    def reset(self, key: Any) -> tuple[State, Any]:
        high = jnp.array([jnp.pi, 1.0], jnp.float32)
        angle, speed = jax.random.uniform(key, (2,), jnp.float32, -high, high)
        return State(angle, speed, jnp.zeros_like(angle)), observe(angle, speed)

    def step(self, state: State, action: Any) -> tuple[State, Outcome]:
        torque = self.spec.to_env(action)[0]
        reward = -(turned(state.angle) ** 2 + 0.1 * state.speed**2 + 0.001 * torque**2)
        push = 1.5 * GRAVITY / LENGTH * jnp.sin(state.angle) + 3 / (MASS * LENGTH**2) * torque
        speed = jnp.clip(state.speed + push * STEP, -MAX_SPEED, MAX_SPEED)
        # Kept in [-pi, pi], where Gymnasium lets it grow: a large angle loses precision in float32.
        angle = turned(state.angle + speed * STEP)
        return State(angle, speed, torque), Outcome(observe(angle, speed), reward, jnp.zeros((), bool))

    def frame(self, state: State) -> np.ndarray:
        angle, torque = float(state.angle), float(state.torque)
        tip = on_circle((0, 0), LENGTH, angle + np.pi / 2)
        canvas = backdrop().copy()
        canvas.rod((0.03, -0.04), (tip[0] + 0.03, tip[1] - 0.04), 0.1, INK, soft=14, opacity=0.25)
        canvas.rod((0, 0), tip, 0.085, RED)
        canvas.disc((0, 0), 0.05, INK)
        if abs(torque) > 0.02:
            canvas.whirl((0, 0), 0.42, np.pi / 2, 0.75 * np.pi * torque / MAX_TORQUE, 0.045, BLUE)
        return canvas.image()


def turned(angle: Any) -> Any:
    """The same angle in [-pi, pi]; one that is there already keeps its bits."""
    return angle - 2 * jnp.pi * jnp.round(angle / (2 * jnp.pi))


def observe(angle: Any, speed: Any) -> Any:
    """The observation[3]: cos and sin of the angle, and the speed."""
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed])


@cache
def backdrop() -> Canvas:
    """The static part of the picture: the circle of the tip, and the goal."""
    canvas = Canvas(400, 400, 400 / 2.7)
    canvas.ring((0, 0), LENGTH, 0.012, SHADE)
    canvas.rod((0, 0), (0, LENGTH), 0.085, GREY, opacity=0.18)
    return canvas
