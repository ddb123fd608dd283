"""Gymnasium's ids: found in its registry, made, and where there is none, what to install or write instead."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import gymnasium

from swingup.envs.continuous import CONTINUOUS
from swingup.errors import InputError

EXTRAS = {"mujoco": "mujoco", "box2d": "box2d", "Box2D": "box2d"}

# Ids that other packages register: their beginning, the package on PyPI, and the module that registers them.
PLUGINS = {
    r"dm_control/": ("shimmy[dm-control]", "shimmy"),
    r"Fetch|HandReach|HandManipulate|Adroit|AntMaze|PointMaze|Franka": (
        "swingup[robotics]",
        "gymnasium_robotics",
    ),
    r"Panda": ("panda-gym", "panda_gym"),
    r"\w+Bullet(Env)?-": ("pybullet_envs_gymnasium", "pybullet_envs_gymnasium"),
    r"(highway|merge|roundabout|parking|intersection|racetrack)-": ("highway-env", "highway_env"),
    r"Meta-World/": ("metaworld", "metaworld"),
    r"Safety": ("safety-gymnasium", "safety_gymnasium"),
    r"myo": ("myosuite", "myosuite"),
    r"bsuite/": ("shimmy[bsuite]", "shimmy"),
}

# Ids of images or of discrete actions, whatever the package: what they are.
UNFIT = {
    r"ALE/|\w+NoFrameskip-v|(Pong|Breakout)-v": "Atari's observations are images and its actions choices",
    r"MiniGrid-|BabyAI-": "MiniGrid's actions are choices",
    r"procgen": "Procgen's observations are images and its actions choices",
}


def gym_spec(env: str) -> Any:
    """The registry entry of an id, importing the module of `module:Id`; InputError with the likely id."""
    if not env.strip():
        raise InputError("environment: the id is empty; try Pendulum-v1")
    module, _, name = env.rpartition(":")
    if module:
        import_module(module, f"environment {env}")
    if name in gymnasium.registry:
        return gymnasium.registry[name]
    try:
        return gymnasium.spec(name)
    except gymnasium.error.Error:
        raise InputError(f"environment {env}: {no_such_id(name, module)}") from None


def import_module(module: str, where: str) -> Any:
    """A module that the user named; InputError with the reason if it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        package = next((p for p, m in PLUGINS.values() if m == missing), None)
        fix = (
            f"pip install '{package}'"
            if package
            else "check the name and the current folder"
            if missing == module.split(".")[0]
            else "install that package"
        )
        raise InputError(f"{where}: cannot import {module} ({error}); {fix}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{where}: importing {module} raised {describe_error(error)}") from error


def no_such_id(name: str, module: str = "") -> str:
    """What to write or install for an id that is not registered, in a line."""
    for pattern, why in UNFIT.items():
        if re.match(pattern, name):
            return f"{why}; swingup trains on vectors with actions of real numbers, for example Pendulum-v1"
    plugin = next((found for pattern, found in PLUGINS.items() if re.match(pattern, name)), None)
    if plugin and plugin[1] != module:
        return f"another package registers it: pip install '{plugin[0]}', then write {plugin[1]}:{name}"
    if near := nearest_ids(name):
        return f"no such id; did you mean {' or '.join(near)}?"
    return "no such id; name the module that registers it, module:Id"


def nearest_ids(name: str) -> list[str]:
    """The registered ids most like a name; other versions of the same task come alone, choices last."""
    known = [k for k in gymnasium.registry if "/" not in k and not k.startswith("GymV")]
    base = name.rpartition("-v")[0] or name
    same = [k for k in known if k.rpartition("-v")[0].lower() == base.lower()]
    if same:
        newest = max(same, key=lambda k: int(k.rpartition("-v")[2]))
        real = CONTINUOUS.get(newest.rpartition("-v")[0])
        return [f"{real} (the actions of {newest} are choices)"] if real else [newest]
    folded = {k.lower(): k for k in known if k.rpartition("-v")[0] not in CONTINUOUS}
    return [folded[k] for k in difflib.get_close_matches(name.lower(), folded, 3, 0.6)]


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
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InputError(f"environment {env}: it could not be made ({why}){fix}") from error


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
    ours = str(Path(__file__).parent)
    frames = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "gymnasium" not in f.filename and not f.filename.startswith(ours)
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


def declared_limit(env: gymnasium.Env) -> tuple[int | None, bool]:
    """An environment's time limit, and whether no wrapper keeps it, as in `.unwrapped`."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    made_by_gymnasium = False
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            return env._max_episode_steps, False
        made_by_gymnasium |= isinstance(env, gymnasium.wrappers.OrderEnforcing)
        env = env.env
    if limit is None and env.spec is not None and not made_by_gymnasium:
        # Gymnasium takes the limit out of the spec of what it wraps.
        entry = gymnasium.registry.get(env.spec.id)
        limit = entry.max_episode_steps if entry is not None else None
    return (limit, True) if limit is not None and limit > 0 else (None, False)
