"""The interfaces that environments implement (VectorEnv, JaxEnv), and the checks made at every step."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from swingup.envs import lenient
from swingup.envs.remarks import Remark, ignore
from swingup.errors import EnvFault
from swingup.types import Spec


class Step(NamedTuple):
    """The result of one step of N environments.

    obs[N, O] float32 (at an episode's end its last observation, never that of a reset), reward[N] float64,
    terminated[N] bool, truncated[N] bool, success[N] (1 where the task is done after this step, 0 where it is
    not, NaN where the environment does not say; None if none of them can say).
    """

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    success: np.ndarray | None = None


class Replayed(NamedTuple):
    """An episode executed again: obs[1 + T, O], and what each of the T steps gave, as in `Step`."""

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    def same(self, other: Replayed) -> bool:
        """Whether all bits agree."""
        return all(a.tobytes() == b.tobytes() for a, b in zip(self, other, strict=True))


class VectorEnv(Protocol):
    """N environments that step together; only the collector resets them, with a seed for every episode.

    known_limit: time steps after which an episode is truncated, as far as that is known.
    """

    spec: Spec
    n: int
    known_limit: int | None

    def reset(self, seeds: Sequence[int | None]) -> np.ndarray:
        """Start a new episode where seeds[i] is not None; returns obs[N, O], undefined in the other rows."""

    def step(self, action: np.ndarray, active: np.ndarray | None = None) -> Step:
        """Execute action[N, A], in [-1, 1].

        active[N]: the environments to step, by default all; the rows of the others mean nothing.
        """

    def restore_episode(self, i: int, seed: int, actions: np.ndarray) -> Replayed:
        """Reset environment i with `seed` and execute actions[T, A].

        This continues an interrupted episode: few environments can be copied, all can repeat their steps.
        """

    def close(self) -> None:
        """Release the environments' resources, in bounded time; EnvFault, after that, if one failed to."""


class Outcome(NamedTuple):
    """The result of one step of a JaxEnv: obs[O], reward[], terminated[]."""

    obs: Any
    reward: Any
    terminated: Any


class JaxEnv(Protocol):
    """One environment as pure functions, unbatched; callers `vmap`.

    limit: time steps after which an episode is truncated, or None. Compiled programs are cached by the
    object, so it must be hashable, as a frozen dataclass is.
    """

    spec: Spec
    limit: int | None

    def __hash__(self) -> int: ...

    def reset(self, key: Any) -> tuple[Any, Any]:
        """Start an episode with a random key; returns state, obs[O]."""

    def step(self, state: Any, action: Any) -> tuple[Any, Outcome]:
        """Execute action[A], in [-1, 1]; returns state, Outcome. Undefined after a terminal state."""

    def frame(self, state: Any) -> np.ndarray:
        """Render the state as a picture, uint8 [H, W, 3]."""


class Judgement(NamedTuple):
    """What a step to `achieved` is worth where `desired` was wanted: reward, terminated, success."""

    reward: Any
    terminated: Any
    success: Any


@runtime_checkable
class JaxGoalEnv(Protocol):
    """A `JaxEnv` whose observations hold two goals of equal size, the achieved and the desired one.

    achieved, desired: the first index of each in an observation; goal_size: their size G.
    """

    achieved: int
    desired: int
    goal_size: int

    def __hash__(self) -> int: ...

    def judge(self, achieved: Any, desired: Any) -> Judgement:
        """What a step to achieved[G] is worth where desired[G] is wanted, as `step` has it; unbatched."""


def fault(where: object, what: str, fix: str) -> EnvFault:
    """The one-line error of a broken interface: where it happened, what is wrong and the fix.

    where: a text, or what makes it when it is printed; so for the checks below.
    """
    return EnvFault(f"{where}: {what}; {fix}")


def check_array(value: Any, space: Any, where: object, remark: Remark = ignore) -> np.ndarray:
    """One Box's observation, unchanged if it is as declared.

    A list, another class of array or another precision is taken with a remark; EnvFault for anything else.
    """
    if type(value) is np.ndarray and value.shape == space.shape and value.dtype == space.dtype:
        return value
    taken = lenient.observation(value, space.shape, space.dtype)
    if taken is None:
        raise wrong_array(value, space, where)
    found = value.dtype if type(value) is np.ndarray else type(value).__name__
    what = f"observations come as {found}, their space says an array of {space.dtype}"
    remark("observation", f"{what}; they are converted, return np.asarray(obs, np.{space.dtype})")
    return taken


def wrong_array(value: Any, space: Any, where: object) -> EnvFault:
    """The error for an observation that is not what its space says."""
    if not isinstance(value, np.ndarray):
        what = f"the observation is a {type(value).__name__}, not a NumPy array of shape {space.shape}"
        return fault(where, what, "return np.asarray(obs, dtype)")
    if value.shape != space.shape:
        what = f"the observation has shape {value.shape}, its space says {space.shape}"
        return fault(where, what, "make them agree")
    if isinstance(value, np.ma.MaskedArray):
        return fault(where, "elements of the observation are masked", "fill them")
    what = f"the observation is {value.dtype}, its space says {space.dtype}"
    return fault(where, what, f"return obs.astype(np.{space.dtype})")


def check_finite(obs: np.ndarray, where: object) -> np.ndarray:
    """Return obs[O] float32 if every element is finite; else EnvFault naming the first that is not."""
    good = np.isfinite(obs)
    if not good.all():
        i = int(np.argmin(good))
        raise fault(
            where, f"observation[{i}] is {obs[i]}", "mend the environment; nothing of this step was stored"
        )
    return obs


def check_outcome(
    result: Any, where: object, remark: Remark = ignore
) -> tuple[Any, float, bool, bool, float]:
    """Return observation, reward, terminated, truncated and success (`success_of`) of a Gymnasium step.

    EnvFault if a type is wrong or the reward is not finite in float32; other forms of the same value are
    taken with a remark. The observation is not checked here.
    """
    if not (isinstance(result, tuple) and len(result) == 5):
        got = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise fault(
            where,
            f"step returned {got}",
            "return (obs, reward, terminated, truncated, info), as Gymnasium 1.x does",
        )
    obs, reward, terminated, truncated, info = result
    if isinstance(reward, (bool, np.bool_)) or not isinstance(reward, numbers.Real):
        reward = taken_reward(reward, where, remark)
    try:
        reward = float(reward)
    except (OverflowError, ValueError, TypeError) as error:
        raise fault(where, f"the reward is not a number ({error})", "return one float") from None
    if not abs(reward) <= 3.4e38:
        raise fault(where, f"the reward is {reward}", "mend the environment; nothing of this step was stored")
    if not isinstance(terminated, (bool, np.bool_)):
        terminated = taken_flag("terminated", terminated, where, remark)
    if not isinstance(truncated, (bool, np.bool_)):
        truncated = taken_flag("truncated", truncated, where, remark)
    if not isinstance(info, dict):
        raise fault(where, f"info is a {type(info).__name__}", "return a dict")
    return obs, reward, bool(terminated), bool(truncated), success_of(info)


def success_of(info: dict[str, Any]) -> float:
    """1 if a step's info says that the task is done (`is_success`, or `success`), 0 if not, else NaN."""
    said = info.get("is_success", info.get("success"))
    if isinstance(said, (bool, np.bool_, numbers.Real)) or (isinstance(said, np.ndarray) and said.size == 1):
        return float(bool(said))
    return math.nan


def taken_reward(value: Any, where: object, remark: Remark) -> float:
    """The number in an array of size one, with a remark; EnvFault for anything else."""
    if (number := lenient.reward(value)) is None:
        raise fault(where, f"the reward is a {type(value).__name__}", "return one float")
    remark("reward", f"rewards come as {type(value).__name__} of one number; taken so, return float(reward)")
    return number


def taken_flag(name: str, value: Any, where: object, remark: Remark) -> bool:
    """A flag that is 0 or 1 or an array without axes, with a remark; EnvFault for anything else."""
    if (flag := lenient.flag(value)) is None:
        raise fault(where, f"{name} is a {type(value).__name__}", "return a bool")
    remark("flag", f"{name} comes as {type(value).__name__}; 1 is taken for true, return bool({name})")
    return flag
