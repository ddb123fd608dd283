"""The host collector: it steps Python environments and packs their transitions into rows."""

from __future__ import annotations

import numpy as np

from swingup.envs.api import VectorEnv
from swingup.errors import EnvFault
from swingup.loops.relabeller import Relabeller
from swingup.seeding import TRAIN, episode_seed
from swingup.types import Episode, Layout


class HostCollector:
    """Steps N Python environments and packs their transitions; starts the next episode where one ended.

    obs[N, O]: the observations for which the next actions are chosen. At an episode's end that is the first
    one of the next episode, while the row keeps the true successor. first: the number in the run of the first
    environment, where others are stepped elsewhere; relabeller: adds relabelled rows; begun[N]:
    episodes begun before.
    """

    def __init__(
        self,
        env: VectorEnv,
        seed: int,
        first: int = 0,
        relabeller: Relabeller | None = None,
        begun: np.ndarray | None = None,
    ):
        self.env, self.seed, self.first, self.relabeller = env, seed, first, relabeller
        self.layout = Layout(env.spec.obs_size, env.spec.action_size)
        self.begun = np.zeros(env.n, np.int64) if begun is None else begun.copy()
        self.ret, self.length = np.zeros(env.n), np.zeros(env.n, np.int64)
        # The actions of each running episode: repeated from its seed, they restore it.
        self.journals: list[list[np.ndarray]] = [[] for _ in range(env.n)]
        self.obs = self.begin_episodes(np.ones(env.n, bool))

    def begin_episodes(self, where: np.ndarray) -> np.ndarray:
        """Reset the environments selected by where[N]; returns obs[N, O], meaningful only for those."""
        seeds = [self.seed_of(i, int(self.begun[i])) if w else None for i, w in enumerate(where)]
        self.begun += where
        self.ret[where], self.length[where] = 0, 0
        for i in np.flatnonzero(where):
            self.journals[i] = []
        return self.env.reset(seeds)

    def collect(self, action: np.ndarray) -> tuple[np.ndarray, list[Episode]]:
        """Execute action[N, A]; returns rows[1, N, W] and the episodes that this step ended.

        With a relabeller the rows are [1, N * (1 + R), W], those of an environment side by side.
        """
        step = self.env.step(action)
        last = step.terminated | step.truncated
        rows = np.empty((1, self.env.n, self.layout.width), np.float32)
        row = self.layout.unpack(rows[0])
        row.obs[:], row.action[:], row.next_obs[:] = self.obs, action, step.obs
        row.reward[:], row.discount[:], row.last[:] = step.reward, ~step.terminated, last
        self.ret += step.reward
        self.length += 1
        for i, journal in enumerate(self.journals):
            journal.append(np.array(action[i]))
        self.obs, ended = step.obs, []
        if last.any():
            ended = [self.finished(int(i), bool(step.terminated[i])) for i in np.flatnonzero(last)]
            self.obs = np.where(last[:, None], self.begin_episodes(last), step.obs)
        return (rows if self.relabeller is None else self.relabeller(rows[0])[None]), ended

    def state(self) -> dict[str, np.ndarray]:
        """The state of the running episodes, as arrays by name."""
        journals = {
            f"journal.{i}": np.array(j, np.float32).reshape(-1, self.layout.action_size)
            for i, j in enumerate(self.journals)
        }
        return {"obs": self.obs, "begun": self.begun, "return": self.ret, "length": self.length, **journals}

    def restore(self, saved: dict[str, np.ndarray]) -> np.ndarray:
        """Repeat the saved episodes up to their last step.

        Returns lost[N]: environments that did not come to the same observation and the same return, which
        have started a new episode.
        """
        self.begun, self.ret, self.length = (saved[k].copy() for k in ("begun", "return", "length"))
        self.journals = [list(saved[f"journal.{i}"]) for i in range(self.env.n)]
        lost, self.replayed = np.zeros(self.env.n, bool), [saved["obs"][i : i + 1] for i in range(self.env.n)]
        for i, journal in enumerate(self.journals):
            seed = self.seed_of(i, int(self.begun[i]) - 1)
            try:
                actions = np.array(journal, np.float32).reshape(-1, self.layout.action_size)
                again = self.env.restore_episode(i, seed, actions)
                self.replayed[i] = again.obs
                ret = again.reward.cumsum()[-1:]  # summed in the order of `collect`
                lost[i] = again.obs[-1].tobytes() != saved["obs"][i].tobytes() or (ret != self.ret[i]).any()
            except EnvFault:
                lost[i] = True
        self.obs = saved["obs"].copy()
        if lost.any():
            self.obs = np.where(lost[:, None], self.begin_episodes(lost), self.obs)
        return lost

    def finished(self, i: int, terminated: bool) -> Episode:
        number = int(self.begun[i]) - 1
        seed = self.seed_of(i, number)
        return Episode(self.first + i, number, seed, float(self.ret[i]), int(self.length[i]), terminated)

    def seed_of(self, i: int, number: int) -> int:
        """The seed of an episode of environment i."""
        return int(episode_seed(self.seed, TRAIN, self.first + i, number))
