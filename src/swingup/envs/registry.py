"""From an id or an object to environments: which kind it is, what makes it, and copies for evaluation."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import gymnasium

from swingup.envs.api import HostEnv, JaxEnv
from swingup.envs.gym_env import GymEnv, create, gym_spec
from swingup.errors import InputError, unknown

# Where each lives: importing them needs JAX, and asking for a name that does not exist should not.
NATIVE = {
    "native/Pendulum-v1": ("swingup.envs.tasks.pendulum", "Pendulum"),
    "native/MountainCarContinuous-v0": ("swingup.envs.tasks.mountain_car", "MountainCar"),
    "native/PointMass-v0": ("swingup.envs.tasks.point_mass", "PointMass"),
}

# What an id may begin with; all but the first are other libraries' environments, brought in by `envs.adapters`.
PREFIXES = ("native", "gymnax", "brax", "playground", "gymnasium-functional")


def in_jax(name: str) -> bool:
    """Whether an id is `find`'s, not Gymnasium's."""
    return name.partition("/")[0] in PREFIXES and "/" in name


def find(name: str) -> JaxEnv:
    """The environment of `native/Pendulum-v1`, `gymnax/...`, `brax/...`: one in JAX; InputError, one line, where there is none."""
    if in_jax(name) and not name.startswith("native/"):
        from swingup.envs import jax_libraries

        return jax_libraries.find(name)
    if name not in NATIVE:
        raise unknown(name, NATIVE)
    module, kind = NATIVE[name]
    return getattr(importlib.import_module(module), kind)()


def factory(env: Any, **options: Any) -> Callable[[], gymnasium.Env]:
    """A function that makes a fresh environment from an id, `module:Id`, a Gymnasium object with a spec, or a factory.

    Options (render_mode) go to `gymnasium.make`; a factory of your own is called without any.
    """
    if isinstance(env, str) and in_jax(env):
        return wrapped(env, options)
    if isinstance(env, str):
        spec = gym_spec(env)
        return lambda: create(spec, env, options)
    if isinstance(env, gymnasium.Env):
        if env.spec is None:
            raise InputError(
                f"environment {type(env).__name__}: training needs a second copy for evaluation and this object cannot be "
                f"copied; pass a function that makes it, for example `lambda: {type(env).__name__}(...)`"
            )
        spec = env.spec
        return lambda: create(spec, spec.id, options)
    if callable(env):
        return env
    raise InputError(f"environment {env!r}: expected an id, a Gymnasium environment or a function that makes one")


def wrapped(env: str, options: dict[str, Any]) -> Callable[[], gymnasium.Env]:
    """A function that makes an environment written in JAX, in Gymnasium's clothes."""
    from swingup.envs.jax_as_gym import JaxGymEnv

    return lambda: JaxGymEnv(find(env), env, **options)


# How many episodes an evaluation plays side by side.
LOCKSTEP = 10


def lockstep(env: Any, n: int, name: str | None = None, limit: int | None = None) -> HostEnv:
    """n environments for evaluation, side by side; those written in JAX as one program."""
    if isinstance(env, str) and in_jax(env):
        from swingup.envs.jax_env import JaxHost

        return JaxHost(find(env), n, name, limit)
    return GymEnv(factory(env), n, name, limit)
