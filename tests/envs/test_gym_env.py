"""Every kind of space works or is refused in one line; a broken contract stops the run before replay."""

import sys
import threading
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Sequence, Text, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st

from faultcases.contracts import OBSERVATIONS, OUTCOMES, Mutant
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.envs import closing
from swingup.envs.gym_env import GymEnv
from swingup.envs.gym_ids import create
from swingup.envs.registry import factory
from swingup.errors import EnvFault, InputError
from swingup.loops.collector import HostCollector
from swingup.loops.evaluation import evaluate
from swingup.seeding import episode_seed
from swingup.storage.policy_file import load_policy, save_policy
from swingup.types import Spec, flatten

UNIT = Box(-1, 1, (2,), np.float32)


class Spaces(gymnasium.Env):
    """Any pair of spaces; observations are samples of theirs."""

    def __init__(self, obs=UNIT, action=UNIT):
        self.observation_space, self.action_space = obs, action

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert action in self.action_space
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize(
    ("obs", "action", "message"),
    [
        (UNIT, Discrete(3), "actions are Discrete"),
        (UNIT, MultiDiscrete([2, 2]), "actions are MultiDiscrete"),
        (UNIT, Box(-np.inf, np.inf, (2,)), r"action 0 has bounds \[-inf, inf\]; .*--action-low -1"),
        (UNIT, Box(-1, np.inf, (1,)), "finite ones"),
        (UNIT, Box(-np.finfo(np.float32).max, np.finfo(np.float32).max, (1,)), "finite ones"),
        (
            UNIT,
            Box(np.array([0, 1], "f4"), np.array([1, 1], "f4")),
            r"action 1 has bounds \[1.0, 1.0\], no width",
        ),
        (UNIT, Box(0, 5, (2,), np.int32), "holds int32"),
        (UNIT, Box(-1, 1, (0,)), "action box is empty"),
        (Text(4), UNIT, "observations are Text"),
        (Dict({"a": UNIT, "b": Sequence(UNIT)}), UNIT, "observations are Sequence"),
        (UNIT, Tuple([Discrete(2), UNIT]), "actions are Tuple of Discrete, Box; .* for each choice"),
        (UNIT, Dict({"a": UNIT, "b": UNIT}), "declare one that holds all numbers"),
        (Box(0, 1, (32, 32), np.float32), UNIT, "images .*:FlattenObservation"),
        (Box(-1, 1, (0,)), UNIT, "no numbers in it"),
        (Dict({"a": Box(-1, 1, (0,))}), UNIT, "no numbers in it"),
        (Box(0, 255, (32, 32, 3), np.uint8), UNIT, "images are not supported yet"),
    ],
)
def test_spaces_that_cannot_work_are_refused_in_one_line(obs, action, message):
    with pytest.raises(InputError, match=message) as caught:
        GymEnv(lambda: Spaces(obs, action))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("environment Spaces: ")


@pytest.mark.parametrize(
    ("obs", "action", "size", "shape"),
    [
        (UNIT, UNIT, 2, (2,)),
        (Box(-1, 1, (), np.float32), UNIT, 1, ()),
        (Box(-1, 1, (2, 3), np.float64), Box(-2, 1, (2, 2), np.float64), 6, (2, 3)),
        (Box(0, 9, (4,), np.int64), UNIT, 4, (4,)),
        (Dict({"b": Box(-1, 1, (2, 2)), "a": UNIT}), UNIT, 6, (6,)),
        (Tuple([UNIT, Dict({"x": Box(-1, 1, (3,))})]), UNIT, 5, (5,)),
    ],
)
def test_spaces_that_work(obs, action, size, shape):
    env = GymEnv(lambda: Spaces(obs, action), 3)
    assert env.spec.obs_size == size
    assert env.spec.obs_shape == shape
    collector = HostCollector(env, 0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows, _ = collector.collect(rng.uniform(-1, 1, (3, env.spec.action_size)).astype(np.float32))
    assert rows.shape == (1, 3, 2 * size + env.spec.action_size + 3)


def test_dictionaries_flatten_by_sorted_key_like_gymnasium():
    space = Dict({"z": UNIT, "a": Tuple([Box(-1, 1, (2, 2)), UNIT])})
    space.seed(0)
    sample = space.sample()
    np.testing.assert_array_equal(flatten(sample), gymnasium.spaces.flatten(space, sample))


bounds = st.floats(-1e6, 1e6, width=32).flatmap(
    lambda low: st.floats(2**-7, 1e6, width=32).map(lambda w: (low, float(np.float32(low + w))))
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(bounds.filter(lambda b: b[0] < b[1]), min_size=1, max_size=4),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 2**32 - 1),
)
def test_the_action_map_stays_in_the_box_and_inverts(pairs, dtype, seed):
    low, high = zip(*pairs, strict=True)
    spec = Spec("any", (1,), (len(low),), dtype, low, high)
    box = Box(np.array(low, dtype), np.array(high, dtype), dtype=np.dtype(dtype))
    action = np.random.default_rng(seed).uniform(-1, 1, (8, len(low))).astype(np.float32)
    action[0], action[1] = -1, 1
    out = spec.to_env(action)
    assert out.dtype == dtype
    assert all(o in box for o in out)
    np.testing.assert_array_equal(out[0], np.array(low, dtype))
    np.testing.assert_array_equal(out[1], np.array(high, dtype))
    scale = np.maximum(np.abs(low), np.abs(high)) / (np.array(high) - np.array(low))
    np.testing.assert_allclose(spec.from_env(out), action, atol=float(3e-7 * (1 + 2 * scale.max())))


@pytest.mark.parametrize("when", [1, 2, 5, 1000])
@pytest.mark.parametrize("name", [*OBSERVATIONS, *OUTCOMES])
def test_a_broken_contract_is_named_before_anything_is_stored(name, when):
    mutate, message = {**OBSERVATIONS, **OUTCOMES}[name]
    collector = HostCollector(GymEnv(lambda: Mutant(when, mutate), 1, "mutant"), 0)
    action = np.zeros((1, 1), np.float32)
    for _ in range(when - 1):
        collector.collect(action)
    episode, step = divmod(when - 1, 7)
    with pytest.raises(EnvFault, match=message) as caught:
        collector.collect(action)
    assert f"environment mutant [0], episode {episode}, step {step + 1}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_a_broken_first_observation_is_named(name):
    mutate, message = OBSERVATIONS[name]
    with pytest.raises(EnvFault, match=message):
        HostCollector(GymEnv(lambda: Mutant(0, mutate), 1, "mutant"), 0)


def test_a_reused_observation_buffer_is_copied():
    class Aliased(Mutant):
        buffer = np.zeros(3, np.float32)

        def step(self, action):
            obs, *rest = super().step(action)
            self.buffer[:] = obs
            return self.buffer, *rest

    collector = HostCollector(GymEnv(lambda: Aliased(-1, None), 1, "aliased"), 0)
    rows = [collector.collect(np.zeros((1, 1), np.float32))[0] for _ in range(3)]
    assert [r[0, 0, 0] for r in rows] == [0, 1, 2]


def test_an_object_without_a_spec_is_refused_with_the_fix():
    with pytest.raises(InputError, match="pass a function that makes it, for example `lambda: Spaces"):
        factory(Spaces())
    made = factory(gymnasium.make("Pendulum-v1"))()
    assert made.spec.id == "Pendulum-v1"
    assert GymEnv(factory(Spaces)).spec.env == "Spaces"


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("Pendulm-v1", "did you mean Pendulum-v1"),
        ("halfcheetah-v5", "did you mean HalfCheetah-v5"),
        ("no_such_module_at_all:Env-v0", "cannot import no_such_module_at_all"),
        ("", "the id is empty"),
        (3, "expected an id"),
    ],
)
def test_an_unknown_environment_is_one_line_with_the_nearest(env, message):
    with pytest.raises(InputError, match=message) as caught:
        factory(env)
    assert "\n" not in str(caught.value)


def test_episode_seeds_differ_by_every_part():
    parts = [(s, t, e, k) for s in (0, 1) for t in (0, 1) for e in (0, 1) for k in range(3)]
    seeds = [episode_seed(*p) for p in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= s < 2**31 for s in seeds)


@pytest.mark.parametrize("n", [1, 3, 10])
def test_evaluation_counts_every_episode_once_in_order_of_its_seed(n):
    class Lengths(gymnasium.Env):
        """Episodes of 1 to 9 steps by seed; the return is the length."""

        observation_space, action_space = Box(-9, 9, (1,), np.float32), Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            self.left = 1 + seed % 9
            return np.zeros(1, np.float32), {}

        def step(self, action):
            self.left -= 1
            return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}

    result = evaluate(lambda obs: np.zeros((len(obs), 1)), GymEnv(Lengths, n), 10, 5)
    want = [1 + int(episode_seed(5, 1, 0, k)) % 9 for k in range(10)]
    assert list(result.returns) == list(result.lengths) == want
    low, high = result.ci95
    assert low < result.mean == np.mean(want) < high
    assert (high - low) / 2 == pytest.approx(2.262157 * np.std(want, ddof=1) / np.sqrt(10))


def test_adding_environments_to_an_evaluation_does_not_change_it():
    act = lambda obs: np.clip(obs[:, :1], -1, 1)
    one, many = (evaluate(act, GymEnv(factory("Pendulum-v1"), n), 4, 0) for n in (1, 3))
    assert one == many


def test_an_episodes_end_leaves_the_neighbour_alone(counting):
    lengths = iter([2, 3])
    collector = HostCollector(GymEnv(lambda: counting(truncate=next(lengths)), 2, "counting"), 0)
    rows = np.concatenate([collector.collect(np.zeros((2, 2), np.float32))[0] for _ in range(6)])
    obs = collector.layout.unpack(rows).obs
    np.testing.assert_array_equal(obs, [[divmod(t, 2), divmod(t, 3)] for t in range(6)])


def test_a_compiled_loop_computes_the_same_episode_seeds():
    import jax
    import jax.numpy as jnp

    env, episode = np.arange(5)[:, None], np.arange(7)
    host = np.array([[int(episode_seed(3, 0, i, k)) for k in range(7)] for i in range(5)])
    device = jax.jit(lambda s, i, k: episode_seed(s, 0, i, k))(
        jnp.uint32(3), jnp.asarray(env), jnp.asarray(episode)
    )
    np.testing.assert_array_equal(host, device)
    assert len(np.unique(host)) == host.size
    numpys = [
        [np.random.SeedSequence((3, 0, i, k)).generate_state(1)[0] >> 1 for k in range(7)] for i in range(5)
    ]
    np.testing.assert_array_equal(host, numpys)


def test_replaying_an_episode_comes_to_the_same_state():
    env, again = GymEnv(factory("Pendulum-v1"), 2), GymEnv(factory("Pendulum-v1"), 2)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 2, 1)).astype(np.float32)
    env.reset([11, 12])
    for a in actions:
        obs = env.step(a).obs
    np.testing.assert_array_equal(again.restore_episode(1, 12, actions[:, 1]).obs[-1], obs[1])
    again.restore_episode(0, 11, actions[:, 0])
    assert (env.step(actions[0]).obs == again.step(actions[0]).obs).all()


class Small(gymnasium.Env):
    """Two numbers, 30 steps; `closing` and `stepping` are what its methods do besides."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)
    stepping = closing = lambda self: None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        self.stepping()
        return np.full(2, self.t / 30, np.float32), 1.0, False, self.t == 30, {}

    def close(self):
        self.closing()


def small(**methods):
    return type("Small", (Small,), methods)


def test_an_environment_that_exits_is_a_fault_and_not_the_end():
    env = GymEnv(small(stepping=lambda self: sys.exit(0)))
    env.reset([0])
    with pytest.raises(EnvFault, match=r"episode 0, step 1: it raised SystemExit: 0"):
        env.step(np.zeros((1, 1), np.float32))
    with pytest.raises(InputError, match="while it was made it raised SystemExit"):
        GymEnv(lambda: sys.exit(0))


@pytest.mark.parametrize("elsewhere", [False, True], ids=["main thread", "another thread"])
@pytest.mark.parametrize(
    ("close", "said"),
    [
        (lambda self: 1 / 0, "close() raised ZeroDivisionError: division by zero"),
        (lambda self: sys.exit(3), "close() raised SystemExit: 3"),
        (lambda self: threading.Event().wait(), "close() has not ended after 0.1 s"),
    ],
    ids=["raises", "exits", "hangs"],
)
def test_closing_costs_one_warning_and_closes_the_others(monkeypatch, capsys, close, said, elsewhere):
    monkeypatch.setattr(closing, "PATIENCE", 0.1)
    bad, closed = GymEnv(small(closing=close), 2), []
    sound = GymEnv(small(closing=lambda self: closed.append(self)), 2)
    if elsewhere:
        thread = threading.Thread(target=closing.close_all, args=(bad, sound, bad))
        thread.start()
        thread.join()
    else:
        closing.close_all(bad, sound, bad)
    told = f"swingup: warning: environment Small: {said}; everything else is done and kept\n"
    assert capsys.readouterr().err == told
    assert len(closed) == 2


@pytest.mark.parametrize("what", ["action_space", "observation_space"])
def test_a_missing_space_is_one_line(what):
    with pytest.raises(InputError, match=f"environment Small: it has no {what}; set self.{what}"):
        GymEnv(small(**{what: None}))


def test_an_empty_observation_is_refused():
    for space in (Dict({}), Tuple(()), Dict({"a": Small.observation_space, "b": Dict({})})):
        with pytest.raises(InputError, match=r"an empty (Dict|Tuple), no numbers in it"):
            GymEnv(small(observation_space=space))


class Keyed(Small):
    """Its keys are not in sorted order; its action has no axis."""

    observation_space = Dict(b=Small.observation_space, a=Tuple((Small.observation_space,)))
    action_space = Box(-2, 2, (), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"a": (np.full(2, 0.5, np.float32),), "b": np.array([0.1, 0.2], np.float32)}, {}


def test_a_policy_takes_a_dict_and_its_flat_form_alike(tmp_path):
    env = GymEnv(Keyed)
    obs = Keyed().reset()[0]
    flat = gymnasium.spaces.flatten(Keyed.observation_space, obs)
    assert env.spec.parts == (("b",), ("a", 0))
    np.testing.assert_array_equal(env.reset([0])[0], flat)
    rng = np.random.default_rng(0)
    layers = tuple(
        {"w": rng.normal(size=s).astype(np.float32), "b": np.zeros(s[1], np.float32)}
        for s in ((4, 8), (8, 1))
    )
    save_policy(tmp_path / "p", Policy(Actor(4, 1, (8,)), layers, env.spec))
    policy = load_policy(tmp_path / "p")
    assert policy.spec == env.spec
    assert policy(obs).shape == ()  # as its action box
    assert policy(obs) == policy(flat)
    assert policy(np.stack([flat, flat])).shape == (2,)
    policy.check(env.spec)
    before = replace(policy, spec=replace(policy.spec, parts=()))  # files of before sorted the keys
    assert before(obs) == policy(np.concatenate([obs["a"][0], obs["b"]]))
    with pytest.raises(InputError, match="another order"):
        before.check(env.spec)
    with pytest.raises(ValueError, match="does not have the parts"):
        policy({"b": obs["b"]})


def test_the_bounds_of_a_policy_file_of_before_still_load(tmp_path):
    spec = GymEnv(Small).spec
    layers = ({"w": np.ones((2, 1), np.float32), "b": np.zeros(1, np.float32)},)
    save_policy(tmp_path / "p", Policy(Actor(2, 1, ()), layers, spec))
    assert b"parts" not in (tmp_path / "p").read_bytes()
    assert load_policy(tmp_path / "p").spec == spec


class Counted(Small):
    """Counts its steps; `steps` of all copies."""

    made: list = []  # noqa: RUF012

    def __init__(self):
        self.steps = 0
        self.made.append(self)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.end = 3 + seed % 7
        return np.full(2, self.end / 10, np.float32), {}

    def step(self, action):
        self.steps += 1
        obs, reward, *_ = super().step(action)
        return obs, reward, False, self.t == self.end, {}


@pytest.mark.parametrize("episodes", [1, 3, 10, 14])
def test_an_evaluation_steps_only_what_it_counts(episodes):
    Counted.made = []
    found = evaluate(lambda obs: np.zeros((10, 1), np.float32), GymEnv(Counted, 10), episodes, 0)
    assert found.lengths == tuple(3 + int(episode_seed(0, 1, 0, k)) % 7 for k in range(episodes))
    assert sum(env.steps for env in Counted.made) == sum(found.lengths)


def test_a_fault_in_an_evaluation_says_so():
    with pytest.raises(EnvFault, match=r"^evaluation: environment Small \[0\].*ZeroDivisionError"):
        evaluate(lambda obs: np.zeros((1, 1)), GymEnv(small(stepping=lambda self: 1 / 0)), 1, 0)


def test_robots_that_mujoco_is_too_new_for_say_which_one_they_need(monkeypatch):
    import types

    def make(*args, **options):
        raise AssertionError

    monkeypatch.setattr(gymnasium, "make", make)
    spec = types.SimpleNamespace(entry_point="gymnasium_robotics.envs.fetch.reach:MujocoFetchReachEnv")
    with pytest.raises(InputError, match=r"pip install 'mujoco<3\.11'$"):
        create(spec, "FetchReach-v4", {})
