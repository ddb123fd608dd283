"""What learner and workers send each other. Imports neither JAX nor Ray."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from swingup.cluster.exploration import Exploration
from swingup.core.running_statistics import RunningStatistics
from swingup.types import Episode


class Share(NamedTuple):
    """What a worker needs to make its environments, `first` to `first + n - 1` of the run.

    source: see `multiseed.processes.packed`; name, limit: as `GymEnv`'s; seed: the run's; actor: the network;
    scale: a factor of the exploration's strength.
    """

    source: str
    name: str
    limit: int | None
    seed: int
    first: int
    n: int
    actor: Any
    exploration: Exploration
    scale: float = 1.0


class Weights(NamedTuple):
    """The policy that acts: the actor's parameters, and statistics of observations or None."""

    params: Any
    statistics: RunningStatistics | None


class Draws(NamedTuple):
    """The random numbers of K steps of n environments.

    uniform[K]: whether the actions of a step are uniform; random[K, n, A]: those actions; normal[K, n, ...]:
    the draws of the noise; samples[K]: how many samples of the noise were taken before each step.
    """

    uniform: np.ndarray
    random: np.ndarray
    normal: np.ndarray
    samples: np.ndarray

    def part(self, first: int, n: int) -> Draws:
        """The draws of some of the environments."""
        rows = slice(first, first + n)
        return self._replace(random=self.random[:, rows], normal=self.normal[:, rows])


class Collected(NamedTuple):
    """What n environments did in K steps: rows[K, n, W], the episodes that ended, each with its step, and the
    state afterwards."""

    rows: np.ndarray
    episodes: list[tuple[int, Episode]]
    state: dict[str, np.ndarray]
