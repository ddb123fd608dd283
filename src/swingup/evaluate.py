"""Greedy evaluation: no exploration, separate environments, seeds of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from swingup.collect import EVALUATE, episode_seed
from swingup.envs.api import HostEnv
from swingup.errors import EnvFault
from swingup.policy import Policy

# No task of interest has longer episodes; one without an end would be evaluated for ever.
ENDLESS = 50_000


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of whole greedy episodes, in the order of their seeds."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation of one episode's return (n - 1)."""
        return float(np.std(self.returns, ddof=1)) if len(self.returns) > 1 else float("nan")

    @property
    def ci95(self) -> tuple[float, float]:
        """95 % confidence interval of the mean, Student's t."""
        from scipy.special import stdtrit  # a quarter of scipy.stats' import time

        n = len(self.returns)
        half = stdtrit(n - 1, 0.975) * self.std / np.sqrt(n) if n > 1 else float("nan")
        return self.mean - float(half), self.mean + float(half)


def evaluate(act: Callable[[np.ndarray], np.ndarray], env: HostEnv, episodes: int, seed: int) -> Evaluation:
    """Play `episodes` episodes of `act(obs[N, O]) -> action[N, A]` in [-1, 1]; episode k begins with the k-th seed.

    An environment that has played its share goes on playing, uncounted, until the longest episode is over: counting the
    first episodes to finish would favour short ones.
    """
    n = env.n
    ret, length, playing = np.zeros(n), np.zeros(n, np.int64), np.arange(n)
    results: dict[int, tuple[float, int]] = {}
    obs = env.reset([int(episode_seed(seed, EVALUATE, 0, int(k))) for k in playing])
    while len(results) < episodes:
        if length.max() >= ENDLESS:
            raise EnvFault(
                f"environment {env.spec.env}: an episode has not ended after {ENDLESS:,} steps; give it a limit with --episode-steps"
            )
        step = env.step(act(obs))
        ret, length, obs = ret + step.reward, length + 1, step.obs
        over = step.terminated | step.truncated
        if over.any():
            for i in np.flatnonzero(over):
                if playing[i] < episodes:
                    results[int(playing[i])] = (float(ret[i]), int(length[i]))
            playing[over] = playing.max() + 1 + np.arange(over.sum())
            ret[over], length[over] = 0, 0
            seeds = [int(episode_seed(seed, EVALUATE, 0, int(k))) if o else None for k, o in zip(playing, over, strict=True)]
            obs = np.where(over[:, None], env.reset(seeds), obs)
    returns, lengths = zip(*(results[k] for k in range(episodes)), strict=True)
    return Evaluation(returns, lengths)


def evaluate_policy(policy: Policy, env: HostEnv, episodes: int, seed: int) -> Evaluation:
    """`evaluate` of a shipped policy; InputError where it was made for another environment."""
    policy.check(env.spec)
    return evaluate(policy.act, env, episodes, seed)
