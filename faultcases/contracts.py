"""Forty-two ways in which an environment breaks its contract, and the words with which it must be refused."""

import re
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from swingup.errors import EnvFault


class Mutant(gymnasium.Env):
    """A sound environment until step `when`, where it answers what the test gives it."""

    def __init__(self, when, mutate):
        self.observation_space, self.action_space = Box(-np.inf, np.inf, (3,), np.float32), Box(-1, 1, (1,))
        self.when, self.mutate, self.total = when, mutate, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        sound = (np.zeros(3, np.float32), {})
        return self.mutate(sound) if self.when == 0 and self.total == 0 else sound

    def step(self, action):
        self.total += 1
        sound = (np.full(3, self.total, np.float32), 1.0, False, self.total % 7 == 0, {})
        return self.mutate(sound) if self.total == self.when else sound


def first(value):
    return lambda answer: (value, *answer[1:])


def nth(n, value):
    return lambda answer: (*answer[:n], value, *answer[n + 1 :])


OBSERVATIONS = {
    "nan": (first(np.array([0, np.nan, 0], "f4")), r"observation\[1\] is nan"),
    "inf": (first(np.array([0, 0, np.inf], "f4")), r"observation\[2\] is inf"),
    "minus inf and inf": (first(np.array([-np.inf, np.inf, 0], "f4")), r"observation\[0\] is -inf"),
    "one number, which would broadcast": (first(np.zeros(1, "f4")), r"shape \(1,\), its space says \(3,\)"),
    "a scalar array": (first(np.array(0, "f4")), "shape"),
    "too long": (first(np.zeros(4, "f4")), "shape"),
    "a row": (first(np.zeros((1, 3), "f4")), "shape"),
    "masked": (first(np.ma.masked_array(np.zeros(3, "f4"), [0, 1, 0])), "are masked"),
    "lists of several lengths": (first([[0.0], [0.0, 1.0]]), "is a list"),
    "int": (first(np.zeros(3, int)), "is int64"),
    "complex": (first(np.zeros(3, complex)), "complex"),
    "objects": (first(np.array([0, None, 0], object)), "is object"),
    "strings": (first(np.array(["a", "b", "c"])), "is <U1"),
    "list of texts": (first(["0", "0", "0"]), "is a list, not a NumPy array"),
    "no array": (first(None), "is a NoneType"),
    "float": (first(0.0), "is a float"),
    "dict": (first({"obs": np.zeros(3, "f4")}), "is a dict"),
    "matrix": (first(np.zeros((3, 3), "f4")), "shape"),
}
OUTCOMES = {
    "reward nan": (nth(1, float("nan")), "the reward is nan"),
    "reward inf": (nth(1, float("inf")), "the reward is inf"),
    "reward beyond float32": (nth(1, 1e39), "the reward is 1e[+]39"),
    "reward beyond any float": (nth(1, 10**400), "the reward is not a number"),
    "reward array of two": (nth(1, np.array([1.0, 1.0])), "the reward is a ndarray"),
    "reward array of a text": (nth(1, np.array("1")), "the reward is a ndarray"),
    "reward list": (nth(1, [1.0]), "the reward is a list"),
    "reward None": (nth(1, None), "the reward is a NoneType"),
    "reward text": (nth(1, "1"), "the reward is a str"),
    "reward complex": (nth(1, 1j), "the reward is a complex"),
    "reward bool": (nth(1, True), "the reward is a bool"),
    "terminated None": (nth(2, None), "terminated is a NoneType"),
    "terminated two": (nth(2, 2), "terminated is a int"),
    "terminated a half": (nth(2, 0.5), "terminated is a float"),
    "terminated array": (nth(2, np.array([True])), "terminated is a ndarray"),
    "truncated text": (nth(3, "False"), "truncated is a str"),
    "truncated None": (nth(3, None), "truncated is a NoneType"),
    "info None": (nth(4, None), "info is a NoneType"),
    "info list": (nth(4, []), "info is a list"),
    "four values": (lambda a: (*a[:2], a[2], a[4]), "step returned 4 values"),
    "six values": (lambda a: (*a, {}), "step returned 6 values"),
    "a list of five": (list, "step returned a list"),
    "None": (lambda a: None, "step returned a NoneType"),
    "an exception": (lambda a: 1 / 0, "it raised ZeroDivisionError: division by zero"),
}
MUTANTS = {**OBSERVATIONS, **OUTCOMES}


def loop() -> Any:
    """A training loop on a sound environment of the mutants' sizes."""
    from swingup.config.presets import base
    from swingup.config.settings import apply, check
    from swingup.envs.gym_env import GymEnv
    from swingup.loops.host import HostLoop
    from swingup.training.build import plan

    settings = {"env": "mutant", "hidden": (16, 16), "batch": 16, "warmup": 20, "capacity": 100}
    env = GymEnv(lambda: Mutant(-1, None), 1, "mutant")
    return HostLoop(plan(check(apply(base("mutant"), settings, "mutants")), env.spec), env, 0)


def refused(loop: Any, name: str, when: int) -> str:
    """Let the loop go on with a mutant that breaks its contract after `when` sound steps.

    What is wrong with the answer, or nothing.
    """
    from swingup.envs.gym_env import GymEnv
    from swingup.loops.collector import HostCollector

    mutate, message = MUTANTS[name]
    loop.collector = HostCollector(GymEnv(lambda: Mutant(when + 1, mutate), 1, "mutant"), 0)
    before = int(loop.state.replay.added)
    try:
        for _ in range(when + 1):
            loop.step()
    except EnvFault as error:
        if not re.search(message, str(error)) or "environment mutant [0]" not in str(error):
            return f"said {error}"
    else:
        return "not refused"
    if int(loop.state.replay.added) != before + when:
        return "its step is in replay"
    return "" if np.isfinite(np.asarray(loop.state.replay.rows)).all() else "replay is not finite"
