"""Vector environments of Stable-Baselines3 and Gymnasium as input: theirs reset themselves, ours do not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from swingup.envs.api import Step
from swingup.envs.gym_env import GymEnv
from swingup.errors import EnvFault, InputError

# Wrappers around a vector environment that only watch it, and our words for those that change it.
WATCHERS = ("VecMonitor", "VecCheckNan", "RecordEpisodeStatistics")
WORDS = {
    "VecNormalize": "its statistics would not ship with the policy: normalize=True does that",
    "NormalizeObservation": "its statistics would not ship with the policy: normalize=True does that",
    "NormalizeReward": "reward_scale=0.1 scales rewards by a number, without the wrapper",
    "VecTransposeImage": "images are not supported",
    "VecVideoRecorder": "swingup.train(env, record=True) films episodes",
    "RecordVideo": "swingup.train(env, record=True) films episodes",
}

# The result of one step of one environment, as Gymnasium's `step` returns it.
Outcome = tuple[Any, float, bool, bool, dict[str, Any]]


def is_vector(env: Any) -> bool:
    """Whether an object is a vector environment of Gymnasium, or has the interface of Stable-Baselines3's."""
    theirs = ("num_envs", "step_async", "step_wait", "env_method", "observation_space", "action_space")
    return isinstance(env, gymnasium.vector.VectorEnv) or all(hasattr(env, name) for name in theirs)


def from_vector(env: Any, limit: int | None = None) -> GymEnv:
    """N environments that are stepped as one object of theirs; InputError where that cannot be.

    limit: time steps after which an episode is truncated.
    """
    inner = unwrapped(env)
    if envs := getattr(inner, "envs", None):  # in this process: they are stepped without the object around
        return GymEnv(iter(list(envs)).__next__, len(envs), limit=limit)
    if isinstance(inner, AsyncVectorEnv):
        return Parallel(inner, [AsyncPart(inner, i) for i in range(inner.num_envs)], step_async(inner), limit)
    if hasattr(inner, "env_method"):
        parts = [StablePart(inner, i) for i in range(inner.num_envs)]
        return Parallel(inner, parts, step_stable(inner), limit)
    raise InputError(
        f"environment {type(inner).__name__}: of vector environments, Gymnasium's SyncVectorEnv and "
        "AsyncVectorEnv and Stable-Baselines3's are taken; give the function that makes one, and n_envs"
    )


def unwrapped(env: Any) -> Any:
    """A vector environment without the wrappers that only watch it; InputError for those that change it."""
    while (inner := env.__dict__.get("venv", env.__dict__.get("env"))) is not None:
        kind = type(env).__name__
        if kind not in WATCHERS:
            way = WORDS.get(kind, "put what it does into a gymnasium.Wrapper of each environment")
            raise InputError(f"environment {kind}: swingup steps the environments inside; {way}")
        env = inner
    if isinstance(env, AsyncVectorEnv) and not env.shared_memory and mode_of(env) == AutoresetMode.NEXT_STEP:
        raise InputError(
            "environment AsyncVectorEnv: without shared memory it resets once more after a reset of ours; "
            "make it with autoreset_mode=AutoresetMode.DISABLED"
        )
    return env


def mode_of(env: gymnasium.vector.VectorEnv) -> AutoresetMode:
    """When a vector environment of Gymnasium resets by itself."""
    return env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)


class Part(gymnasium.Env):
    """One of the environments of a vector environment; `pending` is its result of a step of all."""

    def __init__(self, whole: Any, index: int, observation_space: Any, action_space: Any):
        self.whole, self.index = whole, index
        self.observation_space, self.action_space = observation_space, action_space
        self.pending: Outcome | None = None

    def step(self, action: Any) -> Outcome:
        result, self.pending = self.pending, None
        return self.step_alone(action) if result is None else result

    def step_alone(self, action: Any) -> Outcome:
        """Step this environment and no other."""
        raise NotImplementedError


class StablePart(Part):
    """An environment in a worker of Stable-Baselines3's SubprocVecEnv."""

    def __init__(self, whole: Any, index: int):
        super().__init__(whole, index, whole.observation_space, whole.action_space)
        self.spec = first(whole.get_attr("spec", indices=[index]))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return first(self.whole.env_method("reset", seed=seed, indices=[self.index]))

    def step_alone(self, action: Any) -> Outcome:
        return first(self.whole.env_method("step", action, indices=[self.index]))


class AsyncPart(Part):
    """An environment in a worker of Gymnasium's AsyncVectorEnv."""

    def __init__(self, whole: AsyncVectorEnv, index: int):
        super().__init__(whole, index, whole.single_observation_space, whole.single_action_space)
        self.spec = whole.spec

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        mask = np.arange(self.whole.num_envs) == self.index
        seeds = [seed if wanted else None for wanted in mask]
        obs, _ = self.whole.reset(seed=seeds, options={"reset_mask": mask})
        return pick(obs, self.index), {}

    def step_alone(self, action: Any) -> Outcome:
        raise EnvFault("AsyncVectorEnv steps all of its environments at once, so no episode can be repeated")


class Parallel(GymEnv):
    """The environments of a vector environment whose steps run side by side in worker processes.

    step_all(action[N, *action_shape]) -> the outcome of each.
    """

    def __init__(
        self, whole: Any, parts: Sequence[Part], step_all: Callable[[np.ndarray], list[Outcome]], limit: Any
    ):
        self.whole, self.step_all = whole, step_all
        super().__init__(iter(parts).__next__, len(parts), limit=limit)

    def step(self, action: np.ndarray, active: np.ndarray | None = None) -> Step:
        if active is None:
            results = self.call(0, self.step_all, self.spec.to_env(action))
            for part, result in zip(self.envs, results, strict=True):
                part.pending = result  # type: ignore[attr-defined]
        return super().step(action, active)

    def close(self) -> None:
        self.whole.close()


def step_stable(env: Any) -> Callable[[np.ndarray], list[Outcome]]:
    """A step of Stable-Baselines3's vector environment, with the true last observations of episodes."""

    def step_all(action: np.ndarray) -> list[Outcome]:
        obs, rewards, dones, infos = env.step(action)
        results = []
        for i, (reward, done, info) in enumerate(zip(rewards, dones, infos, strict=True)):
            cut = bool(done) and bool(info.get("TimeLimit.truncated", False))
            last = info["terminal_observation"] if done else pick(obs, i)
            results.append((last, float(reward), bool(done) and not cut, cut, info))
        return results

    return step_all


def step_async(env: AsyncVectorEnv) -> Callable[[np.ndarray], list[Outcome]]:
    """A step of Gymnasium's AsyncVectorEnv, with the true last observations of episodes."""

    def step_all(action: np.ndarray) -> list[Outcome]:
        results: Any = env.step(action)
        obs, rewards, terminated, truncated, infos = results
        final = infos.get("final_obs") if mode_of(env) == AutoresetMode.SAME_STEP else None
        return [
            (
                final[i] if final is not None and (terminated[i] or truncated[i]) else pick(obs, i),
                float(rewards[i]),
                bool(terminated[i]),
                bool(truncated[i]),
                {},
            )
            for i in range(env.num_envs)
        ]

    return step_all


def pick(obs: Any, i: int) -> Any:
    """The observation of environment i in a batch; its arrays are copies."""
    if isinstance(obs, dict):
        return {key: pick(part, i) for key, part in obs.items()}
    return tuple(pick(part, i) for part in obs) if isinstance(obs, tuple) else np.array(obs[i])


def first(values: Sequence[Any]) -> Any:
    """The only value of a call to one environment."""
    return values[0]


def register(view: type) -> None:
    """Let Stable-Baselines3, where it is imported, take objects of this class for its vector environments."""
    if module := sys.modules.get("stable_baselines3.common.vec_env"):
        module.VecEnv.register(view)
