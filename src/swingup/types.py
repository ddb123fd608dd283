"""Types that modules share: a transition and its row, an environment's spaces, an episode. Needs no JAX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import getitem
from typing import Any, Literal, NamedTuple

import numpy as np

Array = Any  # a NumPy or a JAX array; shapes are in the docstrings

# The precision of the factors in matrix products.
Precision = Literal["float32", "tensorfloat32", "bfloat16"]


class Transition(NamedTuple):
    """One step of one environment; leading axes are [K, N] from a collector and [B] from replay.

    obs[*, O], action[*, A] in [-1, 1] as executed, reward[*], discount[*] (0 where the episode terminated,
    else 1; `replay_buffer.n_step_batch` multiplies by gamma), next_obs[*, O] (the true successor, also at
    episode ends), last[*] (1 where the episode ended, terminated or truncated).
    """

    obs: Array
    action: Array
    reward: Array
    discount: Array
    next_obs: Array
    last: Array


@dataclass(frozen=True)
class Layout:
    """Where each field of a transition lies in its row.

    With one row per transition XLA updates replay in place; with an array per field it copies the whole ring
    if a program both adds and samples (3 times slower at a million rows).
    """

    obs_size: int
    action_size: int

    @property
    def width(self) -> int:
        """The length W of a row."""
        return 2 * self.obs_size + self.action_size + 3

    def unpack(self, rows: Array) -> Transition:
        """The fields of rows[*, W]; those of NumPy rows are views: assigning to a field writes the row."""
        o, a = self.obs_size, self.action_size
        return Transition(
            obs=rows[..., :o],
            action=rows[..., o : o + a],
            reward=rows[..., o + a],
            discount=rows[..., o + a + 1],
            last=rows[..., o + a + 2],
            next_obs=rows[..., o + a + 3 :],
        )

    def pack(self, t: Transition) -> Array:
        """The rows[*, W] of a transition's fields, in the namespace (NumPy or JAX) of `t.obs`."""
        xp = t.obs.__array_namespace__()
        return xp.concat(
            [t.obs, t.action, t.reward[..., None], t.discount[..., None], t.last[..., None], t.next_obs],
            axis=-1,
        )


@dataclass(frozen=True)
class Spec:
    """An environment's observation and action spaces.

    The agent's observations are float32 of `obs_size`, its actions lie in [-1, 1]^A; `to_env` and `from_env`
    are the affine map between these actions and the environment's box, per dimension, asymmetric bounds
    included. obs_shape is the box's, or (O,) for Dict and Tuple observations, which are flattened; parts: the
    path to each of their arrays, in the space's own order; categories: of each part that holds choices, how
    many values each choice has and its first value, as they are encoded one-hot; () of a part of numbers.
    """

    env: str
    obs_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    action_dtype: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    parts: tuple[tuple[str | int, ...], ...] = ()
    categories: tuple[tuple[tuple[int, int], ...], ...] = ()

    @classmethod
    def of_json(cls, fields: dict[str, Any]) -> Spec:
        """The Spec whose fields were written as JSON, which has lists for tuples."""
        return cls(**{name: as_tuple(value) for name, value in fields.items()})

    @property
    def obs_size(self) -> int:
        """O, the length of a flat observation."""
        return math.prod(self.obs_shape)

    @property
    def action_size(self) -> int:
        """A, the length of a flat action."""
        return math.prod(self.action_shape)

    @property
    def layout(self) -> Layout:
        """The layout of this environment's rows."""
        return Layout(self.obs_size, self.action_size)

    def to_env(self, action: Array) -> Array:
        """action[*, A] in [-1, 1], NumPy or JAX -> [*, *action_shape] in the environment's dtype and box."""
        xp, (low, high) = action.__array_namespace__(), self.bounds
        # This form gives the bounds themselves at -1 and 1, and does not overflow for wide boxes.
        scaled = low / 2 * (1 - action) + high / 2 * (1 + action)
        # What `clip` does, at a quarter of its price in NumPy.
        scaled = xp.minimum(high, xp.maximum(low, scaled))
        return scaled.astype(self.action_dtype).reshape((*action.shape[:-1], *self.action_shape))

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The box of actions as float64 arrays [A], made once as `to_env` is called at every step."""
        return np.asarray(self.low), np.asarray(self.high)

    def from_env(self, action: np.ndarray) -> np.ndarray:
        """The inverse of `to_env`: [*, *action_shape] in the box -> [*, A] in [-1, 1], float32."""
        low, high = self.bounds
        lead = action.shape[: action.ndim - len(self.action_shape)]
        flat = np.asarray(action, np.float64).reshape(*lead, self.action_size)
        return np.clip((flat - (high / 2 + low / 2)) / (high / 2 - low / 2), -1, 1).astype(np.float32)


class Episode(NamedTuple):
    """One finished episode: environment, number of the episode there, seed, return, length and how it ended.

    q_max: the mean over the episode's updates of the largest Q in the minibatch (NaN before learning), as the
    2017 tutorial reports it.
    """

    env: int
    number: int
    seed: int
    ret: float
    length: int
    terminated: bool
    q_max: float = math.nan


def as_tuple(value: Any) -> Any:
    """Lists as tuples, nested ones too; anything else unchanged."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


def flatten(
    obs: Any,
    parts: Sequence[tuple[str | int, ...]] = (),
    categories: Sequence[tuple[tuple[int, int], ...]] = (),
) -> np.ndarray:
    """One observation as a flat float32 vector, its arrays row by row, in the order of `parts` (`Spec`).

    Without parts, as in policy files of before: dicts by sorted key, tuples in order.
    """
    if categories:
        found = zip((reduce(getitem, path, obs) for path in parts), categories, strict=True)
        return np.concatenate([one_hot(part, kinds) if kinds else flatten(part) for part, kinds in found])
    if parts:
        return np.concatenate([flatten(reduce(getitem, path, obs)) for path in parts])
    if isinstance(obs, dict):
        return np.concatenate([flatten(obs[k]) for k in sorted(obs)])
    if isinstance(obs, tuple):
        return np.concatenate([flatten(o) for o in obs])
    return np.asarray(obs, np.float32).reshape(-1)


def one_hot(choices: Any, kinds: Sequence[tuple[int, int]]) -> np.ndarray:
    """Whole numbers as zeros and ones: of each, how many values it has and the first one; float32.

    LookupError for a number that is none of its values.
    """
    encoded, offset = np.zeros(sum(n for n, _ in kinds), np.float32), 0
    for value, (n, first) in zip(np.asarray(choices).reshape(-1).tolist(), kinds, strict=True):
        if value - first not in range(n):
            raise LookupError(f"{value} is none of {first} to {first + n - 1}")
        encoded[offset + int(value) - first] = 1
        offset += n
    return encoded
