"""A trained policy: what is needed to act, and nothing else. Runs on NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from swingup.core.networks import Params
from swingup.core.running_statistics import Moments, normalize
from swingup.errors import InputError
from swingup.types import Spec, flatten


@dataclass(frozen=True)
class Policy:
    """The greedy policy: `policy(obs) -> action` in the environment's units, one observation or a batch of them.

    obs: [*obs_shape] -> action [*action_shape], or [B, *obs_shape] -> [B, *action_shape], where obs_shape may also be flat; a Dict or Tuple observation counts as one. Raises ValueError for any other shape.
    """

    actor: Any
    params: Params
    spec: Spec
    moments: Moments | None = None

    def __call__(self, obs: Any) -> np.ndarray:
        x = flatten(obs) if isinstance(obs, (dict, tuple)) else np.asarray(obs, np.float32)
        shape, size = self.spec.obs_shape, self.spec.obs_size
        if x.shape in (shape, (size,)):
            return self.spec.to_env(self.act(x.reshape(size)))
        if x.shape[1:] in (shape, (size,)):
            return self.spec.to_env(self.act(x.reshape(len(x), size)))
        raise ValueError(
            f"policy: {self.spec.env} has observations of shape {shape}, this array has {x.shape}; give one, or a batch"
        )

    def check(self, spec: Spec) -> None:
        """InputError where an environment's sizes or bounds are not those that the policy was made for."""
        ours = self.spec
        for what in ("obs_size", "action_shape", "low", "high"):
            mine, theirs = getattr(ours, what), getattr(spec, what)
            if mine != theirs:
                raise InputError(
                    f"policy of {ours.env}: its {what} is {mine}, that of environment {spec.env} is {theirs}; give the one it was trained on"
                )

    def act(self, obs: np.ndarray) -> np.ndarray:
        """obs[*, O] -> action[*, A] in [-1, 1]."""
        return self.actor.apply(self.params, obs if self.moments is None else normalize(self.moments, obs))
