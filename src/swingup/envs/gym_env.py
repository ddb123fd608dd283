"""N Gymnasium environments as a VectorEnv in this process."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np

from swingup.envs import closing
from swingup.envs.api import Replayed, Step, check_array, check_finite, check_outcome, fault
from swingup.envs.gym_ids import declared_limit, describe_error, name_of
from swingup.envs.observations import check_nested
from swingup.envs.remarks import Remark, ignore
from swingup.envs.spaces import spec_of
from swingup.errors import EnvFault, InputError
from swingup.types import flatten


class GymEnv:
    """N Gymnasium environments, stepped one after the other; every value is checked before it is copied.

    make: called n times; name: what errors call them; limit: time steps after which an episode is truncated,
    by default those of an environment's spec; remark: called with what was taken in another form than
    declared; pause: called before each is made and before each step that repeats an episode, its exceptions
    pass through.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        n: int = 1,
        name: str | None = None,
        limit: int | None = None,
        remark: Remark = ignore,
        pause: Callable[[], None] = lambda: None,
    ):
        self.n, self.remark, self.pause = n, remark, pause
        self.envs: list[gymnasium.Env] = []
        try:
            for _ in range(n):
                pause()
                self.envs.append(made(make, name or "of your function"))
            if len({id(env.unwrapped) for env in self.envs}) < n:
                raise InputError(
                    f"environment {name_of(self.envs[0])}: the function returns the same object each time; "
                    "let it make a new one"
                )
            self.spec = spec_of(self.envs[0], name or name_of(self.envs[0]), remark)
        except BaseException:
            with suppress(EnvFault):
                self.close()
            raise
        self.known_limit, unkept = declared_limit(self.envs[0])
        self.declared = limit is None and unkept
        self.limit = self.known_limit if self.declared else limit
        if limit is not None:
            self.known_limit = limit
        self.count = np.zeros((n, 2), np.int64)  # episodes started, time steps in the current one
        space = self.envs[0].observation_space
        self.box = space if isinstance(space, gymnasium.spaces.Box) else None

    def reset(self, seeds: Sequence[int | None]) -> np.ndarray:
        obs = np.empty((self.n, self.spec.obs_size), np.float32)
        for i, seed in enumerate(seeds):
            if seed is not None:
                self.count[i] += (1, 0)
                self.count[i, 1] = 0
                result = self.call(i, self.envs[i].reset, seed=seed)
                if not (isinstance(result, tuple) and len(result) == 2):
                    raise fault(
                        self.where(i),
                        "reset did not return two values",
                        "return (obs, info), as Gymnasium 1.x does",
                    )
                obs[i] = self.observe(i, result[0])
        return obs

    def step(self, action: np.ndarray, active: np.ndarray | None = None) -> Step:
        obs = np.zeros((self.n, self.spec.obs_size), np.float32)
        reward, flags = np.zeros(self.n), np.zeros((2, self.n), bool)
        executed, success = self.spec.to_env(action), np.full(self.n, np.nan)
        for i in range(self.n) if active is None else np.flatnonzero(active).tolist():
            obs[i], reward[i], flags[0, i], flags[1, i], success[i] = self.step_one(i, executed[i])
        return Step(obs, reward, flags[0], flags[1], success)

    def step_one(self, i: int, executed: np.ndarray) -> tuple[np.ndarray, float, bool, bool, float]:
        """Step environment i alone; returns its observation, reward, terminated, truncated and success."""
        self.count[i, 1] += 1
        result = self.call(i, self.envs[i].step, executed)
        observed, reward, terminated, truncated, success = check_outcome(result, Place(self, i), self.remark)
        if self.limit is not None and self.count[i, 1] >= self.limit and not truncated:
            truncated = True
            if self.declared and not terminated:
                said = f"it does not end an episode after the {self.limit:,} steps that its spec says"
                self.remark("limit", f"{said}; episodes are truncated there (--episode-steps changes that)")
        return self.observe(i, observed), reward, terminated, truncated, success

    def restore_episode(self, i: int, seed: int, actions: np.ndarray) -> Replayed:
        obs = [self.reset([seed if k == i else None for k in range(self.n)])[i]]
        reward, flags = np.empty(len(actions)), np.empty((2, len(actions)), bool)
        for t, executed in enumerate(self.spec.to_env(actions)):
            self.pause()
            after, reward[t], flags[0, t], flags[1, t], _ = self.step_one(i, executed)
            obs.append(after)
        return Replayed(np.array(obs), reward, flags[0], flags[1])

    def observe(self, i: int, obs: Any) -> np.ndarray:
        """Check an observation of environment i and flatten it to obs[O] float32."""
        where = Place(self, i)
        if self.box is not None:
            flat = check_array(obs, self.box, where, self.remark).astype(np.float32).reshape(-1)
        else:
            checked = check_nested(obs, self.envs[i].observation_space, where, self.remark)
            flat = flatten(checked, self.spec.parts, self.spec.categories)
        return check_finite(flat, where)

    def call(self, i: int, method: Callable, *args: Any, seed: int | None = None) -> Any:
        """Call a method of environment i; EnvFault if it raises or exits."""
        try:
            return method(*args) if seed is None else method(seed=seed)
        except (Exception, SystemExit) as error:
            raise EnvFault(f"{self.where(i)}: it raised {describe_error(error)}") from error

    def where(self, i: int) -> str:
        """Environment i, its episode and its time step, for error messages."""
        episode, step = self.count[i]
        return f"environment {self.spec.env} [{i}], episode {episode - 1}, step {step}"

    def close(self) -> None:
        until, failures = time.monotonic() + closing.PATIENCE, []
        for env in self.envs:
            failures.append(closing.failure(env.close, max(0.1, until - time.monotonic())))
        if any(failures):
            name = name_of(self.envs[0]) if not hasattr(self, "spec") else self.spec.env
            raise EnvFault(f"environment {name}: {next(filter(None, failures))}")


class Place:
    """`GymEnv.where`, whose text is made only for an error."""

    __slots__ = ("env", "i")

    def __init__(self, env: GymEnv, i: int):
        self.env, self.i = env, i

    def __str__(self) -> str:
        return self.env.where(self.i)


def made(make: Callable[[], gymnasium.Env], name: str) -> gymnasium.Env:
    """Call `make`; InputError with the likely fix if it fails or makes something else."""
    try:
        env = make()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        fix = ""
        if any(
            frame.name == "__init__" and "transform_action" in frame.filename
            for frame in traceback.extract_tb(error.__traceback__)
        ):
            fix = (
                "; swingup maps its actions into the bounds by itself: leave RescaleAction out, and where "
                "the bounds are infinite give --action-low and --action-high"
            )
        if isinstance(error, TypeError) and "missing" in str(error):
            fix = "; give its arguments with --env-kwargs NAME=VALUE (in Python env_kwargs={...})"
        what = f"environment {name}: while it was made it raised"
        raise InputError(f"{what} {describe_error(error)}{fix}") from error
    if not isinstance(env, gymnasium.Env):
        raise InputError(
            f"environment: the function made a {type(env).__name__}; let it return a gymnasium.Env"
        )
    return env
