"""The actions that a run's greedy policy takes in a few episodes."""

from __future__ import annotations

import time

import numpy as np

from swingup.envs.closing import close_all
from swingup.envs.recipe import for_evaluation
from swingup.errors import EnvFault, InputError
from swingup.loops.evaluation import evaluate
from swingup.runs.run import Run

# Seconds after which slow episodes are cut short.
PATIENCE = 3.0


class Enough(Exception):
    """The time for episodes is over."""


def greedy_actions(run: Run, episodes: int = 2) -> tuple[np.ndarray, int]:
    """Actions[T, A] in the environment's units, and the number of episodes played.

    The episodes are the first ones of the closing evaluation, cut short after PATIENCE seconds. InputError
    where the environment cannot be made or breaks its contract.
    """
    policy, taken = run.policy, list[np.ndarray]()
    env = for_evaluation(run.recipe, 1, run.config.episode_steps)
    began: list[float] = []

    def act(obs: np.ndarray) -> np.ndarray:
        action = policy.act(obs)
        taken.append(np.asarray(policy.spec.to_env(action), float).reshape(len(obs), -1))
        began[:] = began or [time.monotonic()]  # from the first step on: an environment may be slow to start
        return action

    def pause() -> None:
        if began and time.monotonic() - began[0] > PATIENCE:
            raise Enough

    try:
        policy.check(env.spec)
        evaluate(act, env, episodes, run.config.seed, pause=pause)
    except Enough:
        episodes = 1
    except EnvFault as error:
        raise InputError(str(error)) from error
    finally:
        close_all(env)
    return np.concatenate(taken), episodes
