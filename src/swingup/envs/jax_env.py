"""Environments written in JAX as a vector environment (VectorEnv): one compiled program steps N of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from swingup.envs.api import JaxEnv, JaxGoalEnv, Replayed, Step, check_finite, fault
from swingup.envs.jax_programs import compiled, compiled_judge


def successes(env: JaxGoalEnv, obs: np.ndarray) -> np.ndarray:
    """Whether obs[N, O] are at their goals, as `Step.success` has it."""
    goals = [obs[:, k : k + env.goal_size] for k in (env.achieved, env.desired)]
    return np.array(compiled_judge(env)(*goals).success, np.float64)


class JaxVectorEnv:
    """N environments written in JAX, stepped together by one compiled program; returned values are checked.

    env: hashable, as a frozen dataclass is; name: what errors and the Spec call it; limit: time steps after
    which an episode is truncated, if fewer than its own limit. `states` holds the N states, `count[N, 2]` the
    episodes started and the time steps in the current one.
    """

    def __init__(self, env: JaxEnv, n: int = 1, name: str | None = None, limit: int | None = None):
        self.env, self.n = env, n
        self.spec = replace(env.spec, env=name) if name else env.spec
        self.limit = min((k for k in (env.limit, limit) if k is not None), default=None)
        self.known_limit = self.limit
        self.count = np.zeros((n, 2), np.int64)
        self.states: Any = None
        self.reset_all, self.advance, self.merge = compiled(env)
        self.goal_env = env if isinstance(env, JaxGoalEnv) else None

    def reset(self, seeds: Sequence[int | None]) -> np.ndarray:
        fresh = np.array([seed is not None for seed in seeds])
        states, obs = self.reset_all(np.array([seed or 0 for seed in seeds], np.uint32))
        self.merge_states(fresh, states)
        self.count[fresh, 0] += 1
        self.count[fresh, 1] = 0
        obs = np.array(obs, np.float32)
        self.check(obs, np.zeros(self.n), fresh)
        return obs

    def step(self, action: np.ndarray, active: np.ndarray | None = None) -> Step:
        # One program steps all of them, whatever is active.
        self.states, outcome = self.advance(self.states, np.asarray(action, np.float32))
        self.count[:, 1] += 1
        obs, reward = np.array(outcome.obs, np.float32), np.array(outcome.reward, np.float64)
        self.check(obs, reward, np.ones(self.n, bool) if active is None else active)
        truncated = self.count[:, 1] >= (np.inf if self.limit is None else self.limit)
        success = None if self.goal_env is None else successes(self.goal_env, obs)
        return Step(obs, reward, np.array(outcome.terminated, bool), truncated, success)

    def restore_episode(self, i: int, seed: int, actions: np.ndarray) -> Replayed:
        # All N execute the actions and only i is kept: a program of another size could round differently.
        states, first = self.reset_all(np.full(self.n, seed, np.uint32))
        import jax

        outcomes = []
        for action in np.asarray(actions, np.float32):
            states, outcome = self.advance(states, np.tile(action, (self.n, 1)))
            outcomes.append(outcome[:3])
        # Read once at the end: on a GPU each read waits for the step, and a group of seeds restores hundreds.
        first, outcomes = jax.device_get((first, outcomes))
        obs = [first[i], *(o[i] for o, _, _ in outcomes)]
        reward, terminated = [r[i] for _, r, _ in outcomes], [t[i] for _, _, t in outcomes]
        self.merge_states(np.arange(self.n) == i, states)
        self.count[i] += (1, 0)
        self.count[i, 1] = len(actions)
        truncated = np.arange(1, len(actions) + 1) >= (np.inf if self.limit is None else self.limit)
        return Replayed(
            np.array(obs, np.float32), np.array(reward, np.float64), np.array(terminated, bool), truncated
        )

    def merge_states(self, where: np.ndarray, states: Any) -> None:
        """Replace the states where where[N] is true; the others keep theirs bit for bit."""
        self.states = states if self.states is None else self.merge(where, states, self.states)

    def check(self, obs: np.ndarray, reward: np.ndarray, where: np.ndarray) -> None:
        """EnvFault unless obs[N, O] and reward[N] are finite where where[N] is true."""
        bad = where & ~(np.isfinite(obs).all(1) & np.isfinite(reward))
        for i in np.flatnonzero(bad):
            episode, step = self.count[i]
            place = f"environment {self.spec.env} [{i}], episode {episode - 1}, step {step}"
            check_finite(obs[i], place)
            raise fault(
                place, f"the reward is {reward[i]}", "mend the environment; nothing of this step was stored"
            )

    def close(self) -> None:
        self.states = None
