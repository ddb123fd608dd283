"""Calls as Stable-Baselines3's documentation of DDPG and TD3 spells them, with objects that hold the same."""

import enum
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

import swingup
from swingup.config.stable_baselines import settings_of

SMALL = {"learning_starts": 40, "batch_size": 16, "buffer_size": 2000, "policy_kwargs": {"net_arch": [8, 8]}}
OBS = np.array([[1.0, 0.0, 0.5]], np.float32)


class Normal:
    def __init__(self, mean, sigma):
        self._mu, self._sigma = mean, sigma


class OrnsteinUhlenbeck:
    def __init__(self, mean, sigma, theta=0.15, dt=1e-2, initial_noise=None):
        self._theta, self._mu, self._sigma, self._dt = theta, mean, sigma, dt
        self.initial_noise = initial_noise


class PerEnvironment:
    def __init__(self, base_noise, n_envs):
        self.base_noise, self.noises = base_noise, [base_noise] * n_envs


class Unit(enum.Enum):
    STEP, EPISODE = "step", "episode"


class ReLU:
    pass


class Tanh:
    pass


TrainFreq = namedtuple("TrainFreq", "frequency unit")


@pytest.fixture(scope="module")
def model():
    """A trained model, for tests that only look at it or go on."""
    return swingup.TD3("MlpPolicy", "Pendulum-v1", seed=3, **SMALL).learn(60)


@pytest.mark.parametrize(
    ("arguments", "envs", "expected"),
    [
        ({"policy_delay": 3, "target_policy_noise": 0.3, "target_noise_clip": 0.4},
         1, {"delay": 3, "smoothing": 0.3, "smoothing_clip": 0.4}),
        ({"target_policy_noise": 0.0}, 1, {"smoothing": None}),
        ({"n_steps": 5, "tau": 0.01, "gamma": 0.98}, 1, {"n_step": 5, "tau": 0.01, "gamma": 0.98}),
        ({"learning_rate": 1e-4}, 1, {"actor_lr": 1e-4, "critic_lr": 1e-4}),
        ({"learning_rate": lambda left: 3e-4}, 1, {"actor_lr": 3e-4, "critic_lr": 3e-4}),
        ({"learning_rate": lambda left: 1e-4 + left * 1e-3}, 1,
         {"actor_lr": 1e-4 + 1e-3, "critic_lr": 1e-4 + 1e-3, "actor_lr_end": 1e-4, "critic_lr_end": 1e-4}),
        ({"learning_starts": 0}, 4, {"warmup": 4}),
        ({"learning_starts": 0, "n_steps": 3}, 2, {"n_step": 3, "warmup": 6}),
        ({"train_freq": 1, "gradient_steps": -1}, 1, {"block": 1, "updates": 1}),
        ({"train_freq": (1, "episode"), "gradient_steps": -1}, 1, {"updates": 1}),
        ({"train_freq": TrainFreq(1, Unit.EPISODE), "gradient_steps": -1}, 1, {"updates": 1}),
        ({"train_freq": TrainFreq(8, Unit.STEP), "gradient_steps": 4}, 1, {"block": 8, "updates": 0.5}),
        ({"train_freq": [4, "step"]}, 2, {"block": 4, "updates": 0.125}),
        ({"train_freq": 1000, "gradient_steps": 1000}, 1, {"block": 1000, "updates": 1}),
        ({"gradient_steps": 2}, 4, {"updates": 0.5}),
        ({"gradient_steps": -1}, 4, {"updates": 1}),
        ({"action_noise": None, "replay_buffer_class": None, "replay_buffer_kwargs": None, "verbose": 2,
          "optimize_memory_usage": False, "stats_window_size": 50, "tensorboard_log": None, "device": "auto",
          "policy_kwargs": None, "_init_setup_model": True}, 1, {}),
        ({"action_noise": Normal(np.zeros(2), 0.1 * np.ones(2))}, 1, {"noise": "gaussian", "sigma": (0.1,)}),
        ({"action_noise": SimpleNamespace(mean=[0.0], sigma=[0.2])}, 1,
         {"noise": "gaussian", "sigma": (0.2,)}),
        ({"action_noise": Normal(np.zeros(2), np.array([0.1, 0.5]))}, 1,
         {"noise": "gaussian", "sigma": (0.1, 0.5)}),
        ({"action_noise": OrnsteinUhlenbeck(np.zeros(1), 0.5 * np.ones(1))}, 1,
         {"noise": "ou", "sigma": (0.5,), "ou_theta": 0.15, "ou_dt": 0.01}),
        ({"action_noise": PerEnvironment(Normal(np.zeros(1), np.array([0.3])), 4)}, 4,
         {"noise": "gaussian", "sigma": (0.3,)}),
        ({"policy_kwargs": {"net_arch": [64, 64], "activation_fn": ReLU}}, 1,
         {"hidden": (64, 64), "activation": "relu"}),
        ({"policy_kwargs": {"net_arch": {"pi": [32], "qf": [64, 64]}, "activation_fn": Tanh, "n_critics": 1}},
         1,
         {"actor_hidden": (32,), "critic_hidden": (64, 64), "activation": "tanh", "critics": 1}),
    ],
)  # fmt: skip
def test_arguments_mean_here_what_they_mean_there(arguments, envs, expected):
    found = settings_of(arguments, "TD3", envs)
    assert found == expected


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"policy": "CnnPolicy"}, "MlpPolicy"),
        ({"policy_kwargs": {"features_extractor_class": type("NatureCNN", (), {})}}, "gymnasium.Wrapper"),
        ({"policy_kwargs": {"optimizer_class": type("RMSprop", (), {})}}, "Adam"),
        ({"policy_kwargs": {"use_sde": True}}, "net_arch"),
        ({"policy_kwargs": {"net_arch": {"vf": [3]}}}, "pi="),
        ({"replay_buffer_class": type("PrioritizedReplayBuffer", (), {})}, "priority=0.6"),
        ({"replay_buffer_kwargs": {"handle_timeout_termination": False}}, "time limits"),
        ({"train_freq": (1, "episode"), "gradient_steps": 100}, "gradient_steps=-1"),
        ({"train_freq": "often"}, "whole number"),
        ({"train_freq": (1, "epoch")}, "episode"),
        ({"gradient_steps": 0}, "nothing would be learnt"),
        ({"action_noise": Normal(np.ones(1), np.ones(1))}, "mean zero"),
        ({"action_noise": object()}, "with sigma=0.1"),
        (
            {"action_noise": OrnsteinUhlenbeck(np.zeros(1), np.ones(1), initial_noise=np.ones(1))},
            "initial_noise",
        ),
        ({"learning_rate": lambda left: left**2}, "actor_lr_end"),
        ({"device": "tpu"}, "JAX_PLATFORMS"),
        ({"learning_rte": 1e-3}, "did you mean learning_rate?"),
    ],
)
def test_what_has_no_meaning_here_is_one_line_with_our_word(arguments, word):
    with pytest.raises(swingup.InputError) as found:
        swingup.TD3(**{"policy": "MlpPolicy", "env": "Pendulum-v1", **arguments})
    assert word in str(found.value)
    assert "\n" not in str(found.value)


def test_the_policy_and_the_environment_come_first_or_by_name():
    for make in (
        lambda: swingup.DDPG("MlpPolicy", "Pendulum-v1"),
        lambda: swingup.DDPG("MlpPolicy", env="Pendulum-v1"),
        lambda: swingup.DDPG(policy="MlpPolicy", env="Pendulum-v1"),
        lambda: swingup.DDPG("MlpPolicy", "Pendulum-v1", 1e-3),
        lambda: swingup.DDPG(type("TD3Policy", (), {}), gymnasium.make("Pendulum-v1")),
    ):
        assert make().config.env == "Pendulum-v1"
    for wrong in (("MlpPolicy", "Pendulum-v1", 1e-3, 5), ("MlpPolicy",)):
        with pytest.raises(swingup.InputError):
            swingup.DDPG(*wrong, learning_rate=1e-3)


def test_a_seed_of_none_is_drawn_and_can_be_read():
    seeds = {swingup.DDPG("MlpPolicy", "Pendulum-v1", seed=None).config.seed for _ in range(3)}
    assert len(seeds) == 3


def test_their_noise_reaches_the_engine():
    noise = OrnsteinUhlenbeck(mean=np.zeros(1), sigma=0.5 * np.ones(1))
    made = swingup.DDPG("MlpPolicy", "Pendulum-v1", action_noise=noise, **SMALL).learn(5)
    found = made.loop.plan.agent.noise
    assert (type(found).__name__, found.sigma, found.theta, found.dt) == (
        "OrnsteinUhlenbeck",
        0.5,
        0.15,
        0.01,
    )


def test_a_falling_learning_rate_ends_with_the_first_call_of_learn():
    made = swingup.DDPG("MlpPolicy", "Pendulum-v1", learning_rate=lambda left: left * 1e-3, **SMALL).learn(60)
    assert made.config.schedule_steps == 60
    assert made.loop.plan.agent.actor_lr.end == 0


def evaluate_policy(model, env, episodes=2):
    """Mean return over episodes of a vector environment, with the calls that Stable-Baselines3's makes."""
    obs, states = env.reset(), None
    starts, totals, done_returns = np.ones(env.num_envs, bool), np.zeros(env.num_envs), []
    while len(done_returns) < episodes:
        actions, states = model.predict(obs, state=states, episode_start=starts, deterministic=True)
        obs, rewards, dones, infos = env.step(actions)
        totals, starts = totals + rewards, dones
        for i in np.flatnonzero(dones):
            assert infos[i]["TimeLimit.truncated"]
            assert infos[i]["terminal_observation"].shape == (3,)
            done_returns.append(totals[i])
            totals[i] = 0
    return float(np.mean(done_returns))


def test_their_way_to_evaluate_a_policy_gives_our_figure(model):
    env = model.get_env()
    assert (env.num_envs, env.observation_space.shape, env.action_space.shape) == (1, (3,), (1,))
    env.seed(11)
    first = evaluate_policy(model, env, 1)
    alone, total = gymnasium.make("Pendulum-v1"), 0.0
    obs, _ = alone.reset(seed=11)
    for _ in range(200):
        obs, reward, *_ = alone.step(model.policy(obs))
        total += reward
    assert first == pytest.approx(total, rel=1e-4)
    assert evaluate_policy(model.policy, env, 1) < 0


def test_learning_begins_new_episodes_after_the_environment_was_used_by_hand():
    made = swingup.DDPG("MlpPolicy", "Pendulum-v1", **SMALL).learn(50)
    begun = int(made.loop.collector.begun[0])
    made.learn(5)
    assert made.loop.collector.begun[0] == begun
    made.get_env().reset()
    made.learn(5)
    assert made.loop.collector.begun[0] == begun + 1
    rows = made.replay_buffer.rows()
    last = made.loop.spec.layout.unpack(rows).last[:, 0]
    assert np.flatnonzero(last).tolist() == [54]  # cut where it was left


def test_a_callback_is_called_for_each_step_and_may_end_training(model):
    calls, before = [], model.loop.steps

    def stop_after_seven(locals_, globals_):
        calls.append((locals_["self"].num_timesteps, locals_["dones"].shape, locals_["rewards"].shape))
        return len(calls) < 7

    model.learn(100, callback=stop_after_seven)
    assert [n for n, *_ in calls] == list(range(1, 9))[: len(calls)]
    assert model.loop.steps - before == 8  # whole iterations of two steps
    results = []
    model.learn(6, callback=[results.append, None])
    assert [r.step for r in results] == [2, 4, 6]
    model.learn(4, callback=[results.append], reset_num_timesteps=False)
    assert [r.step for r in results[3:]] == [8, 10]
    assert model.num_timesteps == 10
    with pytest.raises(swingup.InputError, match="on_step"):
        model.learn(4, callback=3)


def test_objects_with_on_step_are_called_as_there(model):
    class Watch:
        def __init__(self):
            self.heard = []

        def init_callback(self, model):
            self.model = model

        def on_training_start(self, locals_, globals_):
            self.heard.append(("start", locals_["total_timesteps"]))

        def update_locals(self, locals_):
            self.seen = locals_

        def on_step(self):
            self.heard.append(self.model.num_timesteps)
            return True

        def on_training_end(self):
            self.heard.append("end")

    watch = Watch()
    model.learn(4, callback=watch)
    assert watch.heard == [("start", 4), 1, 2, 3, 4, "end"]
    assert {"infos", "new_obs", "actions"} <= watch.seen.keys()


def test_verbose_lines_tensorboard_and_the_bar(tmp_path, capsys):
    log = tmp_path / "logs"
    made = swingup.DDPG("MlpPolicy", "Pendulum-v1", verbose=1, tensorboard_log=log, **SMALL)
    made.learn(410, log_interval=1, progress_bar=True)
    printed = capsys.readouterr().out
    assert printed.count(" episodes · return -") == 2
    made.learn(20, tb_log_name="other")
    made.learn(20)
    assert sorted(p.name for p in log.iterdir()) == ["DDPG_1", "DDPG_2", "other_1"]
    assert list((log / "DDPG_1").glob("events.out.tfevents.*"))
    made.logger.record("mine/number", 3)
    made.learn(20, callback=lambda result: made.logger.dump(result.step), reset_num_timesteps=False)
    assert sorted(p.name for p in log.iterdir()) == ["DDPG_1", "DDPG_2", "other_1"]


def test_a_logger_of_theirs_gets_the_figures(model):
    class Logger:
        def __init__(self):
            self.kept, self.rows = {}, []

        def record(self, key, value, exclude=None):
            self.kept[key] = value

        def dump(self, step=0):
            self.rows.append((step, dict(self.kept)))

    logger, before = Logger(), model.logger
    model.set_logger(logger)
    model.learn(210.0, log_interval=1)
    model.set_logger(before)
    (step, row), *_ = logger.rows
    assert 0 < step <= 210
    assert row["rollout/ep_rew_mean"] < 0
    assert {"rollout/ep_len_mean", "train/critic_loss", "time/episodes"} <= row.keys()


def test_a_loaded_model_goes_on_with_its_weights_settings_and_replay(model, tmp_path):
    model.save(tmp_path / "td3_pendulum")
    model.save_replay_buffer(tmp_path / "replay.pkl")
    fresh = swingup.TD3.load(tmp_path / "td3_pendulum")
    assert (fresh.config.seed, fresh.config.hidden, fresh.config.batch) == (3, (8, 8), 16)
    assert fresh.predict(OBS)[0].tobytes() == model.predict(OBS)[0].tobytes()
    assert fresh.replay_buffer.size() == 0
    for part, arrays in model.get_parameters().items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(fresh.get_parameters()[part][name], array)
    fresh.load_replay_buffer(tmp_path / "replay.pkl")
    assert fresh.replay_buffer.size() == model.replay_buffer.size() == len(fresh.replay_buffer.rows())
    ours, theirs = model.replay_buffer.rows(), fresh.replay_buffer.rows()
    np.testing.assert_array_equal(ours[:-1], theirs[:-1])
    assert fresh.loop.spec.layout.unpack(theirs).last[-1] == 1
    before = fresh.get_parameters()["policy"]
    fresh.learn(4)  # at once: replay holds enough
    after = fresh.get_parameters()["policy"]
    assert any((before[k] != after[k]).any() for k in before)
    other = swingup.TD3.load(tmp_path / "td3_pendulum", env=gymnasium.make("Pendulum-v1"), learning_rate=1e-4)
    assert other.config.actor_lr == 1e-4
    assert other.learn(60).num_timesteps == 60


def test_a_replay_of_other_sizes_is_refused_and_a_longer_one_is_cut(model, tmp_path):
    model.save_replay_buffer(tmp_path / "replay")
    small = swingup.TD3("MlpPolicy", "Pendulum-v1", **{**SMALL, "buffer_size": 20, "learning_starts": 4})
    small.load_replay_buffer(tmp_path / "replay")
    np.testing.assert_array_equal(small.replay_buffer.rows()[:-1], model.replay_buffer.rows()[-20:-1])
    car = swingup.TD3("MlpPolicy", "MountainCarContinuous-v0", **SMALL)
    with pytest.raises(swingup.InputError, match="observations of 3"):
        car.load_replay_buffer(tmp_path / "replay")
    (tmp_path / "no.pkl").write_bytes(b"nothing")
    with pytest.raises(swingup.InputError, match="not a replay of swingup"):
        car.load_replay_buffer(tmp_path / "no.pkl")


def test_prioritised_replay_and_statistics_take_a_saved_replay(model, tmp_path):
    model.save_replay_buffer(tmp_path / "replay")
    made = swingup.DDPG("Pendulum-v1", priority=0.6, n_step=3, normalize=True, **SMALL)
    made.load_replay_buffer(tmp_path / "replay")
    held = made.replay_buffer.size()
    np.testing.assert_array_equal(
        np.asarray(made.loop.state.tree.levels[0][:held]), [1.0] * (held - 2) + [0.0] * 2
    )
    seen = made.loop.spec.layout.unpack(made.replay_buffer.rows()).obs[:, 0]
    np.testing.assert_allclose(
        made.loop.state.learner.obs_statistics.mean, seen.mean(0), rtol=1e-4, atol=1e-6
    )
    made.learn(5)


def test_parameters_go_in_and_out(model):
    held = model.get_parameters()
    assert set(held) == {"policy", "actor.optimizer", "critic.optimizer"}
    zeros = {part: {k: np.zeros_like(v) for k, v in arrays.items()} for part, arrays in held.items()}
    model.set_parameters(zeros)
    assert model.predict(OBS)[0] == 0
    model.set_parameters({"policy": held["policy"]}, exact_match=False)
    model.set_parameters(held)
    assert model.predict(OBS)[0] != 0
    with pytest.raises(swingup.InputError, match="missing"):
        model.set_parameters({"policy": held["policy"]})
    with pytest.raises(swingup.InputError, match="not a parameter"):
        model.set_parameters({"policy": {"vf": np.zeros(3)}}, exact_match=False)


def test_set_env_takes_one_that_fits_and_refuses_another(model):
    env = gymnasium.make("Pendulum-v1", g=5.0)
    model.set_env(env)
    assert model.env.envs[0] is env
    model.learn(4)
    with pytest.raises(swingup.InputError, match="obs_size"):
        model.set_env(gymnasium.make("MountainCarContinuous-v0"))
    assert model.env.envs[0] is env


def test_rendering_gives_the_frame_or_says_how_to_make_one(model):
    made = swingup.DDPG("MlpPolicy", gymnasium.make("Pendulum-v1", render_mode="rgb_array"))
    env = made.get_env()
    env.reset()
    assert env.render("human").shape[2] == 3
    with pytest.raises(swingup.InputError, match='render_mode="rgb_array"'):
        swingup.DDPG("MlpPolicy", "Pendulum-v1").get_env().render("human")


def test_dict_observations_of_a_batch_are_one_action_each():
    class Parts(gymnasium.Env):
        observation_space = gymnasium.spaces.Dict(
            {"a": gymnasium.spaces.Box(-1, 1, (2,)), "b": gymnasium.spaces.Box(-1, 1, (1,))}
        )
        action_space = gymnasium.spaces.Box(-1, 1, (1,))

        def reset(self, *, seed=None, options=None):
            self.t = 0
            return self.observation_space.sample(), {}

        def step(self, action):
            self.t += 1
            return self.observation_space.sample(), 0.0, False, self.t == 5, {}

    made = swingup.TD3("MultiInputPolicy", Parts, n_envs=3, **SMALL).learn(30)
    env = made.get_env()
    obs = env.reset()
    assert obs["a"].shape == (3, 2)
    actions, _ = made.predict(obs)
    assert actions.shape == (3, 1)
    np.testing.assert_allclose(actions[1], made.predict({k: v[1] for k, v in obs.items()})[0], rtol=1e-6)
    env.step(actions)


@pytest.mark.slow
def test_the_pages_script_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "habits.md"
    script = page.read_text().partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(script, names)  # the page's own example
    assert names["model"].num_timesteps == 400
    assert (tmp_path / "td3_replay.safetensors").exists()
