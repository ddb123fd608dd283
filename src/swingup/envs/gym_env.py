"""Gymnasium environments: created from an id or an object, and N of them as a VectorEnv in this process."""

from __future__ import annotations

import difflib
import importlib
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from swingup.envs import closing
from swingup.envs.api import Replayed, Step, check_array, check_finite, check_outcome, fault
from swingup.errors import EnvFault, InputError
from swingup.types import Spec, flatten

# A bound beyond this counts as infinite: many environments declare the largest float32.
UNBOUNDED = 1e30

EXTRAS = {"mujoco": "mujoco", "box2d": "box2d", "Box2D": "box2d"}


class GymEnv:
    """N Gymnasium environments, stepped one after the other; every value is checked before it is copied.

    make: called n times; name: what errors call them; limit: time steps after which an episode is truncated.
    """

    def __init__(
        self, make: Callable[[], gymnasium.Env], n: int = 1, name: str | None = None, limit: int | None = None
    ):
        self.n, self.limit = n, limit
        try:
            self.envs = [make() for _ in range(n)]
        except SystemExit as error:
            what = f"environment {name or 'of your function'}: while it was made it raised"
            raise InputError(f"{what} {describe_error(error)}") from error
        for env in self.envs:
            if not isinstance(env, gymnasium.Env):
                raise InputError(
                    f"environment: the function made a {type(env).__name__}; let it return a gymnasium.Env"
                )
        if len({id(env.unwrapped) for env in self.envs}) < n:
            raise InputError(
                f"environment {name_of(self.envs[0])}: the function returns the same object each time; "
                "let it make a new one"
            )
        self.spec = spec_of(self.envs[0], name or name_of(self.envs[0]))
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
        observed, reward, terminated, truncated, success = check_outcome(result, Place(self, i))
        truncated |= self.limit is not None and self.count[i, 1] >= self.limit
        return self.observe(i, observed), reward, terminated, truncated, success

    def restore_episode(self, i: int, seed: int, actions: np.ndarray) -> Replayed:
        obs = [self.reset([seed if k == i else None for k in range(self.n)])[i]]
        reward, flags = np.empty(len(actions)), np.empty((2, len(actions)), bool)
        for t, executed in enumerate(self.spec.to_env(actions)):
            after, reward[t], flags[0, t], flags[1, t], _ = self.step_one(i, executed)
            obs.append(after)
        return Replayed(np.array(obs), reward, flags[0], flags[1])

    def observe(self, i: int, obs: Any) -> np.ndarray:
        """Check an observation of environment i and flatten it to obs[O] float32."""
        where = Place(self, i)
        if self.box is not None:
            flat = check_array(obs, self.box, where).astype(np.float32).reshape(-1)
        else:
            flat = flatten(check_nested(obs, self.envs[i].observation_space, where), self.spec.parts)
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
            raise EnvFault(f"environment {self.spec.env}: {next(filter(None, failures))}")


class Place:
    """`GymEnv.where`, whose text is made only for an error."""

    __slots__ = ("env", "i")

    def __init__(self, env: GymEnv, i: int):
        self.env, self.i = env, i

    def __str__(self) -> str:
        return self.env.where(self.i)


def gym_spec(env: str) -> Any:
    """The registry entry of an id, importing the module of `module:Id`; InputError with the nearest ids."""
    if not env.strip():
        raise InputError("environment: the id is empty; try Pendulum-v1")
    module, _, name = env.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            fix = (
                "check the name and the current folder"
                if error.name == module.split(".")[0]
                else "install that package"
            )
            raise InputError(f"environment {env}: cannot import {module} ({error}); {fix}") from error
        except Exception as error:
            raise InputError(
                f"environment {env}: importing {module} raised {describe_error(error)}"
            ) from error
    if name in gymnasium.registry:
        return gymnasium.registry[name]
    try:
        return gymnasium.spec(name)
    except gymnasium.error.Error:
        known = [k for k in gymnasium.registry if "/" not in k]
        folded = {k.lower(): k for k in known}
        near = [folded[k] for k in difflib.get_close_matches(name.lower(), folded, 3, 0.5)]
        hint = (
            f"did you mean {' or '.join(near)}?" if near else "import the module that registers it: module:Id"
        )
        raise InputError(f"environment {env}: no such id; {hint}") from None


def create(spec: Any, env: str, options: dict) -> gymnasium.Env:
    """Call `gymnasium.make`; InputError with the likely fix if it fails."""
    if "mujoco" in str(spec.entry_point):
        hear_mujoco()
    try:
        # Gymnasium's checker is off: it checks the first step only, ours every step, and it prints warnings.
        return gymnasium.make(spec, disable_env_checker=True, **options)
    except (gymnasium.error.DependencyNotInstalled, ModuleNotFoundError) as error:
        extra = next(
            (e for word, e in EXTRAS.items() if word in str(error) or word in str(spec.entry_point)), None
        )
        # The error's own text may advise another way to install it; of an extra there is one.
        what = f"; pip install 'swingup[{extra}]'" if extra else f" ({' '.join(str(error).split())})"
        raise InputError(f"environment {env}: a package that it needs is not installed{what}") from error
    except (Exception, SystemExit) as error:
        # gymnasium-robotics 1.4 compares MuJoCo's enums with NumPy's integers: never equal since MuJoCo 3.11.
        robot = isinstance(error, AssertionError) and "gymnasium_robotics" in str(spec.entry_point)
        fix = "; gymnasium-robotics needs an older MuJoCo: pip install 'mujoco<3.11'" if robot else ""
        raise InputError(
            f"environment {env}: it could not be made ({type(error).__name__}: {error}){fix}"
        ) from error


HEARD: set[str] = set()


def hear_mujoco() -> None:
    """Print each MuJoCo warning once on stderr.

    By default MuJoCo repeats them and writes MUJOCO_LOG.TXT to the current folder.
    """
    try:
        import mujoco
    except ImportError:
        return

    def hear(message: str) -> None:
        # A user cannot fix deprecated attributes in Gymnasium's own model files.
        if message not in HEARD and "deprecated" not in message:
            HEARD.add(message)
            print(f"MuJoCo: {message}", file=sys.stderr)

    mujoco.set_mju_user_warning(hear)


def describe_error(error: BaseException) -> str:
    """An exception in one line, with the place in the user's code where it was raised."""
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "gymnasium" not in f.filename and f.filename != __file__
    ]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    hint = (
        "; return (obs, reward, terminated, truncated, info), as Gymnasium 1.x does"
        if "expected 5, got 4" in str(error)
        else ""
    )
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}{hint}"


def name_of(env: gymnasium.Env) -> str:
    """The registered id of an environment, or the name of its class."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def spec_of(env: gymnasium.Env, name: str) -> Spec:
    """The Spec of an environment; InputError with the reason if DDPG cannot train on it."""
    for what in ("action_space", "observation_space"):
        if getattr(env, what, None) is None:
            raise InputError(f"environment {name}: it has no {what}; set self.{what} in its __init__")
    space = env.action_space
    if not isinstance(space, gymnasium.spaces.Box):
        raise InputError(
            f"environment {name}: its actions are {type(space).__name__}; DDPG needs a Box of real numbers"
        )
    if not np.issubdtype(space.dtype, np.floating):
        raise InputError(
            f"environment {name}: its action box holds {space.dtype}; "
            "DDPG needs real numbers, declare float32"
        )
    low, high = (np.asarray(b, np.float64).reshape(-1) for b in (space.low, space.high))
    if not low.size:
        raise InputError(f"environment {name}: its action box is empty; DDPG needs at least one action")
    for i in range(low.size):
        if not (abs(low[i]) < UNBOUNDED and abs(high[i]) < UNBOUNDED):
            raise InputError(
                f"environment {name}: action {i} has bounds [{low[i]}, {high[i]}]; DDPG needs finite ones, "
                "wrap it in gymnasium.wrappers.RescaleAction or declare the range that makes sense"
            )
        if not low[i] < high[i]:
            raise InputError(
                f"environment {name}: action {i} has bounds [{low[i]}, {high[i]}], no width; "
                "remove this action or widen it"
            )
    size, seen = obs_size(env.observation_space, name), env.observation_space
    shape = seen.shape if isinstance(seen, gymnasium.spaces.Box) else (size,)
    parts = () if isinstance(seen, gymnasium.spaces.Box) else tuple(paths(seen))
    return Spec(name, shape, space.shape, str(space.dtype), tuple(low.tolist()), tuple(high.tolist()), parts)


def paths(space: Any, above: tuple = ()) -> Iterator[tuple]:
    """The path to each Box of a Dict or Tuple space, in the order of `gymnasium.spaces.flatten`."""
    if isinstance(space, gymnasium.spaces.Box):
        yield above
    else:
        for key, part in parts_of(space):
            yield from paths(part, (*above, key))


def parts_of(space: Any) -> Iterable[tuple[Any, Any]]:
    """The keys and spaces of a Dict or a Tuple space."""
    return space.spaces.items() if isinstance(space, gymnasium.spaces.Dict) else enumerate(space.spaces)


def obs_size(space: Any, name: str) -> int:
    """The number of elements of a flattened observation; InputError if it is not made of Boxes."""
    if isinstance(space, (gymnasium.spaces.Dict, gymnasium.spaces.Tuple)):
        keys = [key for key, _ in parts_of(space)]
        if not keys:
            what = f"its observation is an empty {type(space).__name__}"
            raise InputError(f"environment {name}: {what}, no numbers in it; observe something")
        if not all(type(key) in (str, int) for key in keys):
            raise InputError(f"environment {name}: its observation has the keys {keys}; use texts")
        return sum(obs_size(part, name) for _, part in parts_of(space))
    if not isinstance(space, gymnasium.spaces.Box):
        raise InputError(
            f"environment {name}: its observations are {type(space).__name__}; swingup takes a Box or "
            "Dict/Tuple of Boxes, wrap it in gymnasium.wrappers.FlattenObservation"
        )
    if space.dtype == np.uint8 and len(space.shape) >= 2:
        raise InputError(
            f"environment {name}: its observations are images {space.shape}; images are not supported yet"
        )
    if not np.prod(space.shape, dtype=int):
        raise InputError(
            f"environment {name}: its observation has shape {space.shape}, no numbers in it; "
            "observe something"
        )
    return int(np.prod(space.shape, dtype=int))


def check_nested(obs: Any, space: Any, where: object) -> Any:
    """Return an observation, each of its Boxes checked; Dict and Tuple spaces are checked recursively."""
    if isinstance(space, gymnasium.spaces.Dict):
        if not isinstance(obs, dict) or set(obs) != set(space.spaces):
            keys = sorted(obs, key=str) if isinstance(obs, dict) else type(obs).__name__
            wanted = sorted(space.spaces, key=str)
            raise fault(where, f"the observation has {keys}, its space says {wanted}", "make them agree")
        return {k: check_nested(obs[k], s, f"{where}, key {k!r}") for k, s in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        if not isinstance(obs, tuple) or len(obs) != len(space.spaces):
            raise fault(
                where,
                f"the observation is not a tuple of {len(space.spaces)}",
                "make it agree with its space",
            )
        return tuple(
            check_nested(o, s, f"{where}, part {i}")
            for i, (o, s) in enumerate(zip(obs, space.spaces, strict=True))
        )
    return check_array(obs, space, where)
