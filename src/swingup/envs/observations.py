"""Observations of Gymnasium's environments, checked against their spaces."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary

from swingup.envs import lenient
from swingup.envs.api import check_array, fault
from swingup.envs.remarks import Remark, ignore
from swingup.envs.spaces import categories_of


def check_nested(obs: Any, space: Any, where: object, remark: Remark = ignore) -> Any:
    """Return an observation, each of its parts checked; Dict and Tuple spaces are checked recursively."""
    if isinstance(space, gymnasium.spaces.Dict):
        if not isinstance(obs, dict) or set(obs) != set(space.spaces):
            keys = sorted(obs, key=str) if isinstance(obs, dict) else type(obs).__name__
            wanted = sorted(space.spaces, key=str)
            raise fault(where, f"the observation has {keys}, its space says {wanted}", "make them agree")
        return {k: check_nested(obs[k], s, f"{where}, key {k!r}", remark) for k, s in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        if not isinstance(obs, tuple) or len(obs) != len(space.spaces):
            raise fault(
                where,
                f"the observation is not a tuple of {len(space.spaces)}",
                "make it agree with its space",
            )
        return tuple(
            check_nested(o, s, f"{where}, part {i}", remark)
            for i, (o, s) in enumerate(zip(obs, space.spaces, strict=True))
        )
    return (
        check_array(obs, space, where, remark) if isinstance(space, Box) else check_choice(obs, space, where)
    )


def check_choice(value: Any, space: Any, where: object) -> np.ndarray:
    """The whole numbers of a Discrete, MultiDiscrete or MultiBinary observation, as an array of its shape.

    EnvFault if they are none, or none of its values.
    """
    shape = () if isinstance(space, Discrete) else space.shape
    kind = np.dtype(np.int64)
    if isinstance(value, np.ndarray) and value.dtype == bool and isinstance(space, MultiBinary):
        value = value.astype(kind)
    if isinstance(space, Discrete) and lenient.as_array(value) is not None and np.size(value) == 1:
        value = np.reshape(value, ())
    taken = None if isinstance(value, bool) else lenient.observation(value, shape, kind)
    kinds = categories_of(space) or ((2, 0),) * math.prod(shape)
    if taken is None or not all(
        start <= v < start + n for v, (n, start) in zip(taken.reshape(-1).tolist(), kinds, strict=True)
    ):
        raise fault(where, f"the observation {value!r:.60} is not in its space, {space}", "make them agree")
    return taken
