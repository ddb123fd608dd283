"""Find and create environments from an id, an object or a factory, for training and for evaluation."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium

from swingup.envs.api import JaxEnv
from swingup.envs.gym_ids import create, gym_spec, import_module
from swingup.envs.objects import check_copy, recreate
from swingup.errors import InputError, nearest, unknown

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


def factory(env: Any, kwargs: dict[str, Any] | None = None, **options: Any) -> Callable[[], gymnasium.Env]:
    """A function that creates fresh environments from an id, `module:Name`, a Gymnasium object or a function.

    `module:Name` is an id that the module registers, or a class or function in it. kwargs: arguments for what
    makes the environment; options: the same (render_mode), for a class or function only if it names them. An
    object must be what its spec makes. InputError for anything else.
    """
    if isinstance(env, str) and in_jax(env):
        return wrapped(env, options)
    if isinstance(env, str):
        maker = maker_in_module(env)
        if maker is not None:
            return calling(maker, kwargs or {}, options)
        spec, arguments = gym_spec(env), {**(kwargs or {}), **options}
        return lambda: create(spec, env, arguments)
    if isinstance(env, gymnasium.Env):
        check_copy(env)
        return lambda: recreate(env, {**(kwargs or {}), **options})
    if callable(env):
        return calling(env, kwargs or {}, options)
    raise InputError(
        f"environment {env!r}: expected an id, a Gymnasium environment or a function that makes one"
    )


def maker_in_module(name: str) -> Callable[..., gymnasium.Env] | None:
    """The class or function that `module:Name` names, or None where Name is an id or there is no module.

    InputError if the module holds neither.
    """
    module, _, inside = name.rpartition(":")
    if not module:
        return None
    found = import_module(module, f"environment {name}")
    if inside in gymnasium.registry or "-v" in inside or "/" in inside:
        return None
    maker = getattr(found, inside, None)
    if callable(maker):
        return maker
    makers = [k for k, v in vars(found).items() if isinstance(v, type) and issubclass(v, gymnasium.Env)]
    hint = nearest(inside, makers) or (f"; it has {', '.join(makers[:5])}" if makers else "")
    raise InputError(f"environment {name}: {module} has no id, class or function of that name{hint}")


def calling(make: Callable[..., Any], kwargs: dict[str, Any], options: dict[str, Any]) -> Callable[..., Any]:
    """A function that calls `make` with these arguments; of the options it gets those that it names.

    InputError for an argument that it does not take.
    """
    if not kwargs and not options:
        return make
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # of some classes written in C
        return partial(make, **kwargs)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in kwargs:
            if name not in parameters:
                takes = f"; it takes {', '.join(parameters)}" if parameters else "; it takes none"
                what = f"{getattr(make, '__name__', 'it')} takes no argument of that name"
                raise InputError(f"--env-kwargs {name}: {what}{nearest(name, parameters) or takes}")
    arguments = kwargs | {name: value for name, value in options.items() if name in parameters}
    return partial(make, **arguments) if arguments else make


def wrapped(env: str, options: dict[str, Any]) -> Callable[[], gymnasium.Env]:
    """A function that creates a JAX environment behind Gymnasium's interface."""
    from swingup.envs.jax_as_gym import JaxGymEnv

    return lambda: JaxGymEnv(find(env), env, **options)


# Environments that an evaluation steps together.
EVAL_COPIES = 10
