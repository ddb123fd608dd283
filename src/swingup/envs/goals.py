"""Goal environments: where their goals lie in a flat observation, and what a step to a goal is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from swingup.envs.api import JaxEnv, JaxGoalEnv
from swingup.envs.gym_env import GymEnv
from swingup.envs.gym_ids import describe_error
from swingup.envs.jax_programs import compiled_judge
from swingup.envs.spaces import obs_size, paths
from swingup.errors import EnvFault, InputError

NAMES = ("achieved_goal", "desired_goal")


@dataclass(frozen=True)
class Goals:
    """The goals of an environment.

    achieved, desired: the first index of either in an observation[O]; size: their size G; limit: the most
    steps of an episode; judge: (achieved[M, G], desired[M, G]) -> reward[M], terminated[M] (None: whether a
    step terminates does not depend on the goal), in NumPy.
    """

    achieved: int
    desired: int
    size: int
    limit: int
    judge: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]]


def goals_of_jax(env: JaxEnv, limit: int | None) -> Goals:
    """The goals of an environment in JAX; limit: of an episode, if shorter than its own. Else InputError."""
    name = env.spec.env
    if not isinstance(env, JaxGoalEnv):
        raise no_goals(name)

    def judge(achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reward, terminated, _ = compiled_judge(env)(achieved, desired)
        return np.asarray(reward), np.asarray(terminated)

    return Goals(env.achieved, env.desired, env.goal_size, shortest(name, env.limit, limit), judge)


def goals_of_gym(envs: GymEnv) -> Goals:
    """The goals of a Gymnasium environment with a goal interface, its rewards checked on a few steps.

    It is an observation Dict with Boxes `achieved_goal` and `desired_goal` of one shape, and a method
    `compute_reward(achieved, desired, info)` that takes arrays of them. Where there is a method
    `compute_terminated`, a relabelled step terminates as it says. InputError for anything else.
    """
    env, name = envs.envs[0], envs.spec.env
    space: Any = env.observation_space
    there = isinstance(space, gymnasium.spaces.Dict) and all(
        isinstance(space.spaces.get(key), gymnasium.spaces.Box) for key in NAMES
    )
    if not there or not env.has_wrapper_attr("compute_reward"):
        raise no_goals(name)
    boxes = [space[key] for key in NAMES]
    if boxes[0].shape != boxes[1].shape:
        shapes = " and ".join(str(box.shape) for box in boxes)
        raise InputError(f"environment {name}: achieved and desired goal have shapes {shapes}; make them one")
    start, first = 0, {}
    for path in paths(space):
        first[path] = start
        part = space
        for key in path:
            part = part[key]
        start += obs_size(part, name)
    limit = env.get_wrapper_attr("_max_episode_steps") if env.has_wrapper_attr("_max_episode_steps") else None
    judge = GymJudge(env, name, boxes[0], boxes[1])
    judge.check(envs)
    achieved, desired = (first[key,] for key in NAMES)
    return Goals(achieved, desired, obs_size(boxes[0], name), shortest(name, limit, envs.limit), judge)


class GymJudge:
    """What steps to goals are worth: a Gymnasium environment's `compute_reward` and `compute_terminated`."""

    def __init__(self, env: gymnasium.Env, name: str, achieved: Any, desired: Any):
        self.name, self.boxes = name, (achieved, desired)
        self.reward = env.get_wrapper_attr("compute_reward")
        self.terminated = (
            env.get_wrapper_attr("compute_terminated") if env.has_wrapper_attr("compute_terminated") else None
        )

    def __call__(self, achieved: np.ndarray, desired: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        pairs = [
            goal.astype(box.dtype).reshape(-1, *box.shape)
            for goal, box in zip((achieved, desired), self.boxes, strict=True)
        ]
        try:
            reward = np.asarray(self.reward(*pairs, {}), np.float64)
            # One by one: many libraries' `compute_terminated` takes no arrays, and does not say so.
            over = (
                None
                if self.terminated is None
                else [self.terminated(*p, {}) for p in zip(*pairs, strict=True)]
            )
        except Exception as error:
            raise EnvFault(
                f"environment {self.name}: compute_reward of {len(achieved)} goals raised "
                f"{describe_error(error)}; let it take arrays [M, G] and an empty info"
            ) from error
        if reward.shape != (len(achieved),) or not np.isfinite(reward).all():
            raise EnvFault(
                f"environment {self.name}: compute_reward of {len(achieved)} goals returned shape "
                f"{reward.shape}; let it take arrays [M, G] and return one finite number for each, "
                "as np.linalg.norm(a - b, axis=-1) does"
            )
        return reward, None if over is None else np.array(over, bool)

    def check(self, envs: GymEnv, steps: int = 8) -> None:
        """Step the environment at random; InputError unless rewards are what `compute_reward` says."""
        env, rng = envs.envs[0], np.random.default_rng(0)
        envs.call(0, env.reset, seed=0)
        for _ in range(steps):
            unit = rng.uniform(-1, 1, envs.spec.action_size).astype(np.float32)
            obs, reward, terminated, truncated, _ = envs.call(0, env.step, envs.spec.to_env(unit))
            goals = [np.asarray(obs[key]).reshape(1, -1) for key in NAMES]
            try:
                both, _ = self(*(np.repeat(goal, 2, axis=0) for goal in goals))
            except EnvFault as error:
                raise InputError(f"--hindsight: {error}") from error
            if not np.allclose(both, float(reward)):
                raise InputError(
                    f"--hindsight: environment {self.name}: a step's reward is {float(reward):.6g}, "
                    f"compute_reward says {both[0]:.6g}; make them agree"
                )
            if terminated or truncated:
                break


def no_goals(name: str) -> InputError:
    what = "its observations have no achieved_goal and desired_goal, or it has no compute_reward"
    return InputError(
        f"--hindsight: environment {name} is no goal environment ({what}); leave --hindsight out"
    )


def shortest(name: str, *limits: int | None) -> int:
    """The smallest limit of an episode; InputError if there is none."""
    if not any(limits):
        raise InputError(
            f"--hindsight: episodes of {name} have no limit, so none is sure to end; give --episode-steps"
        )
    return min(limit for limit in limits if limit is not None)
