"""Collectors turn actions into rows: the only place that knows both environments and the agent's layout."""

from __future__ import annotations

import numpy as np

from swingup.envs.api import HostEnv
from swingup.types import Episode, Layout

# Numbers that separate the seeds of training from those of evaluation, whatever the user picks.
TRAIN, EVALUATE = 0, 1


def episode_seed(seed, stream, env, episode):
    """The seed of one episode of one environment: any episode can be begun again, anywhere, from these four numbers.

    uint32 arithmetic alone (the multiply-xorshift finaliser `lowbias32`, word by word), so that a compiled loop computes
    the same seeds as Python. Numbers or arrays, NumPy or JAX; 31 bits, as some environments take no more.
    """
    state = np.uint32(0x9E3779B9)
    with np.errstate(over="ignore"):
        for word in (seed, stream, env, episode):
            state = state ^ (np.uint32(word) if isinstance(word, (int, np.integer)) else word.astype(np.uint32))
            for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
                state = (state ^ (state >> np.uint32(shift))) * np.uint32(factor)
            state = (state ^ (state >> np.uint32(15))) + np.uint32(0x9E3779B9)
    return state >> np.uint32(1)


class HostCollector:
    """Steps N Python environments and packs what happened; begins the next episode where one ended.

    obs[N, O] is what the next actions are for: at an episode's end the first observation of the next one, while the row
    keeps the true successor.
    """

    def __init__(self, env: HostEnv, seed: int):
        self.env, self.seed, self.layout = env, seed, Layout(env.spec.obs_size, env.spec.action_size)
        self.begun = np.zeros(env.n, np.int64)
        self.ret, self.length = np.zeros(env.n), np.zeros(env.n, np.int64)
        self.obs = self.begin(np.ones(env.n, bool))

    def begin(self, where: np.ndarray) -> np.ndarray:
        """Reset the environments of where[N]; returns obs[N, O], meaningful there."""
        seeds = [int(episode_seed(self.seed, TRAIN, i, int(self.begun[i]))) if w else None for i, w in enumerate(where)]
        self.begun += where
        self.ret[where], self.length[where] = 0, 0
        return self.env.reset(seeds)

    def collect(self, action: np.ndarray) -> tuple[np.ndarray, list[Episode]]:
        """Execute action[N, A]; returns rows[1, N, W] and the episodes that this step ended."""
        step = self.env.step(action)
        last = step.terminated | step.truncated
        rows = np.empty((1, self.env.n, self.layout.width), np.float32)
        row = self.layout.unpack(rows[0])
        row.obs[:], row.action[:], row.next_obs[:] = self.obs, action, step.obs
        row.reward[:], row.discount[:], row.last[:] = step.reward, ~step.terminated, last
        self.ret += step.reward
        self.length += 1
        self.obs, ended = step.obs, []
        if last.any():
            ended = [self.finished(int(i), bool(step.terminated[i])) for i in np.flatnonzero(last)]
            self.obs = np.where(last[:, None], self.begin(last), step.obs)
        return rows, ended

    def finished(self, i: int, terminated: bool) -> Episode:
        number = int(self.begun[i]) - 1
        seed = int(episode_seed(self.seed, TRAIN, i, number))
        return Episode(i, number, seed, float(self.ret[i]), int(self.length[i]), terminated)
