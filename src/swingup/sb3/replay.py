"""A model's replay: how much it holds, and the file in which it is kept beside the model's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from swingup.errors import InputError
from swingup.training.demonstrations import pack


class ReplayView:
    """A model's replay: `len` transitions are held, and `add` stores others.

    Stable-Baselines3's users know its other members, which count time steps of all environments.
    """

    def __init__(self, loop: Any):
        self.loop = loop

    @property
    def added(self) -> int:
        """Time steps ever added."""
        return int(self.loop.state.replay.added)

    @property
    def buffer_size(self) -> int:
        """Time steps that it can hold."""
        return len(self.loop.state.replay.rows)

    @property
    def pos(self) -> int:
        """Where the next time step goes."""
        return self.added % self.buffer_size

    @property
    def full(self) -> bool:
        """Whether the oldest are being overwritten."""
        return self.added >= self.buffer_size

    def size(self) -> int:
        """Time steps held."""
        return min(self.added, self.buffer_size)

    def __len__(self) -> int:
        """How many transitions are held."""
        return self.size() * self.loop.plan.columns

    def add(
        self, obs: Any, action: Any, reward: Any, terminated: Any, truncated: Any, next_obs: Any = None
    ) -> None:
        """Store T transitions in order of time, in the environment's units; they count for the warm-up.

        obs[T, *obs_shape], action[T, *action_shape], reward[T], terminated[T], truncated[T]. Without
        next_obs[T, *obs_shape] a step's successor is the next step's observation, and steps without one are
        left out. InputError if a value is wrong.
        """
        rows = pack(self.loop.spec, "replay.add", obs, action, reward, terminated, truncated, next_obs)
        self.loop.add(rows)

    def rows(self) -> np.ndarray:
        """The rows[T, N, W] held, the oldest first."""
        rows = np.asarray(self.loop.state.replay.rows)
        return np.roll(rows, -self.pos, axis=0) if self.full else rows[: self.pos]


def save_rows(path: Path, rows: np.ndarray, obs_size: int, action_size: int) -> None:
    """Write rows[T, N, W] as one safetensors file."""
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    about = json.dumps({"obs_size": obs_size, "action_size": action_size})
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(save({"rows": np.ascontiguousarray(rows)}, {"swingup_replay": about}))
    os.replace(part, path)


def load_rows(path: Path, envs: int, obs_size: int, action_size: int) -> np.ndarray:
    """The rows that `save_rows` wrote; InputError if it is no such file, or of other sizes."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such replay; write one with model.save_replay_buffer(path)")
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})["swingup_replay"])
            rows = file.get_tensor("rows")
        sizes = (rows.shape[1], int(about["obs_size"]), int(about["action_size"]))
        wrong = rows.ndim != 3 or rows.dtype != np.float32 or not np.isfinite(rows).all()
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a replay of swingup ({type(error).__name__}: {error!s:.200})"
        ) from error
    if wrong or sizes != (envs, obs_size, action_size) or rows.shape[2] != 2 * obs_size + action_size + 3:
        raise InputError(
            f"{path}: a replay of {sizes[0]} environments with observations of {sizes[1]} and actions of "
            f"{sizes[2]} numbers; this model has {envs}, {obs_size} and {action_size}"
        )
    return rows
