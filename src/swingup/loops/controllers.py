"""Controllers of the user's own, for example a PID, which act in the warm-up instead of random actions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from swingup.errors import InputError
from swingup.types import Spec


class Controllers:
    """A copy of a controller for each of N environments: controller(obs) -> action in its units.

    A controller with a memory has a method `reset()`, called at the beginning of each episode; what it
    remembers must follow from the observations since then, so that an interrupted run can repeat them.
    obs[*obs_shape], or flat [O] for Dict and Tuple observations.
    """

    def __init__(self, controller: Any, spec: Spec, n: int):
        if not callable(controller):
            raise InputError(f"warmup_policy: {controller!r:.60} cannot be called; give a function of obs")
        self.spec, self.each = spec, [copy.deepcopy(controller) for _ in range(n)]

    def __call__(self, obs: np.ndarray, first: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
        """Actions[N, A] in [-1, 1] for obs[N, O]; first[N]: where an episode begins.

        where[N]: the environments that act, by default all; the rows of the others are zero.
        """
        actions = np.zeros((len(self.each), self.spec.action_size), np.float32)
        for i in range(len(self.each)) if where is None else np.flatnonzero(where):
            actions[i] = self.action_of(int(i), obs[i], bool(first[i]))
        return actions

    def action_of(self, i: int, obs: np.ndarray, first: bool) -> np.ndarray:
        """The action[A] of one controller; InputError if it is none of the environment's."""
        if first and hasattr(self.each[i], "reset"):
            self.each[i].reset()
        shape = self.spec.action_shape
        try:
            action = np.asarray(self.each[i](obs.reshape(self.spec.obs_shape)), np.float64)
            if action.size != self.spec.action_size or not np.isfinite(action).all():
                raise ValueError(f"it has shape {action.shape} and must be {shape}, of finite numbers")
        except (TypeError, ValueError) as error:
            raise InputError(f"warmup_policy: not an action of {self.spec.env} ({error})") from error
        return self.spec.from_env(action.reshape(shape))

    def see_again(self, episodes: Sequence[np.ndarray]) -> None:
        """Repeat the observations[T, O] of each running episode, for controllers with a memory."""
        for i, observations in enumerate(episodes):
            for t, obs in enumerate(observations):
                self.action_of(i, obs, t == 0)
