"""The contract between swingup and an environment that runs in Python, and the checks that hold it to it at every step."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from swingup.errors import EnvFault
from swingup.types import Spec


class Step(NamedTuple):
    """What N environments answered: obs[N, O] float32 (at episode ends the last observation, never a reset one),
    reward[N] float64, terminated[N] bool, truncated[N] bool."""

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


class HostEnv(Protocol):
    """N environments in lockstep. Nothing resets by itself: the collector does, with a seed for every episode."""

    spec: Spec
    n: int

    def reset(self, seeds: Sequence[int | None]) -> np.ndarray:
        """Begin a new episode wherever seeds[i] is not None; returns obs[N, O], rows without a reset are undefined."""

    def step(self, action: np.ndarray) -> Step:
        """Execute action[N, A], in [-1, 1]."""

    def replay(self, i: int, seed: int, actions: np.ndarray) -> np.ndarray:
        """Bring environment i to where actions[T, A], executed after a reset with that seed, lead; returns obs[O] there.

        This is how an episode goes on after an interruption: many environments cannot be copied, all can be played again.
        """

    def close(self) -> None:
        """Release what the environments hold."""


class Outcome(NamedTuple):
    """What one step of a JaxEnv gave: obs[O], reward[], terminated[]."""

    obs: Any
    reward: Any
    terminated: Any


class JaxEnv(Protocol):
    """One environment as pure functions, unbatched; callers `vmap`. `limit`: steps after which an episode is truncated.

    A value: programs are kept by it, so it is hashable, as a frozen dataclass is.
    """

    spec: Spec
    limit: int | None

    def __hash__(self) -> int: ...

    def reset(self, key: Any) -> tuple[Any, Any]:
        """A new episode -> state, obs[O]."""

    def step(self, state: Any, action: Any) -> tuple[Any, Outcome]:
        """Execute action[A], in [-1, 1] -> state, Outcome. What comes after a terminal state is not defined."""

    def frame(self, state: Any) -> np.ndarray:
        """The state as a picture, uint8 [H, W, 3]."""


def fault(where: str, what: str, fix: str) -> EnvFault:
    """The one-line error of a broken contract."""
    return EnvFault(f"{where}: {what}; {fix}")


def check_array(value: Any, space: Any, where: str) -> np.ndarray:
    """One Box's observation as it came, or an EnvFault that names what is wrong with it."""
    if type(value) is not np.ndarray:
        raise fault(where, f"the observation is a {type(value).__name__}, not a NumPy array", "return np.asarray(obs, dtype)")
    if value.shape != space.shape:
        raise fault(where, f"the observation has shape {value.shape}, its space says {space.shape}", "make them agree")
    if value.dtype != space.dtype:
        raise fault(
            where, f"the observation is {value.dtype}, its space says {space.dtype}", f"return obs.astype(np.{space.dtype})"
        )
    return value


def check_finite(obs: np.ndarray, where: str) -> np.ndarray:
    """obs[O] in float32 if every element is finite there, else an EnvFault naming the first that is not."""
    good = np.isfinite(obs)
    if not good.all():
        i = int(np.argmin(good))
        raise fault(where, f"observation[{i}] is {obs[i]}", "mend the environment; nothing of this step was stored")
    return obs


def check_outcome(result: Any, where: str) -> tuple[Any, float, bool, bool]:
    """The observation, reward, terminated and truncated of a Gymnasium step, types and finiteness checked."""
    if not (isinstance(result, tuple) and len(result) == 5):
        got = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise fault(where, f"step returned {got}", "return (obs, reward, terminated, truncated, info), as Gymnasium 1.x does")
    obs, reward, terminated, truncated, info = result
    if isinstance(reward, (bool, np.bool_)) or not isinstance(reward, numbers.Real):
        raise fault(where, f"the reward is a {type(reward).__name__}", "return one float")
    reward = float(reward)
    if not abs(reward) <= 3.4e38:
        raise fault(where, f"the reward is {reward}", "mend the environment; nothing of this step was stored")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, (bool, np.bool_)):
            raise fault(where, f"{name} is a {type(flag).__name__}", "return a bool")
    if not isinstance(info, dict):
        raise fault(where, f"info is a {type(info).__name__}", "return a dict")
    return obs, reward, bool(terminated), bool(truncated)
