"""Find and create environments from an id, an object or a factory, for training and for evaluation."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import gymnasium

from swingup.envs.api import JaxEnv, VectorEnv
from swingup.envs.gym_env import GymEnv, create, gym_spec, name_of
from swingup.errors import InputError, unknown

# Module and class of each, imported on use: to reject an unknown name must not need JAX.
NATIVE = {
    "native/Pendulum-v1": ("swingup.envs.tasks.pendulum", "Pendulum"),
    "native/MountainCarContinuous-v0": ("swingup.envs.tasks.mountain_car", "MountainCar"),
    "native/PointMass-v0": ("swingup.envs.tasks.point_mass", "PointMass"),
    "native/PointGoal-v0": ("swingup.envs.tasks.point_goal", "PointGoal"),
}

# Prefixes of the ids of environments in JAX; all but the first are of other libraries (`envs.jax_libraries`).
PREFIXES = ("native", "gymnax", "brax", "playground", "gymnasium-functional")


def in_jax(name: str) -> bool:
    """Whether an id names an environment written in JAX, for `find`, and not one of Gymnasium."""
    return name.partition("/")[0] in PREFIXES and "/" in name


def find(name: str) -> JaxEnv:
    """Create the JAX environment of an id (`native/Pendulum-v1`, `brax/ant`); InputError if there is none."""
    if in_jax(name) and not name.startswith("native/"):
        from swingup.envs import jax_libraries

        return jax_libraries.find(name)
    if name not in NATIVE:
        raise unknown(name, NATIVE)
    module, kind = NATIVE[name]
    return getattr(importlib.import_module(module), kind)()


def factory(env: Any, **options: Any) -> Callable[[], gymnasium.Env]:
    """A function that creates a fresh environment from an id, `module:Id`, a Gymnasium object or a factory.

    The object must have a spec. Options (render_mode) go to `gymnasium.make` or JaxGymEnv; a user's own
    factory is called without them. InputError for anything else.
    """
    if isinstance(env, str) and in_jax(env):
        return wrapped(env, options)
    if isinstance(env, str):
        spec = gym_spec(env)
        return lambda: create(spec, env, options)
    if isinstance(env, gymnasium.Env):
        if env.spec is None:
            raise InputError(
                f"environment {type(env).__name__}: training needs a second copy for evaluation and this "
                f"object cannot be copied; pass a function that makes it, for example "
                f"`lambda: {type(env).__name__}(...)`"
            )
        return lambda: recreate(env, options)
    if callable(env):
        return env
    raise InputError(
        f"environment {env!r}: expected an id, a Gymnasium environment or a function that makes one"
    )


def recreate(env: gymnasium.Env, options: dict[str, Any]) -> gymnasium.Env:
    """A copy of an object with a spec; InputError that names the way out where a wrapper has none."""
    try:
        return create(env.spec, name_of(env), options)
    except InputError as error:
        fix = f"pass a function that makes it, for example `lambda: {type(env).__name__}(...)`"
        raise InputError(f"{error}; {fix}") from error


def wrapped(env: str, options: dict[str, Any]) -> Callable[[], gymnasium.Env]:
    """A function that creates a JAX environment behind Gymnasium's interface."""
    from swingup.envs.jax_as_gym import JaxGymEnv

    return lambda: JaxGymEnv(find(env), env, **options)


# Environments that an evaluation steps together.
EVAL_COPIES = 10


def make_eval_envs(env: Any, n: int, name: str | None = None, limit: int | None = None) -> VectorEnv:
    """Create n environments for evaluation; those written in JAX run as one compiled program."""
    if isinstance(env, str) and in_jax(env):
        from swingup.envs.jax_env import JaxVectorEnv

        return JaxVectorEnv(find(env), n, name, limit)
    return GymEnv(factory(env), n, name, limit)
