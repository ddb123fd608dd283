"""A point mass in the plane that must reach a goal and stay there: the smallest task with goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from swingup.envs.api import Judgement, Outcome
from swingup.envs.tasks.canvas import BLUE, GOLD, GREEN, GREY, INK, SHADE, Canvas
from swingup.envs.tasks.point_mass import WALL, moved
from swingup.types import Spec

MAX_PUSH = 1.0  # m/s², along each axis
FAR = 1.0  # m, the farthest goal from the origin along each axis
NEAR = 0.05  # m from the goal that count as there

SPEC = Spec("native/PointGoal-v0", (8,), (2,), "float32", (-MAX_PUSH,) * 2, (MAX_PUSH,) * 2)


class State(NamedTuple):
    """position[2], goal[2] in m; speed[2] in m/s; push[2]: the last one, in m/s², for the picture."""

    position: Any
    speed: Any
    goal: Any
    push: Any


@dataclass(frozen=True)
class PointGoal:
    """Observation (position, goal, position, speed): achieved and desired goal, then what is observed.

    Action: the acceleration along both axes; walls at 1.5 m stop the point. The reward is sparse: 0 where the
    point is less than 5 cm from the goal after the step, else -1. Nothing terminates. An episode starts at
    rest at the origin, with a goal at most 1 m away along each axis, and is truncated after 50 steps, 2.5 s;
    the farthest goal is 2 s away. An episode succeeds if its last step ends at the goal.
    """

    spec: Spec = SPEC
    limit: int | None = 50
    achieved: int = 0
    desired: int = 2
    goal_size: int = 2

    def reset(self, key: Any) -> tuple[State, Any]:
        goal = jax.random.uniform(key, (2,), jnp.float32, -FAR, FAR)
        rest = jnp.zeros_like(goal)
        return State(rest, rest, goal, rest), observation(rest, rest, goal)

    def step(self, state: State, action: Any) -> tuple[State, Outcome]:
        push = self.spec.to_env(action)
        position, speed = moved(state.position, state.speed, push)
        reward, terminated, _ = self.judge(position, state.goal)
        after = State(position, speed, state.goal, push)
        return after, Outcome(observation(position, speed, state.goal), reward, terminated)

    def judge(self, achieved: Any, desired: Any) -> Judgement:
        there = ((achieved - desired) ** 2).sum() < NEAR**2
        return Judgement(jnp.where(there, 0.0, -1.0), jnp.zeros((), bool), there)

    def frame(self, state: State) -> np.ndarray:
        at, goal, push = (np.asarray(x, float) for x in (state.position, state.goal, state.push))
        canvas = Canvas(400, 400, 400 / 3.4)
        for k in np.arange(-WALL, WALL + 0.1, 0.5):
            colour, width = (GREY, 0.015) if abs(k) == WALL else (SHADE, 0.004)
            canvas.rod((k, -WALL), (k, WALL), width, colour)
            canvas.rod((-WALL, k), (WALL, k), width, colour)
        canvas.ring(goal, 0.05, 0.02, GREEN)
        canvas.disc(at + np.array([0.02, -0.03]), 0.065, INK, soft=14, opacity=0.3)
        canvas.arrow(at, at + 0.5 * push, 0.03, GOLD)
        canvas.disc(at, 0.06, BLUE)
        return canvas.image()


def observation(position: Any, speed: Any, goal: Any) -> Any:
    return jnp.concat([position, goal, position, speed])
