"""The Python interface: `train`, `load`, policies, and `DDPG` as Stable-Baselines3's users spell it."""

import gymnasium
import numpy as np
import pytest

import swingup
from faultcases.folders import interrupts
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.storage import policy_file
from swingup.types import Spec

QUICK = {"steps": 60, "warmup": 20, "hidden": (16, 16), "batch": 8, "final_episodes": 2, "quiet": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return swingup.train("Pendulum-v1", run_dir=tmp_path_factory.mktemp("model") / "run", **QUICK)


def test_a_loaded_policy_acts_in_the_environments_units(run):
    policy = swingup.load(run.folder).policy
    one, many = policy([1.0, 0.0, 0.5]), policy(np.tile([1.0, 0.0, 0.5], (4, 1)))
    assert one.shape == (1,)
    assert many.shape == (4, 1)
    np.testing.assert_allclose(many, np.tile(one, (4, 1)), atol=1e-7)
    assert one in gymnasium.make("Pendulum-v1").action_space
    with pytest.raises(ValueError, match=r"observations of shape \(3,\), this array has \(2,\)"):
        policy([1.0, 2.0])


def test_a_policy_survives_the_file_bit_for_bit(tmp_path):
    import jax

    spec = Spec("Any-v0", (2, 2), (3,), "float64", (-1.0, 0.0, -5.5), (1.0, 9.0, 1e-3))
    actor = Actor(4, 3, (8, 5))
    policy = Policy(actor, jax.tree.map(np.asarray, actor.init(jax.random.key(0))), spec)
    policy_file.save_policy(tmp_path / "p.safetensors", policy)
    again = policy_file.load_policy(tmp_path / "p.safetensors")
    assert again.spec == spec
    obs = np.random.default_rng(0).normal(size=(9, 2, 2))
    assert again(obs).tobytes() == policy(obs).tobytes()
    assert again(obs).shape == (9, 3)
    assert again(obs[0]).dtype == np.float64


@pytest.mark.parametrize("content", [b"", b"not a policy", b"\x00" * 64])
def test_a_file_that_is_no_policy_is_one_line(tmp_path, content):
    (tmp_path / "p.safetensors").write_bytes(content)
    with pytest.raises(swingup.InputError, match="not a policy of swingup"):
        policy_file.load_policy(tmp_path / "p.safetensors")


def test_a_factory_trains_and_evaluates_on_its_own_copies(tmp_path):
    made = []

    def make():
        made.append(gymnasium.make("Pendulum-v1", g=9.0))
        return made[-1]

    run = swingup.train(make, run_dir=tmp_path / "run", **QUICK)
    assert len(made) >= 2
    assert run.config.env == "Pendulum-v1"
    assert run.evaluate(2).mean == pytest.approx(run.result["mean"])
    with pytest.raises(
        swingup.InputError,
        match=r"trained on an object or a function, not on an id; open it with swingup.load",
    ):
        swingup.load(run.folder).evaluate(2)
    assert swingup.load(run.folder, make).evaluate(2).mean == pytest.approx(run.result["mean"])


def test_an_unknown_setting_is_named(tmp_path):
    with pytest.raises(swingup.InputError, match="there is no setting 'learning_rat'"):
        swingup.train("Pendulum-v1", learning_rat=1e-3, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", [("Pendulum-v1",), ("MlpPolicy", "Pendulum-v1"), ("object",)])
def test_the_stable_baselines_spelling(how, tmp_path):
    args = tuple(gymnasium.make("Pendulum-v1") if a == "object" else a for a in how)
    model = swingup.DDPG(
        *args, learning_rate=1e-3, buffer_size=500, learning_starts=20, batch_size=8, hidden=(16, 16), seed=1
    )
    assert model.config.capacity == 500
    assert model.learn(30) is model
    assert model.learn(30).loop.iteration == 60
    assert model.loop.settled
    obs = np.array([1.0, 0.0, 0.0], np.float32)
    action, state = model.predict(obs)
    assert state is None
    assert (action == model.predict(obs)[0]).all()
    assert (action != model.predict(obs, deterministic=False)[0]).all()
    model.save(tmp_path / "model")
    again = swingup.DDPG.load(tmp_path / "model")
    assert again.predict(obs)[0].tobytes() == action.tobytes()
    assert again.learn(10).loop.steps == 70
    model.save(tmp_path / "alone", learner=False)
    alone = swingup.DDPG.load(tmp_path / "alone")
    assert alone.predict(obs)[0].tobytes() == action.tobytes()
    with pytest.raises(swingup.InputError, match="cannot go on learning"):
        alone.learn(10)


@pytest.mark.slow
def test_td3_is_the_same_with_three_settings(tmp_path):
    model = swingup.TD3("Pendulum-v1", learning_starts=20, batch_size=8, hidden=(8, 8)).learn(31)
    agent = model.loop.plan.agent
    assert (agent.critics, agent.delay, agent.smoothing.sigma) == (2, 2, 0.2)
    assert (model.loop.steps, model.loop.settled) == (32, True)  # whole iterations of two steps
    model.save(tmp_path / "model")
    assert isinstance(swingup.TD3.load(tmp_path / "model"), swingup.TD3)
    with pytest.raises(
        swingup.InputError, match=r'^TD3: expected one environment, for example TD3\("Pendulum-v1"\)'
    ):
        swingup.TD3()


def test_an_untrained_model_acts_with_its_initial_weights():
    model = swingup.DDPG("Pendulum-v1", **TINY)
    before = model.predict(np.ones(3))[0]
    assert before.shape == (1,)
    assert abs(before[0]) < 0.1  # last layers begin within 3e-3
    assert model.learn(20).predict(np.ones(3))[0] == before  # a warm-up changes no weights


def test_a_multi_dimensional_box_and_a_dict_train(tmp_path):
    from gymnasium.spaces import Box, Dict

    class Odd(gymnasium.Env):
        observation_space = Dict({"b": Box(-1, 1, (2, 2)), "a": Box(-1, 1, (1,), np.float64)})
        action_space = Box(np.array([[-1.0], [0.0]]), np.array([[2.0], [5.0]]), dtype=np.float64)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.observation_space.seed(seed)
            self.t = 0
            return self.observation_space.sample(), {}

        def step(self, action):
            assert action.shape == (2, 1)
            assert action in self.action_space
            self.t += 1
            return self.observation_space.sample(), 0.0, False, self.t == 10, {}

    run = swingup.train(Odd, run_dir=tmp_path / "run", **QUICK)
    assert run.policy({"a": np.zeros(1), "b": np.zeros((2, 2))}).shape == (2, 1)
    assert run.result["episodes"] == 2


def test_numbers_of_numpy_are_numbers_and_a_factory_must_make_new_ones(tmp_path):
    from swingup.config.settings import Config, apply

    config = apply(Config(), {"seed": np.int64(3), "gamma": np.float32(0.5), "steps": 1e4}, "test")
    assert (config.seed, config.gamma, config.steps) == (3, 0.5, 10_000)
    assert [type(x) for x in (config.seed, config.gamma, config.steps)] == [int, float, int]
    same = gymnasium.make("Pendulum-v1")
    with pytest.raises(swingup.InputError, match="the same object each time"):
        swingup.train(lambda: same, run_dir=tmp_path / "run", **QUICK)
    with pytest.raises(swingup.InputError, match="made a NoneType"):
        swingup.train(lambda: None, run_dir=tmp_path / "run", **QUICK)


TINY = {"learning_starts": 60, "batch_size": 16, "hidden": (8, 8), "buffer_size": 2000}


def test_a_model_is_usable_after_every_interrupt():
    """A signal at random instants of `learn`: its state is donated meanwhile, and never lost."""
    assert interrupts(12) == []


def test_loading_into_a_model_replaces_what_it_acts_with(tmp_path):
    one, other = (swingup.DDPG("Pendulum-v1", seed=seed, **TINY).learn(80) for seed in (1, 2))
    one.save(tmp_path / "p")
    obs = np.array([1.0, 0.0, 0.0])
    assert other.load(tmp_path / "p") is other
    np.testing.assert_array_equal(other.predict(obs)[0], one.predict(obs)[0])
    fresh = swingup.DDPG.load(tmp_path / "p")
    np.testing.assert_array_equal(fresh.predict(obs)[0], one.predict(obs)[0])
    assert fresh.env is None  # acting needs none, whatever it was made with


def test_loading_refuses_an_environment_with_other_bounds(tmp_path, counting):
    model = swingup.DDPG(lambda: counting(truncate=20, low=-2.0, high=2.0), **TINY).learn(80)
    model.save(tmp_path / "p")
    with pytest.raises(swingup.InputError, match="its low is"):
        swingup.DDPG.load(tmp_path / "p", lambda: counting(low=-0.1, high=0.1))


def test_what_reset_returns_is_taken_for_its_observation():
    model, env = swingup.DDPG("Pendulum-v1", **TINY), gymnasium.make("Pendulum-v1")
    given, alone = env.reset(seed=3), env.reset(seed=3)[0]
    np.testing.assert_array_equal(model.predict(given)[0], model.predict(alone)[0])


def test_gradient_steps_follow_train_freq_steps_of_all_environments():
    """As many as steps, in Stable-Baselines3's words: 50 and 50, or -1."""
    for steps in (50, -1):
        config = swingup.DDPG("Pendulum-v1", train_freq=50, gradient_steps=steps).config
        assert (config.block, config.updates) == (50, 1)
    assert swingup.DDPG("Pendulum-v1", n_envs=4, gradient_steps=1).config.updates == 0.25
    assert swingup.DDPG("Pendulum-v1", gradient_steps=2).config.updates == 2
    assert swingup.DDPG("Pendulum-v1", n_envs=4).config.updates == 1  # ours, where nothing is said


def test_a_replay_that_does_not_fit_is_refused_here_too(monkeypatch):
    from swingup import runtime

    monkeypatch.setattr(runtime, "free_memory", lambda: 1e4)
    with pytest.raises(swingup.InputError, match="the largest that fits is"):
        swingup.DDPG("Pendulum-v1", **TINY).learn(10)
