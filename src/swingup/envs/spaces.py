"""Gymnasium's spaces: which ones DDPG can train on, as a `Spec`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from swingup.envs.continuous import CONTINUOUS
from swingup.envs.remarks import Remark, ignore
from swingup.errors import InputError
from swingup.types import Spec

# A bound beyond this counts as infinite: many environments declare the largest float32.
UNBOUNDED = 1e30
# Two sides of at least this many numbers, within finite bounds, make a picture.
SIDE = 8

CHOICES = (Discrete, MultiDiscrete, MultiBinary)


def spec_of(env: gymnasium.Env, name: str, remark: Remark = ignore) -> Spec:
    """The Spec of an environment; InputError with the reason if DDPG cannot train on it."""
    for what in ("action_space", "observation_space"):
        if getattr(env, what, None) is None:
            raise InputError(f"environment {name}: it has no {what}; set self.{what} in its __init__")
    box = action_box(env, name, remark)
    low, high = (tuple(np.asarray(b, np.float64).reshape(-1).tolist()) for b in (box.low, box.high))
    seen = env.observation_space
    size = obs_size(seen, name)
    name_statistics(env, remark)
    if isinstance(seen, Box):
        if np.dtype(seen.dtype).kind in "iu":
            remark_scale(seen, remark)
        return Spec(name, seen.shape, box.shape, str(box.dtype), low, high)
    parts, kinds = zip(*leaves(seen), strict=True)
    categories = kinds if any(kinds) else ()
    return Spec(name, (size,), box.shape, str(box.dtype), low, high, parts, categories)


def action_box(env: gymnasium.Env, name: str, remark: Remark) -> Box:
    """The box of actions with finite bounds; InputError that says what would work if there is none."""
    space = env.action_space
    if not isinstance(space, Box):
        raise InputError(f"environment {name}: its actions are {kind_of(space)}; {other_actions(space, env)}")
    if not np.issubdtype(space.dtype, np.floating):
        raise InputError(
            f"environment {name}: its action box holds {space.dtype}, whole numbers, and DDPG's actions are "
            "real ones; declare float32 and round them in step"
        )
    if not space.shape == () and 0 in space.shape:
        raise InputError(f"environment {name}: its action box is empty; DDPG needs at least one action")
    if unbounded(space).any() and (inner := behind_clipping(env)) is not None:
        space = inner
        text = "ClipAction has infinite bounds; those behind it count, and actions are always within them"
        remark("bounds", text)
    for i, (low, high, bad) in enumerate(
        zip(space.low.reshape(-1), space.high.reshape(-1), unbounded(space), strict=True)
    ):
        if bad:
            raise InputError(
                f"environment {name}: action {i} has bounds [{low}, {high}]; DDPG needs finite ones, give "
                "the range that makes sense, for example --action-low -1 --action-high 1"
            )
        if not low < high:
            raise InputError(
                f"environment {name}: action {i} has bounds [{low}, {high}], no width; "
                "remove this action or widen it"
            )
    return space


def unbounded(space: Box) -> np.ndarray:
    """Which elements of a flattened box have an infinite bound."""
    with np.errstate(invalid="ignore"):
        low, high = (np.abs(np.asarray(b, np.float64).reshape(-1)) for b in (space.low, space.high))
    return ~((low < UNBOUNDED) & (high < UNBOUNDED))


def behind_clipping(env: gymnasium.Env) -> Box | None:
    """The finite action box inside Gymnasium's ClipAction, if only it hides that; else None."""
    space = env.action_space
    while isinstance(env, gymnasium.Wrapper):
        inner: Any = env.env.action_space
        if isinstance(env, gymnasium.wrappers.ClipAction):
            fits = isinstance(inner, Box) and inner.shape == space.shape and not unbounded(inner).any()
            return inner if fits else None
        if inner != space:
            return None
        env = env.env
    return None


def kind_of(space: Any) -> str:
    """A space as errors call it: its kind, and what a Dict or Tuple is made of."""
    if isinstance(space, (gymnasium.spaces.Dict, gymnasium.spaces.Tuple)):
        return f"{type(space).__name__} of {', '.join(type(part).__name__ for _, part in parts_of(space))}"
    return str(space) if isinstance(space, CHOICES) else type(space).__name__


def other_actions(space: Any, env: gymnasium.Env) -> str:
    """What would work for actions that are not a Box."""
    known = env.spec.id.rpartition("-v")[0] if env.spec is not None else ""
    if real := CONTINUOUS.get(known):
        return f"DDPG needs a Box of real numbers, train {real}"
    if isinstance(space, (gymnasium.spaces.Dict, gymnasium.spaces.Tuple)):
        kinds = [part for _, part in parts_of(space)]
        if all(isinstance(part, Box) for part in kinds):
            return "DDPG needs one Box: declare one that holds all numbers, and take them apart in step"
        return (
            "DDPG needs one Box of real numbers: add a number for each choice to it, "
            "and let step take the choice whose number is the largest"
        )
    return (
        "DDPG needs a Box of real numbers: for choices alone take another algorithm (DQN, PPO), "
        "or let step take the choice whose number in a Box is the largest"
    )


def name_statistics(env: Any, remark: Remark) -> None:
    """Remark on wrappers that learn a scale of their own, which is not part of the policy."""
    while isinstance(env, gymnasium.Wrapper):
        kind = type(env).__name__
        if hasattr(env, "obs_rms"):
            remark(
                "statistics",
                f"{kind} learns a mean and variance that do not ship with the policy, and evaluations have "
                "others; leave it out and use --normalize, which is saved with the policy",
            )
        elif hasattr(env, "return_rms"):
            remark(
                "reward statistics",
                f"{kind} learns a scale of rewards, so returns are in changing units; leave it out and use "
                "--reward-scale (and for observations --normalize, which ships with the policy)",
            )
        env = env.env


def remark_scale(space: Box, remark: Remark) -> None:
    """Remark on observations of whole numbers, which are often large."""
    ends = f"{space.low.min()} to {space.high.max()}"
    remark(
        "scale",
        f"observations are whole numbers ({space.dtype}, {ends}), taken as they are; "
        "--normalize brings them to one scale, and ships it with the policy",
    )


def leaves(space: Any, above: tuple = ()) -> Iterator[tuple[tuple, tuple[tuple[int, int], ...]]]:
    """The path to each part of a space and its categories (`Spec`), in the order of gymnasium's `flatten`."""
    if isinstance(space, (gymnasium.spaces.Dict, gymnasium.spaces.Tuple)):
        for key, part in parts_of(space):
            yield from leaves(part, (*above, key))
    else:
        yield above, categories_of(space)


def paths(space: Any) -> Iterator[tuple]:
    """The path to each part of a space, in the order of gymnasium's `flatten`."""
    return (path for path, _ in leaves(space))


def categories_of(space: Any) -> tuple[tuple[int, int], ...]:
    """The number of values and the first value of each choice in a space; () for plain numbers."""
    if isinstance(space, Discrete):
        return ((int(space.n), int(space.start)),)
    if isinstance(space, MultiDiscrete):
        starts = np.broadcast_to(space.start, space.nvec.shape)
        return tuple(zip(space.nvec.reshape(-1).tolist(), starts.reshape(-1).tolist(), strict=True))
    return ()


def parts_of(space: Any) -> Iterable[tuple[Any, Any]]:
    """The keys and spaces of a Dict or a Tuple space."""
    return space.spaces.items() if isinstance(space, gymnasium.spaces.Dict) else enumerate(space.spaces)


def obs_size(space: Any, name: str) -> int:
    """The number of elements of a flattened observation; InputError if there is no vector in it."""
    if isinstance(space, (gymnasium.spaces.Dict, gymnasium.spaces.Tuple)):
        keys = [key for key, _ in parts_of(space)]
        if not keys:
            what = f"its observation is an empty {type(space).__name__}"
            raise InputError(f"environment {name}: {what}, no numbers in it; observe something")
        if not all(type(key) in (str, int) for key in keys):
            raise InputError(f"environment {name}: its observation has the keys {keys}; use texts")
        return sum(obs_size(part, name) for _, part in parts_of(space))
    if isinstance(space, CHOICES):
        return sum(n for n, _ in categories_of(space)) or math.prod(space.shape or ())
    if not isinstance(space, Box):
        raise InputError(
            f"environment {name}: its observations are {type(space).__name__}; swingup takes a Box, choices "
            "(Discrete, MultiDiscrete, MultiBinary) and Dict or Tuple of them: observe those"
        )
    if is_image(space):
        raise InputError(
            f"environment {name}: its observations are images {space.shape}; images are not supported yet, "
            "observe numbers, or make a small one a vector: --wrapper gymnasium.wrappers:FlattenObservation"
        )
    if not np.prod(space.shape, dtype=int):
        raise InputError(
            f"environment {name}: its observation has shape {space.shape}, no numbers in it; "
            "observe something"
        )
    return int(np.prod(space.shape, dtype=int))


def is_image(space: Box) -> bool:
    """Whether a box holds pictures: uint8 of two axes or more, or two long sides within finite bounds."""
    if len(space.shape) < 2 or space.dtype == np.uint8:
        return len(space.shape) >= 2
    return sorted(space.shape)[-2] >= SIDE and bool(space.is_bounded())
