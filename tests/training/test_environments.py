"""Environments as people bring them: arguments, wrappers, objects, one instance, episodes without an end."""

import json
import os
import signal
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

import swingup
from swingup.envs.gym_env import GymEnv
from swingup.envs.recipe import Recipe
from swingup.envs.remarks import Remarks
from swingup.errors import EnvFault, InputError

SMALL = {"steps": 120, "warmup": 40, "batch": 16, "hidden": (8,), "threads": 2, "eval_every": 60}
SMALL |= {"eval_episodes": 2, "final_episodes": 2, "quiet": True}


class Lone(gymnasium.Env):
    """Episodes of `length` steps; counts what lives, was made and was closed."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)
    live = made = closed = steps = 0
    most = 10**6

    def __init__(self, length=20, gain=1.0):
        if Lone.live >= Lone.most:
            raise RuntimeError("port 5000 is in use")
        Lone.live, Lone.made = Lone.live + 1, Lone.made + 1
        self.length, self.gain = length, gain

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.x = 0, np.float32((seed or 0) % 7 / 7)
        return np.array([self.x, 0], np.float32), {}

    def step(self, action):
        Lone.steps += 1
        self.t += 1
        self.x = np.float32(np.clip(self.x + self.gain * 0.1 * float(action[0]), -1, 1))
        return np.array([self.x, 0], np.float32), -float(abs(self.x)), False, self.t == self.length, {}

    def close(self):
        Lone.live, Lone.closed = Lone.live - 1, Lone.closed + 1


class Half(gymnasium.RewardWrapper):
    """Halves rewards; its spec cannot be made again."""

    def reward(self, reward):
        return 0.5 * reward


@pytest.fixture(autouse=True)
def fresh():
    Lone.live = Lone.made = Lone.closed = Lone.steps = 0
    Lone.most = 10**6


def test_an_ordinary_run_closes_every_copy_that_it_made(tmp_path):
    swingup.train(Lone, **SMALL, run_dir=tmp_path / "r")
    assert (Lone.live, Lone.closed) == (0, Lone.made)
    assert Lone.made == 3  # one to train on, two to evaluate on
    with pytest.raises(InputError, match="--warmup"):
        swingup.train(Lone, **{**SMALL, "warmup": 1000}, run_dir=tmp_path / "s")
    assert Lone.live == 0


def test_where_only_one_may_live_the_refusal_names_the_setting_and_the_setting_trains_on_one(tmp_path):
    Lone.most = 1
    with pytest.raises(InputError, match=r"port 5000.*--eval-env same .*--eval-env none"):
        swingup.train(Lone, **SMALL, run_dir=tmp_path / "a")
    assert Lone.live == 0
    Lone.made = 0
    run = swingup.train(Lone, **SMALL, eval_env="same", run_dir=tmp_path / "b")
    assert (Lone.made, Lone.live) == (1, 0)
    assert list(run.evaluations["step"]) == [60, 120]
    assert run.evaluate(3).mean == pytest.approx(np.mean(run.evaluate(3).returns))  # one copy, too
    assert Lone.live == 0


@pytest.mark.slow
def test_evaluations_between_episodes_change_no_byte_of_what_is_learnt_and_resume_exactly(tmp_path):
    """The same environment gives the policy that copies give, also with blocks of two steps and a resume."""
    both = {**SMALL, "eval_every": 50, "delay": 2}
    copies = swingup.train(lambda: Lone(7), **both, run_dir=tmp_path / "copies")
    same = swingup.train(lambda: Lone(7), **both, eval_env="same", run_dir=tmp_path / "same")
    last = lambda run: [layer["w"].tobytes() for layer in run.policy.params]
    assert last(copies) == last(same)
    part = swingup.train(lambda: Lone(7), **{**both, "steps": 80}, eval_env="same", run_dir=tmp_path / "part")
    longer = swingup.resume(part.folder, 120, lambda: Lone(7), quiet=True, require_exact=True)
    assert last(longer) == last(same)
    assert list(same.episodes["return"]) == list(copies.episodes["return"])


def test_a_run_without_evaluations_ends_with_what_training_showed(tmp_path):
    Lone.most = 1
    run = swingup.train(Lone, **SMALL, eval_env="none", run_dir=tmp_path / "r")
    assert Lone.made == 1
    assert run.result["source"] == "training"
    assert run.result["mean"] == pytest.approx(np.mean(run.episodes["return"][-2:]))
    assert not run.evaluations
    without = swingup.train(lambda: Lone(10**6), **SMALL, eval_env="none", run_dir=tmp_path / "s")
    assert without.result["mean"] is None
    with pytest.raises(InputError, match="--guard-collapse: it needs evaluations"):
        swingup.train(Lone, **SMALL, eval_env="none", guard_collapse=True)


@pytest.mark.parametrize(("name", "value"), [("envs", 2), ("env", "native/Pendulum-v1")])
def test_the_same_environment_is_for_one_that_is_not_computed(name, value):
    with pytest.raises(InputError, match="--eval-env same"):
        swingup.train(
            value if name == "env" else Lone, **SMALL, eval_env="same", envs=2 if name == "envs" else 1
        )


def test_an_object_in_a_wrapper_of_ones_own_is_trained_on_and_left_open(tmp_path):
    env = Half(Lone())
    run = swingup.train(env, **SMALL, run_dir=tmp_path / "r")
    assert (Lone.made, Lone.live) == (1, 1)
    as_function = swingup.train(lambda: Half(Lone()), **SMALL, run_dir=tmp_path / "s")
    assert list(run.episodes["return"]) == list(as_function.episodes["return"])
    text = (tmp_path / "r" / "remarks.csv").read_text()
    assert text.count("pass a function that makes it") == 1
    with pytest.raises(InputError, match="--import MODULE:NAME"):
        _ = swingup.load(tmp_path / "r").env
    for more in ({"envs": 2}, {"workers": 1}):
        with pytest.raises(InputError, match="pass a function"):
            swingup.train(env, **{**SMALL, **more}, run_dir=tmp_path / "t")


def test_an_object_that_was_changed_is_evaluated_as_it_is(tmp_path):
    """Made again from its id it would have another gravity."""
    changed = gymnasium.make("Pendulum-v1", max_episode_steps=20)
    changed.unwrapped.g = 0.0
    run = swingup.train(changed, **SMALL, run_dir=tmp_path / "a")
    weightless = lambda: gymnasium.make("Pendulum-v1", g=0.0, max_episode_steps=20)
    assert run.evaluate(2) == swingup.load(run.folder, weightless).evaluate(2)
    assert "the same seed and actions lead it elsewhere" in (tmp_path / "a" / "remarks.csv").read_text()


def test_an_object_made_from_an_id_opens_by_its_id_and_arguments(tmp_path):
    env = gymnasium.make("Pendulum-v1", g=5.0, max_episode_steps=20)
    run = swingup.train(env, **SMALL, run_dir=tmp_path / "r")
    assert run.config.env_kwargs == {"g": 5.0, "max_episode_steps": 20}
    again = swingup.load(run.folder)
    assert again.env == "Pendulum-v1"
    assert again.evaluate(2) == run.evaluate(2)
    assert again.evaluate(2).lengths == (20, 20)


def test_unwrapped_keeps_the_time_limit_of_its_spec():
    remarks, said = Remarks(), []
    remarks.said_with(said.append)
    env = GymEnv(lambda: gymnasium.make("Pendulum-v1").unwrapped, remark=remarks)
    env.reset([0])
    flags = [bool(env.step(np.zeros((1, 1), np.float32)).truncated[0]) for _ in range(200)]
    assert flags == [False] * 199 + [True]
    assert env.known_limit == 200
    assert len(said) == 1
    assert "--episode-steps" in said[0]


def test_arguments_reach_every_environment_and_are_kept(tmp_path):
    run = swingup.train(
        Lone, **SMALL, env_kwargs={"length": 12}, eval_env_kwargs={"length": 6}, run_dir=tmp_path / "r"
    )
    assert set(run.episodes["length"]) == {12}
    assert run.evaluate(2).lengths == (6, 6)
    stored = json.loads((tmp_path / "r" / "config.json").read_text())
    assert stored["env_kwargs"] == {"length": 12}
    with pytest.raises(InputError, match="lenght: Lone takes no argument of that name; did you mean length"):
        swingup.train(Lone, **SMALL, env_kwargs={"lenght": 12})
    with pytest.raises(InputError, match=r"env_kwargs\.reward: a function cannot be kept"):
        swingup.train("Pendulum-v1", **SMALL, env_kwargs={"reward": lambda: 0})


def test_a_class_that_can_be_imported_is_named_and_opens_again(tmp_path, monkeypatch):
    module = tmp_path / "lonehouse.py"
    module.write_text("from tests_lone import Lone as Base\nclass Mine(Base):\n    pass\n")
    monkeypatch.setitem(sys.modules, "tests_lone", sys.modules[__name__])
    monkeypatch.syspath_prepend(tmp_path)
    import lonehouse

    run = swingup.train(
        lonehouse.Mine,
        **SMALL,
        env_kwargs={"length": 5},
        run_dir=tmp_path / "r",
    )
    again = swingup.load(run.folder)
    assert again.env == "lonehouse:Mine"
    assert again.evaluate(2) == run.evaluate(2)


@pytest.mark.parametrize(
    ("low", "high", "bounds"),
    [
        ((-2.0,), (3.0,), ((-2.0, -1.0), (3.0, 1.0))),
        ((-2.0, -0.5), (3.0, 0.5), ((-2.0, -0.5), (3.0, 0.5))),
    ],
)
def test_bounds_are_given_where_an_environment_has_none(low, high, bounds):
    space = Box(np.array([-np.inf, -1], "f4"), np.array([np.inf, 1], "f4"))
    kind = type("Open", (Lone,), {"action_space": space})
    env = GymEnv(Recipe(kind, low=low, high=high).maker())
    assert (env.spec.low, env.spec.high) == bounds


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ((-2.0,), None, "leave its own bounds"),
        ((0.5,), (0.2,), "is not below --action-high"),
        ((-1.0, -1.0), (1.0,), "has 2 numbers for 1 actions"),
    ],
)
def test_bounds_that_cannot_be_are_one_line(low, high, message):
    with pytest.raises(InputError, match=message):
        GymEnv(Recipe(Lone, low=low, high=high).maker())


def test_the_advice_for_infinite_bounds_works_when_followed(tmp_path):
    kind = type("Open", (Lone,), {"action_space": Box(-np.inf, np.inf, (1,), np.float32)})
    with pytest.raises(InputError, match="--action-low -1 --action-high 1"):
        swingup.train(kind, **SMALL)
    run = swingup.train(kind, **SMALL, action_low=-1, action_high=1, run_dir=tmp_path / "r")
    assert (run.policy.spec.low, run.policy.spec.high) == ((-1.0,), (1.0,))
    with pytest.raises(InputError, match="leave RescaleAction out"):
        GymEnv(lambda: gymnasium.wrappers.RescaleAction(kind(), -1.0, 1.0))


def test_clip_action_is_looked_through():
    env = GymEnv(
        lambda: gymnasium.wrappers.TransformReward(
            gymnasium.wrappers.ClipAction(gymnasium.make("Pendulum-v1")), lambda r: r
        )
    )
    assert (env.spec.low, env.spec.high) == ((-2.0,), (2.0,))


def test_episodes_without_an_end_are_said_when_the_first_evaluation_would_begin(tmp_path):
    with pytest.raises(EnvFault, match="--episode-steps"):
        swingup.train(lambda: Lone(10**9), **SMALL, run_dir=tmp_path / "r")
    assert Lone.steps < 60 + 3_000
    assert "no episode has ended in 60 steps of training" in (tmp_path / "r" / "remarks.csv").read_text()
    run = swingup.train(lambda: Lone(10**9), **SMALL, episode_steps=30, run_dir=tmp_path / "s")
    assert run.evaluate(1).lengths == (30,)


def test_an_episode_longer_than_the_first_interval_is_no_fault(tmp_path):
    run = swingup.train(lambda: Lone(100), **SMALL, run_dir=tmp_path / "r")
    assert list(run.evaluations["step"]) == [60, 120]


class Interrupting(Lone):
    """Presses Ctrl-C in its step number `at`, counted over all copies."""

    at = 0

    def step(self, action):
        if Lone.steps + 1 == Interrupting.at:
            os.kill(os.getpid(), signal.SIGINT)
        return super().step(action)


@pytest.mark.parametrize("at", [3, 30, 45, 100, 150, 200], ids=lambda at: f"step {at}")
def test_ctrl_c_is_answered_within_a_step_of_every_copy(tmp_path, at):
    """In the check of seeds (3, 30, 45), in the warm-up, in an evaluation and in training."""
    Interrupting.at = at
    with pytest.raises(KeyboardInterrupt):
        swingup.train(lambda: Interrupting(25), **SMALL, run_dir=tmp_path / "r")
    assert Lone.steps <= at + 2
    assert Lone.live == 0


def test_ctrl_c_is_answered_while_copies_are_made(tmp_path):
    def make():
        if Lone.made == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return Lone()

    with pytest.raises(KeyboardInterrupt):
        swingup.train(make, **SMALL, run_dir=tmp_path / "r")
    assert (Lone.made, Lone.live) == (2, 0)
    assert not (tmp_path / "r").exists()


def test_ctrl_c_while_an_episode_is_repeated_leaves_a_run_that_goes_on(tmp_path):
    make = lambda: Interrupting(70)
    Interrupting.at = 0
    swingup.train(make, **{**SMALL, "eval_every": 110}, run_dir=tmp_path / "r")
    Lone.steps, Interrupting.at = 0, 2 * (1 + 2 * 20) + 10  # ten steps into the running episode
    with pytest.raises(KeyboardInterrupt):
        swingup.resume(tmp_path / "r", 200, make, quiet=True)
    assert Interrupting.at <= Lone.steps <= Interrupting.at + 1
    Interrupting.at = 0
    assert swingup.resume(tmp_path / "r", 200, make, quiet=True, require_exact=True).result["steps"] == 200
