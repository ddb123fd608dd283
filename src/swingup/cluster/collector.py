"""A worker's share of the environments: it acts with NumPy and returns rows. Imports neither JAX nor Ray.

Each environment acts on its own row of observations, by itself: a product with a batch may round another way
than with one row, and the share of a worker depends on the number of workers.
"""

from __future__ import annotations

from typing import Any

import cloudpickle
import gymnasium
import numpy as np

from swingup.cluster.messages import Collected, Draws, Share, Weights
from swingup.core.running_statistics import RunningStatistics, normalize
from swingup.envs.closing import close_all
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.loops.collector import HostCollector
from swingup.types import Spec


class RemoteCollector:
    """The environments of one share, and the exploration of each."""

    def __init__(self, share: Share):
        self.share = share

    def start(self, saved: dict[str, np.ndarray] | None) -> tuple[Spec, np.ndarray, dict[str, np.ndarray]]:
        """Make the environments, begin new episodes or repeat saved ones; the spec, lost[n] and the state.

        lost: environments that did not come back to the same bits, which have begun a new episode.
        """
        share = self.share
        source, entry = cloudpickle.loads(bytes.fromhex(share.source))
        if entry is not None:
            gymnasium.registry.setdefault(entry.id, entry)
        make = factory(share.name if source is None else source)
        self.env = GymEnv(make, share.n, share.name, share.limit)
        self.collector = HostCollector(self.env, share.seed, share.first)
        self.episode = np.full(share.n, -1, np.int64)  # counted when its first action is chosen
        self.memory = np.zeros((share.n, *share.exploration.memory), np.float32)
        self.first = np.ones(share.n, bool)
        lost = np.zeros(self.share.n, bool)
        if saved is not None:
            lost = self.collector.restore({k: v for k, v in saved.items() if not k.startswith("noise.")})
            self.episode, self.memory, self.first = (
                saved[f"noise.{k}"].copy() for k in ("episode", "memory", "first")
            )
            self.first |= lost
        return self.env.spec, lost, self.state()

    def collect(self, weights: Weights, draws: Draws) -> Collected:
        """K steps of every environment."""
        # Copies with an alignment of their own: arrays from a shared store may lie anywhere.
        params = copied(weights.params)
        blocks, episodes = [], []
        for k in range(len(draws.uniform)):
            rows, ended = self.collector.collect(self.act(params, weights.statistics, draws, k))
            self.first = self.collector.layout.unpack(rows[0]).last > 0
            blocks.append(rows)
            episodes += [(k, episode) for episode in ended]
        return Collected(np.concatenate(blocks), episodes, self.state())

    def act(self, params: Any, statistics: RunningStatistics | None, draws: Draws, k: int) -> np.ndarray:
        """The actions[n, A] of step k."""
        obs, explore = self.collector.obs, self.share.exploration
        self.episode += self.first
        if draws.uniform[k]:
            return np.array(draws.random[k])
        actions = np.empty((self.share.n, explore.action_size), np.float32)
        for i in range(self.share.n):
            own = np.array(obs[i] if statistics is None else normalize(statistics, obs[i]), np.float32)
            offset, self.memory[i] = explore.offset(
                draws.normal[k, i],
                self.memory[i],
                bool(self.first[i]),
                int(self.episode[i]),
                int(draws.samples[k]),
            )
            actions[i] = np.clip(self.share.actor.apply(params, own) + self.share.scale * offset, -1, 1)
        return actions

    def state(self) -> dict[str, np.ndarray]:
        """The state of the running episodes, as arrays by name, without the actions since they began."""
        host = {k: v for k, v in self.collector.state().items() if not k.startswith("journal.")}
        noise = {"episode": self.episode, "memory": self.memory, "first": self.first}
        return {k: np.array(v) for k, v in (host | {f"noise.{k}": v for k, v in noise.items()}).items()}

    def close(self) -> None:
        """Close the environments, in bounded time."""
        close_all(self.env)


def copied(tree: Any) -> Any:
    """A copy of nested dictionaries and tuples of arrays."""
    if isinstance(tree, dict):
        return {k: copied(v) for k, v in tree.items()}
    return tuple(map(copied, tree)) if isinstance(tree, (tuple, list)) else np.array(tree)
