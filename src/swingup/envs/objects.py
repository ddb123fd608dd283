"""Gymnasium objects as they are given: whether a copy made from the spec is the same environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from swingup.envs.closing import PATIENCE, failure
from swingup.envs.gym_ids import create, declared_limit, name_of
from swingup.errors import InputError

# Wrappers of Gymnasium's that change neither observations, rewards nor actions.
PLAIN = ("PassiveEnvChecker", "OrderEnforcing", "TimeLimit")

STEPS = 20  # after a reset, in which a copy is compared with the object


class Uncopyable(InputError):
    """An object of which no equal copy can be made."""


def recreate(env: gymnasium.Env, options: dict[str, Any]) -> gymnasium.Env:
    """A copy of an object, made from its spec; Uncopyable, with the reason and the way out, if that fails."""
    if env.spec is None:
        raise Uncopyable(uncopyable(env, "it has no spec to be made again from"))
    try:
        limit = declared_limit(env)[0]
        kept = {} if limit is None else {"max_episode_steps": limit}  # which the spec of `.unwrapped` has not
        return create(env.spec, name_of(env), kept | options)
    except InputError as error:
        raise Uncopyable(uncopyable(env, f"its spec does not make it again ({error})")) from error


def uncopyable(env: gymnasium.Env, why: str) -> str:
    """The one line for an object that cannot be copied, and what to give instead."""
    kind = chain(env)[0]
    return (
        f"environment {kind}: this object cannot be copied, {why}; pass a function that makes it, "
        f"for example `lambda: {kind}(...)`"
    )


def check_copy(env: gymnasium.Env) -> None:
    """Uncopyable if an object and a copy from its spec differ: in wrappers, spaces or a first episode."""
    copy = recreate(env, {})
    try:
        if why := difference(env, copy):
            raise Uncopyable(uncopyable(env, f"made again from its spec it is another environment ({why})"))
    finally:
        failure(copy.close, PATIENCE)


def difference(env: gymnasium.Env, copy: gymnasium.Env) -> str:
    """How an object and its copy differ, in a few words; empty if they do not."""
    if chain(env) != chain(copy):
        return f"its wrappers are {', '.join(chain(copy)) or 'none'}"
    if declared_limit(env)[0] != declared_limit(copy)[0]:
        return f"its time limit is {declared_limit(copy)[0]}"
    for what in ("observation_space", "action_space"):
        if getattr(env, what) != getattr(copy, what):
            return f"its {what} is {getattr(copy, what)}"
    return "" if played(env) == played(copy) else "the same seed and actions lead it elsewhere"


def chain(env: gymnasium.Env) -> list[str]:
    """The wrappers of an environment that change something, the outermost first, and its class."""
    names = []
    while isinstance(env, gymnasium.Wrapper):
        names.append(type(env).__name__)
        env = env.env
    return [name for name in [*names, type(env).__name__] if name not in PLAIN]


def played(env: gymnasium.Env) -> list[Any]:
    """What the first steps of an episode give, as bytes that can be compared."""
    space = env.action_space
    rng = np.random.default_rng(0)
    try:
        if not isinstance(space, gymnasium.spaces.Box):
            return []
        low, high = (np.clip(b, -1e3, 1e3) for b in (space.low, space.high))
        seen: list[Any] = [bits(env.reset(seed=0)[0])]
        for _ in range(STEPS):
            obs, reward, terminated, truncated, _ = env.step(rng.uniform(low, high).astype(space.dtype))
            seen += [bits(obs), float(np.asarray(reward).item()), bool(terminated), bool(truncated)]
            if terminated or truncated:
                break
        return seen
    except Exception as error:  # a run says it in its place
        return [type(error).__name__]


def bits(obs: Any) -> Any:
    """The numbers of an observation, Dict and Tuple ones too, in a form that can be compared exactly."""
    if isinstance(obs, dict):
        return [(key, bits(obs[key])) for key in sorted(obs, key=str)]
    if isinstance(obs, tuple):
        return [bits(part) for part in obs]
    array = np.asarray(obs)
    return array.dtype.str, array.shape, array.tobytes()


def arguments_of(env: gymnasium.Env) -> dict[str, Any] | None:
    """The arguments with which `gymnasium.make` makes an object's environment again from its id alone.

    None if it takes more than that: wrappers, or an entry in the registry that another program has not.
    """
    spec, entry = env.spec, gymnasium.registry.get(env.spec.id) if env.spec is not None else None
    if spec is None or entry is None or spec.additional_wrappers or spec.entry_point != entry.entry_point:
        return None
    found = {k: v for k, v in spec.kwargs.items() if k not in entry.kwargs or entry.kwargs[k] is not v}
    limit = declared_limit(env)[0]
    return found | ({"max_episode_steps": limit} if limit != entry.max_episode_steps else {})
