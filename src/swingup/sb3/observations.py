"""What is given to `predict`: an observation, a batch of them, or what an environment's `reset` returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from swingup.types import Spec


def obs_alone(given: Any, spec: Spec) -> Any:
    """The observation, where (obs, info) was given and that is no observation of a Tuple space itself."""
    of_tuples = any(type(path[0]) is int for path in spec.parts if path)
    pair = isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict)
    return given[0] if pair and not of_tuples else given


def rows_of(obs: Any, space: Any) -> list[Any] | None:
    """The observations of a batch, of a Dict or Tuple space; None if it is one observation.

    As Stable-Baselines3's vector environments give them: each part has a leading axis of environments.
    """
    sizes = {array.shape[0] for array, part in leaves(obs, space) if array.ndim == len(part.shape) + 1}
    if len(sizes) != 1:
        return None
    return [row(obs, i) for i in range(sizes.pop())]


def leaves(obs: Any, space: Any) -> Iterator[tuple[np.ndarray, Any]]:
    """Each array of an observation with its space."""
    if isinstance(obs, (dict, tuple)):
        parts = space.spaces.items() if isinstance(obs, dict) else enumerate(space.spaces)
        for key, part in parts:
            yield from leaves(obs[key], part)
    elif space.shape is not None:
        yield np.asarray(obs), space


def row(obs: Any, i: int) -> Any:
    """The observation of environment i in a batch."""
    if isinstance(obs, dict):
        return {key: row(part, i) for key, part in obs.items()}
    return tuple(row(part, i) for part in obs) if isinstance(obs, tuple) else obs[i]
