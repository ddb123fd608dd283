"""Tasks that provoke a diagnosis, and its advice, which followed to the letter makes it better.

A healthy run of each preset gets no remark.
"""

import re

import gymnasium
import numpy as np
import pytest

import swingup
from swingup.config.presets import presets
from swingup.reports.diagnostics import RULES

SMALL = {
    "hidden": (16, 16), "threads": 1, "batch": 32, "warmup": 500, "steps": 4500, "capacity": 5000,
    "episode_steps": 50, "eval_every": 4500, "eval_episodes": 1, "final_episodes": 1, "quiet": True,
}  # fmt: skip


class Field(gymnasium.Env):
    """A point on a line from -10 to 10 that starts near 0 and moves by the action; `reward` is the task."""

    observation_space = gymnasium.spaces.Box(-1e9, 1e9, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = self.np_random.uniform(-1, 1), 0
        return self.obs(), {}

    def step(self, action):
        self.x, self.t = float(np.clip(self.x + 0.3 * action[0], -10, 10)), self.t + 1
        return self.obs(), float(self.reward(self.x, float(action[0]))), False, False, {}

    def obs(self):
        return np.array([self.x, 1.0], np.float32)

    def reward(self, x, action):
        return -abs(x - 5) / 5


class Metres(gymnasium.Env):
    """A point mass in raw units: positions to 600, rewards to -700."""

    observation_space = gymnasium.spaces.Box(-1e4, 1e4, (4,), np.float32)
    action_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.p, self.v = self.np_random.uniform(0, 100, 2), np.zeros(2)
        return np.concatenate([self.p, self.v]).astype(np.float32), {}

    def step(self, action):
        self.v = np.clip(self.v + action, -20, 20)
        self.p = np.clip(self.p + self.v, 0, 600)
        obs = np.concatenate([self.p, self.v]).astype(np.float32)
        return obs, -float(np.linalg.norm(self.p - 500)), False, False, {}


class Spring(Field):
    """A reward that is met only by pushing in time with a slow spring."""

    def reset(self, *, seed=None, options=None):
        self.v = 0.0
        return super().reset(seed=seed)

    def step(self, action):
        self.v += 0.1 * float(action[0]) - 0.1 * self.x
        self.x += self.v
        return self.obs(), float(abs(self.x) > 3), False, False, {}


class Costly(Field):
    def reward(self, x, action):
        return 100.0 * (abs(x) > 4) - 0.1 * action**2


class Astronomic(Field):
    def reward(self, x, action):
        return 1e30 * super().reward(x, action)


class Far(Field):
    """Observations so large that the untrained actor is at a bound and has no gradient."""

    def obs(self):
        return np.array([1e7 * self.x, 1e8], np.float32)


class Chance(Field):
    """Six action dimensions that only cost, and rewards by chance, which a critic may take for a skill."""

    action_space = gymnasium.spaces.Box(-1, 1, (6,), np.float32)
    observation_space = gymnasium.spaces.Box(-1e9, 1e9, (8,), np.float32)

    def step(self, action):
        self.x, self.t = float(np.clip(self.x + 0.3 * action[0], -10, 10)), self.t + 1
        reward = self.np_random.normal() - 0.1 * np.square(action).sum()
        return self.obs(), float(reward), self.t >= 20, False, {}

    def obs(self):
        return np.concatenate([[self.x, 1.0], self.np_random.normal(size=6)]).astype(np.float32)


class Rich(Field):
    def reward(self, x, action):
        return 1e6 * super().reward(x, action)


def trial(folder, env, **settings):
    return swingup.train(env, run_dir=folder, **(SMALL | settings))


def remarks(run):
    """The text of each remark by the diagnosis's name."""
    file = run.folder / "remarks.csv"
    lines = file.read_text().splitlines()[1:] if file.exists() else []
    return {
        text.split(" (step")[0]: text
        for text in (re.split(r",health,\"?", line)[-1].strip('"') for line in lines if ",health," in line)
    }


def flags(text):
    """The settings that the advice names first, as keyword arguments."""
    first = text.split("; try ")[1].split(", then ")[0]
    found = re.findall(r"--([a-z-]+)(?: (-?[\w.+-]+))?", first)
    return {
        name.replace("-", "_"): number(value) for name, value in found if name != "seed"
    }  # the last resort


def number(value):
    """True for a flag alone, else its number or word."""
    try:
        return True if not value else int(value) if value.isdigit() else float(value)
    except ValueError:
        return value


def last(run, name):
    return float(run.metrics[name][-1])


def reached(run):
    """Minus the best training return."""
    return -max(run.episodes["return"])


def missed(run):
    """How far Q is from the returns, in their size."""
    return abs(last(run, "q_start") - last(run, "return_start")) / abs(last(run, "return_start"))


def stuck(run):
    return last(run, "saturation")


def promised(run):
    """How far Q is above the best training return."""
    return last(run, "q_start") - max(run.episodes["return"])


def size_of_q(run):
    return abs(last(run, "q_start"))


def motionless(run):
    return float(last(run, "actor_gradient") < 1e-9)


def overflowed(run):
    return float(not np.isfinite(last(run, "critic_gradient")))


MANY_UPDATES = {
    "hidden": (64, 64), "critic_lr": 3e-3, "updates": 4, "batch": 16, "capacity": 500, "gamma": 0.99,
}  # fmt: skip
# diagnosis -> task, its settings, the size of the problem, the factor by which the advice makes it smaller
TRIALS = {
    "actor saturated": (Metres, {}, stuck, 0.5),
    "values explode": (Field, {"hidden": (64, 64), "critic_lr": 0.03, "tau": 1.0}, size_of_q, 1e-3),
    "critic overestimates": (Chance, MANY_UPDATES, promised, 0.1),
    "actor stands still": (Far, {}, motionless, 0.5),
    "range too narrow": (Field, {"preset": "d4pg", "value_low": -1.0, "value_high": 1.0}, missed, 0.5),
    "no reward signal": (Spring, {"uniform": False, "episode_steps": 200}, reached, 1.0),
    "only action costs": (Costly, {"uniform": False}, reached, 1.0),
    "critic stands still": (Astronomic, {}, overflowed, 0.5),
    "observations unscaled": (Metres, {}, stuck, 0.5),
    "rewards large": (Rich, {}, missed, 0.9),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
def test_the_advice_followed_to_the_letter_makes_the_problem_smaller(name, tmp_path):
    env, settings, size, factor = TRIALS[name]
    before = trial(tmp_path / "before", env, **settings)
    text = remarks(before)[name]
    after = trial(tmp_path / "after", env, **(settings | flags(text)))
    assert size(after) < factor * size(before) if factor < 1 else size(after) < size(before)
    assert name not in remarks(after)


# Networks of 64 units where a preset's own would take minutes; the tutorial's with the first seed whose actor
# is not saturated, which seed 0's is, as its remark says.
PENDULUM = {"hidden": (64, 64), "batch": 64, "warmup": 500, "steps": 4500}
HEALTHY = {
    "pendulum": ("Pendulum-v1", {"steps": 4000}),
    "pendulum in JAX": ("native/Pendulum-v1", {"steps": 4000}),
    "ddpg": ("Pendulum-v1", {**PENDULUM, "batch": 128}),
    "td3": ("Pendulum-v1", PENDULUM),
    "d4pg": ("Pendulum-v1", {**PENDULUM, "value_low": -1e3, "value_high": 1e3}),
    "lillicrap2015": ("Pendulum-v1", PENDULUM),
    "tutorial": ("Pendulum-v1", {"seed": 1, "steps": 4500}),
    "mountaincar": ("MountainCarContinuous-v0", {"steps": 8000}),
    "lunarlander": ("LunarLanderContinuous-v3", {"steps": 12000, "hidden": (64, 64)}),
    "halfcheetah": ("HalfCheetah-v5", {"steps": 16000}),
    "locomotion": ("Hopper-v5", {"steps": 16000, "hidden": (64, 64)}),
    "bipedalwalker": ("BipedalWalker-v3", {"steps": 16000, "hidden": (64, 64)}),
    "invertedpendulum": ("InvertedPendulum-v5", {"steps": 8000, "hidden": (64, 64)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_of_each_preset_gets_no_remark(name, tmp_path):
    env, settings = HEALTHY[name]
    run = swingup.train(
        env, preset=name.split()[0], run_dir=tmp_path / "run", quiet=True, threads=1,
        eval_every=settings["steps"], eval_episodes=1, final_episodes=1, **settings,
    )  # fmt: skip
    assert not remarks(run)


def test_every_diagnosis_has_a_trial_and_every_preset_a_healthy_run():
    assert set(TRIALS) == set(RULES)
    assert {name.split()[0] for name in HEALTHY} == set(presets())
