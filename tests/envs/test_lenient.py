"""Rewards, flags and observations of lenient forms give the bytes of the strict form, with one remark."""

import csv

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

import swingup
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.envs.gym_env import GymEnv
from swingup.envs.remarks import Remarks
from swingup.envs.subprocess_env import SubprocessVectorEnv
from swingup.errors import EnvFault
from swingup.loops.collector import HostCollector
from swingup.storage.policy_file import load_policy, save_policy


class Own(np.ndarray):
    """An array class of the user's."""


class Foreign:
    """An array of another library."""

    def __init__(self, value):
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value, dtype)


REWARDS = {
    "array of size one": lambda x: np.array([x]),
    "float32 array without axes": lambda x: np.array(np.float32(x)),
    "two axes": lambda x: np.array([[x]]),
    "NumPy's number": np.float32,
    "another library's": Foreign,
}
FLAGS = {
    "0 or 1": int,
    "NumPy's 0 or 1": np.int64,
    "0.0 or 1.0": float,
    "array without axes": np.array,
    "0 or 1 in one": lambda x: np.array(int(x)),
    "another library's": Foreign,
}
OBSERVATIONS = {
    "list": np.ndarray.tolist,
    "tuple": lambda x: tuple(x.tolist()),
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "array class": lambda x: x.view(Own),
    "masked, none of them": lambda x: np.ma.masked_array(x, False),
    "another library's": Foreign,
}
CASES = [
    *((f"reward, {k}", "reward", v) for k, v in REWARDS.items()),
    *((f"flag, {k}", "flag", v) for k, v in FLAGS.items()),
    *((f"observation, {k}", "observation", v) for k, v in OBSERVATIONS.items()),
]


class Forms(gymnasium.Env):
    """Numbers that every precision holds; what it answers passes through one function each."""

    observation_space = Box(-10, 10, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, **forms):
        self.forms = forms

    def form(self, what, value):
        return self.forms.get(what, lambda x: x)(value)

    def observe(self):
        return self.form("observation", np.array([self.x, self.t / 8], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = (seed or 0) % 5 / 4, 0
        return self.observe(), {}

    def step(self, action):
        self.t += 1
        self.x = float(np.clip(round(float(action[0]) * 4) / 4, -1, 1))
        over = self.form("flag", self.x == 1), self.form("flag", self.t == 9)
        return self.observe(), self.form("reward", -abs(self.x)), *over, {}


def rows(env, steps=30):
    collector = HostCollector(env, 0)
    rng = np.random.default_rng(0)
    taken = [collector.collect(rng.uniform(-1, 1, (env.n, 1)).astype(np.float32))[0] for _ in range(steps)]
    again = env.restore_episode(0, 7, np.array([[0.5], [0.25], [-0.5]], np.float32))
    return np.concatenate(taken).tobytes(), [part.tobytes() for part in again]


@pytest.fixture(scope="module")
def strict():
    return rows(GymEnv(Forms, 2))


@pytest.mark.parametrize(("what", "form"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_lenient_form_gives_the_bytes_of_the_strict_one_with_one_remark(strict, what, form):
    said = []
    remarks = Remarks()
    remarks.said_with(said.append)
    env = GymEnv(lambda: Forms(**{what: form}), 2, remark=remarks)
    assert rows(env) == strict
    assert len(said) == (0 if form is np.float32 else 1)  # which is a number as it is
    assert "\n" not in "".join(said)


def lenient():
    return Forms(
        reward=REWARDS["array of size one"], flag=FLAGS["0 or 1"], observation=OBSERVATIONS["float64"]
    )


def test_worker_processes_take_them_alike_and_tell_the_parent_once(strict):
    said = []
    env = SubprocessVectorEnv(lenient, 2, 2, "Forms", remark=(remarks := Remarks()))
    remarks.said_with(said.append)
    try:
        assert rows(env) == strict
    finally:
        env.close()
    assert sorted(line.split()[0] for line in said) == ["observations", "rewards", "terminated"]


@pytest.mark.parametrize(
    "workers", [None, pytest.param(1, marks=pytest.mark.slow)], ids=["host loop", "workers"]
)
def test_a_run_and_its_resume_give_the_bytes_of_the_strict_form_and_remark_once(tmp_path, workers):
    small = {"warmup": 60, "batch": 16, "hidden": (8,), "threads": 2, "eval_every": 50, "eval_episodes": 1}
    small |= {"final_episodes": 1, "quiet": True, "seed": 3, "workers": workers}
    for name, make in (("strict", Forms), ("lenient", lenient)):
        swingup.train(make, steps=100, run_dir=tmp_path / name, **small)
        swingup.resume(tmp_path / name, 155, make, quiet=True, require_exact=True)
    last = [(tmp_path / name / "policy" / "last.safetensors").read_bytes() for name in ("strict", "lenient")]
    assert last[0] == last[1]
    with (tmp_path / "lenient" / "remarks.csv").open() as file:
        topics = [row["text"].split()[0] for row in csv.DictReader(file) if row["name"] == "environment"]
    assert sorted(topics) == ["observations", "rewards", "terminated"]


@pytest.mark.parametrize(
    ("what", "form"),
    [
        ("reward", lambda x: np.array([x, x])),
        ("reward", lambda x: np.array(["1"])),
        ("reward", lambda x: np.array([np.nan])),
        ("reward", lambda x: None),
        ("flag", lambda x: 2),
        ("flag", lambda x: 0.5),
        ("flag", lambda x: None),
        ("flag", lambda x: np.array([x])),
        ("flag", lambda x: "False"),
        ("observation", lambda x: [float("nan"), 0.0]),
        ("observation", lambda x: [1e39, 0.0]),
        ("observation", lambda x: [0.0, None]),
        ("observation", lambda x: [[0.0], 0.0]),
        ("observation", lambda x: x.astype(np.int64)),
        ("observation", lambda x: x.astype(complex)),
        ("observation", lambda x: x[None]),
        ("observation", lambda x: np.ma.masked_array(x, [True, False])),
    ],
)
def test_what_is_in_doubt_stays_an_error_of_one_line(what, form):
    env = GymEnv(lambda: Forms(**{what: form}))
    with pytest.raises(EnvFault) as caught:  # noqa: PT012 (the first observation may be at fault)
        env.reset([0])
        env.step(np.zeros((1, 1), np.float32))
    assert "\n" not in str(caught.value)


CHOICES = Dict(
    z=Discrete(3, start=-1),
    m=MultiDiscrete([2, 4]),
    b=MultiBinary(3),
    t=Tuple((Box(-1, 1, (2,)), Discrete(2))),
)


def choosing(space):
    class Choosing(Forms):
        observation_space = space

        def observe(self):
            space.seed(int(8 * self.x) + self.t)
            return space.sample()

    return Choosing


@pytest.mark.parametrize("space", [CHOICES, Discrete(4), MultiDiscrete([3, 2]), MultiBinary(2)], ids=str)
def test_choices_in_observations_are_one_hot_as_gymnasium_flattens_and_the_policy_takes_them(tmp_path, space):
    env = GymEnv(choosing(space))
    seen = env.reset([1])[0]
    space.seed(2)  # as `Choosing` does at this state
    sample = space.sample()
    flat = gymnasium.spaces.flatten(space, sample).astype(np.float32)
    np.testing.assert_array_equal(seen, flat)
    assert env.spec.obs_size == gymnasium.spaces.flatdim(space)
    layers = ({"w": np.ones((env.spec.obs_size, 1), "f4"), "b": np.zeros(1, "f4")},)
    save_policy(tmp_path / "p", Policy(Actor(env.spec.obs_size, 1, ()), layers, env.spec))
    policy = load_policy(tmp_path / "p")
    assert policy.spec == env.spec
    np.testing.assert_array_equal(policy(sample), policy(flat))
    np.testing.assert_array_equal(policy(np.stack([flat, flat])), [policy(flat)] * 2)


@pytest.mark.parametrize("wrong", [4, -1, 1.0, None, "a", np.array([1, 2]), True])
def test_a_choice_that_is_not_in_its_space_is_an_error(wrong):
    kind = type("Wrong", (Forms,), {"observation_space": Discrete(4), "observe": lambda self: wrong})
    with pytest.raises(EnvFault, match=r"is not in its space, Discrete\(4\)"):
        GymEnv(kind).reset([0])


def test_integers_are_taken_with_a_remark_that_normalize_answers():
    kind = type("Bytes", (Forms,), {"observation_space": Box(0, 255, (2,), np.uint8)})
    said = []
    for remarks in (Remarks(), Remarks({"scale"})):
        GymEnv(kind, remark=remarks)
        remarks.said_with(said.append)
    assert len(said) == 1
    assert "--normalize" in said[0]


def test_statistics_in_wrappers_are_named():
    remarks, said = Remarks(), []
    wrappers = gymnasium.wrappers
    GymEnv(lambda: wrappers.NormalizeReward(wrappers.NormalizeObservation(Forms())), remark=remarks)
    remarks.said_with(said.append)
    assert ["NormalizeReward" in said[0], "NormalizeObservation" in said[1]] == [True, True]
    assert all("--normalize" in line for line in said)
