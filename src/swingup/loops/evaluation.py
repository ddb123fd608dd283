"""Greedy evaluation: without exploration, on separate environments, with separate seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from swingup.core.policy import Policy
from swingup.envs.api import Replayed, Step, VectorEnv
from swingup.errors import EnvFault
from swingup.seeding import EVALUATE, PREFLIGHT, episode_seed

# Steps of one episode after which an evaluation fails, as it might never end; known tasks have shorter ones.
ENDLESS = 50_000
# The most episodes that an evaluation plays to narrow its confidence interval.
MOST = 10_000


@dataclass(frozen=True)
class Evaluation:
    """Returns and lengths of whole greedy episodes, in the order of their seeds.

    successes: 1 or 0 for each episode, whether its last step left the task done; () if the environment does
    not say (`envs.api.success_of`).
    """

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    successes: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @property
    def success(self) -> float | None:
        """The share of episodes that succeeded; None if the environment does not say."""
        return float(np.mean(self.successes)) if self.successes else None

    @property
    def std(self) -> float:
        """Standard deviation of one episode's return (n - 1)."""
        return float(np.std(self.returns, ddof=1)) if len(self.returns) > 1 else float("nan")

    @property
    def half(self) -> float:
        """Half the width of the mean's 95 % confidence interval, Student's t."""
        from scipy.special import stdtrit  # a quarter of scipy.stats' import time

        n = len(self.returns)
        return float(stdtrit(n - 1, 0.975) * self.std / np.sqrt(n)) if n > 1 else float("nan")

    @property
    def ci95(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean."""
        return self.mean - self.half, self.mean + self.half


def evaluate(
    act: Callable[[np.ndarray], np.ndarray],
    env: VectorEnv,
    episodes: int,
    seed: int,
    skip: int = 0,
    pause: Callable[[], None] = lambda: None,
    begun: Callable[[np.ndarray], None] = lambda where: None,
    endless: int = ENDLESS,
) -> Evaluation:
    """Play `episodes` episodes with `act(obs[N, O]) -> action[N, A]`, actions in [-1, 1].

    Episode k has the (skip + k)-th seed. All of them are played to their ends: counting the first to finish
    would favour short ones. An environment without an episode left is not stepped. pause: called before each
    step; an exception from it ends the evaluation. begun: called with where[N], the environments that begin
    an episode. endless: steps of one episode after which EnvFault is raised. EnvFault says that it was raised
    by an evaluation.
    """
    try:
        played = play(act, env, episodes, seed, skip, pause, begun, endless)
        returns, lengths, said = zip(*played, strict=True)
    except EnvFault as error:
        raise EnvFault(f"evaluation: {error}") from error
    return Evaluation(returns, lengths, () if np.isnan(said).any() else said)


def play(
    act: Callable[[np.ndarray], np.ndarray],
    env: VectorEnv,
    episodes: int,
    seed: int,
    skip: int,
    pause: Callable[[], None],
    begun: Callable[[np.ndarray], None],
    endless: int,
) -> list[tuple[float, int, float]]:
    """The return, the length and the success (or NaN) of each episode of an evaluation."""
    n = env.n
    ret, length, playing = np.zeros(n), np.zeros(n, np.int64), np.arange(n)
    results: dict[int, tuple[float, int, float]] = {}

    def begin(where: np.ndarray, obs: np.ndarray) -> np.ndarray:
        """The observations[N, O] after a reset of the environments in where[N]."""
        seeds = [int(episode_seed(seed, EVALUATE, 0, skip + int(k))) for k in playing]
        fresh = env.reset([s if w else None for s, w in zip(seeds, where, strict=True)])
        begun(where)
        return np.where(where[:, None], fresh, obs)

    obs = begin(playing < episodes, np.zeros((n, env.spec.obs_size), np.float32))
    while len(results) < episodes:
        active = playing < episodes
        if length.max() >= endless:
            raise EnvFault(f"environment {env.spec.env}: {never_ends(endless)}")
        pause()
        step = env.step(act(obs), active)
        ret, length = ret + np.where(active, step.reward, 0), length + active
        obs, over = np.where(active[:, None], step.obs, obs), active & (step.terminated | step.truncated)
        if over.any():
            for i in np.flatnonzero(over):
                success = math.nan if step.success is None else float(step.success[i])
                results[int(playing[i])] = (float(ret[i]), int(length[i]), success)
            playing[over] = playing.max() + 1 + np.arange(over.sum())
            ret[over], length[over] = 0, 0
            obs = begin(over & (playing < episodes), obs)
    return [results[k] for k in range(episodes)]


def never_ends(steps: int) -> str:
    """What is said of an episode that has not ended after so many steps."""
    return f"an episode has not ended after {steps:,} steps; give it a limit with --episode-steps"


def evaluate_policy(
    policy: Policy,
    env: VectorEnv,
    episodes: int,
    seed: int,
    within: float | None = None,
    pause: Callable[[], None] = lambda: None,
) -> Evaluation:
    """`evaluate` of a `Policy`; raises InputError if it was made for another environment.

    within: double the episodes until the 95 % interval reaches at most this far from the mean, or there are
    MOST of them. An interval that is checked repeatedly covers a little less than 95 %; doubling keeps the
    checks few.
    """
    policy.check(env.spec)
    policy.reset()
    e = evaluate(policy.act, env, episodes, seed, pause=pause, begun=policy.reset)
    while within is not None and not e.half <= within and len(e.returns) < MOST:
        count, skip = min(len(e.returns), MOST - len(e.returns)), len(e.returns)
        more = evaluate(policy.act, env, count, seed, skip, pause, policy.reset)
        e = Evaluation(e.returns + more.returns, e.lengths + more.lengths, e.successes + more.successes)
    return e


def can_restore_episodes(
    env: VectorEnv, seed: int, steps: int = 20, pause: Callable[[], None] = lambda: None
) -> bool:
    """Whether episodes, repeated from their seeds with the same actions, give the same bits at every step.

    All environments play up to `steps` random actions; then each plays another episode and repeats its own:
    observations, rewards and ends must agree, which are all that replay stores. A reset with a seed is the
    only way to restore a Gymnasium environment: MuJoCo's come back silently wrong from pickle, deepcopy and
    set_state. pause: called before each step; an exception from it passes through.
    """
    rng, seeds = np.random.default_rng(seed), [int(episode_seed(seed, PREFLIGHT, i, 0)) for i in range(env.n)]
    actions: list[np.ndarray] = []
    answers: list[Step] = []
    obs, over = [env.reset(seeds)], False
    while len(actions) < steps and not over:
        pause()
        actions.append(rng.uniform(-1, 1, (env.n, env.spec.action_size)).astype(np.float32))
        answers.append(env.step(actions[-1]))
        obs.append(answers[-1].obs)
        over = bool((answers[-1].terminated | answers[-1].truncated).any())
    others = [np.array([getattr(a, name) for a in answers]) for name in Replayed._fields[1:]]
    for i, seed_i in enumerate(seeds):
        pause()
        journal = np.array([action[i] for action in actions])
        env.restore_episode(i, seed_i + 1, journal[:1])
        played = Replayed(np.array([o[i] for o in obs]), *(other[:, i] for other in others))
        if not env.restore_episode(i, seed_i, journal).same(played):
            return False
    return True


def collapsed(best: Evaluation, now: Evaluation) -> bool:
    """Whether `now` is significantly worse than `best`: Welch's one-sided t-test at 1 %."""
    from scipy.special import stdtr

    errors = [np.square(e.std) / len(e.returns) for e in (best, now)]
    total = sum(errors)
    if not total > 0:  # no spread, or a single episode
        return bool(total == 0 and now.mean < best.mean)
    freedom = total**2 / sum(x**2 / (len(e.returns) - 1) for x, e in zip(errors, (best, now), strict=True))
    return bool(stdtr(freedom, (now.mean - best.mean) / np.sqrt(total)) < 0.01)
