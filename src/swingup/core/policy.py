"""A trained policy, which acts on observations with NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swingup.core.history import History, Past, begin, no_past, push, stack
from swingup.core.networks import Params
from swingup.core.running_statistics import RunningStatistics, normalize
from swingup.errors import InputError
from swingup.types import Spec, flatten


@dataclass
class Memory:
    """What a policy with a history has seen and done; first[B]: where an episode begins next."""

    past: Past | None = None
    first: Any = 0


@dataclass(frozen=True)
class Policy:
    """The policy without noise: `policy(obs) -> action` in the environment's units; obs may be a batch.

    obs[*obs_shape] -> action[*action_shape], or obs[B, *obs_shape] -> action[B, *action_shape]; obs may be
    flat, [O] or [B, O]; a Dict or Tuple observation counts as one. Choices (Discrete and the like) are taken
    as the environment gives them or one-hot. Raises ValueError for any other shape. One that was trained with
    a history remembers what it has seen and done: call `reset` where an episode begins, and give it every
    observation once, in their order.
    """

    actor: Any
    params: Params
    spec: Spec
    obs_statistics: RunningStatistics | None = None
    history: History | None = None
    memory: Memory = field(default_factory=lambda: Memory(), compare=False, repr=False)

    def __repr__(self) -> str:
        """The policy in a line: its environment, sizes and layers."""
        s, layers = self.spec, "-".join(map(str, getattr(self.actor, "hidden", ())))
        shape = f"{s.obs_size} observations, {s.action_size} actions" + (
            f", layers {layers}" if layers else ""
        )
        return f"Policy({s.env}: {shape}{', normalised' if self.obs_statistics is not None else ''})"

    def __call__(self, obs: Any) -> np.ndarray:
        """The action for one observation, or the actions for a batch."""
        x = self.flat(obs) if isinstance(obs, (dict, tuple)) else np.asarray(obs, np.float32)
        if self.spec.parts == ((),) and x.shape[-1:] != (self.spec.obs_size,):
            x = self.encoded(x)
        shape, size = self.spec.obs_shape, self.spec.obs_size
        if x.shape in (shape, (size,)):
            return self.spec.to_env(self.act(x.reshape(size)))
        if x.shape[1:] in (shape, (size,)):
            return self.spec.to_env(self.act(x.reshape(len(x), size)))
        raise ValueError(
            f"policy: {self.spec.env} has observations of shape {shape}, this array has {x.shape}; "
            "give one observation or a batch"
        )

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """The action and the state unchanged, as Stable-Baselines3's `evaluate_policy` asks for them."""
        return self(observation), state

    def flat(self, obs: Any) -> np.ndarray:
        """A Dict or Tuple observation as obs[O]; ValueError if a part of it is missing."""
        try:
            return flatten(obs, self.spec.parts, self.spec.categories)
        except (LookupError, TypeError) as error:
            what = f"this observation does not have the parts of those of {self.spec.env} ({error!r})"
            raise ValueError(f"policy: {what}; give one of its space") from error

    def encoded(self, choices: np.ndarray) -> np.ndarray:
        """One observation that consists of choices alone, or a batch, one-hot."""
        count = len(self.spec.categories[0])
        if choices.size == count and choices.ndim <= 1:
            return self.flat(choices)
        return np.array([self.flat(one) for one in choices.reshape(-1, count)])

    def check(self, spec: Spec) -> None:
        """Raise InputError if an environment's sizes or bounds are not those the policy was trained on."""
        ours = self.spec
        by_key = tuple(sorted(spec.parts, key=lambda path: [(isinstance(k, str), k) for k in path]))
        if (ours.parts or by_key) != spec.parts:  # policies of before have no parts: they sorted the keys
            raise InputError(
                f"policy of {ours.env}: it was trained on the parts of an observation in another order than "
                f"environment {spec.env} has them; give the one it was trained on, or train again"
            )
        for what in ("obs_size", "categories", "action_shape", "low", "high"):
            mine, theirs = getattr(ours, what), getattr(spec, what)
            if mine != theirs:
                raise InputError(
                    f"policy of {ours.env}: its {what} is {mine}, "
                    f"that of environment {spec.env} is {theirs}; give the one it was trained on"
                )

    def act(self, obs: np.ndarray) -> np.ndarray:
        """obs[*, O] -> action[*, A] in [-1, 1]."""
        if self.history is not None:
            action = self.act_with_past(self.history, obs.reshape(-1, obs.shape[-1]))
            return action.reshape(*obs.shape[:-1], -1)
        return self.actor.apply(
            self.params, obs if self.obs_statistics is None else normalize(self.obs_statistics, obs)
        )

    def act_with_past(self, h: History, obs: np.ndarray) -> np.ndarray:
        """obs[B, O] -> action[B, A]; both are remembered. ValueError for another B than in the last call."""
        past, memory = self.memory.past, self.memory
        if past is not None and len(past.obs) != len(obs):
            raise ValueError(
                f"policy: {len(obs)} observations after {len(past.obs)}, and it remembers those; "
                "call policy.reset() where episodes begin"
            )
        past = no_past(h, obs) if past is None else begin(h, past, obs, memory.first)
        x = stack(past, obs)
        seen = None if self.obs_statistics is None else h.widen(self.obs_statistics)
        action = self.actor.apply(self.params, x if seen is None else normalize(seen, x))
        memory.past, memory.first = push(past, obs, action), np.zeros(len(obs))
        return action

    def reset(self, where: np.ndarray | None = None) -> None:
        """Say that the next observations begin episodes: all of them, or of a batch those in where[B]."""
        memory = self.memory
        if where is None:
            memory.past = None
        elif memory.past is not None:
            memory.first = np.maximum(memory.first, where)
