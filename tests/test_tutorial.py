"""The 2017 notebook: numbers, figures and corrections. One test for each claim of docs/tutorial-2017.md."""

import json
import re
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np
import pytest

import swingup
from swingup.config.presets import base
from swingup.config.settings import Config, apply, check
from swingup.core import agent as algorithm
from swingup.core import replay_buffer
from swingup.core.agent import Agent
from swingup.core.networks import TFLEARN, Actor, Critic
from swingup.core.noise import EpisodeDecay
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.loops.host import HostLoop
from swingup.training.build import plan
from swingup.types import Layout, Spec, Transition

PENDULUM = Spec("Pendulum-v1", (3,), (1,), "float32", (-2.0,), (2.0,))


def tutorial(**changes):
    return check(apply(base("Pendulum-v1", "tutorial"), changes, "test"))


def test_the_preset_sets_exactly_the_notebooks_numbers():
    p = plan(tutorial(), PENDULUM)
    assert p.agent == Agent(
        actor=Actor(3, 1, (400, 300), TFLEARN),
        critic=Critic(3, 1, (400, 300), 2, TFLEARN),
        noise=EpisodeDecay((2.0,)),
        actor_lr=1e-4,
        critic_lr=1e-3,
        gamma=0.99,
        tau=1e-3,
        batch=64,
    )
    assert (p.capacity, p.n, p.updates, p.uniform) == (10_000, 1, 1, False)
    assert (tutorial().episodes, tutorial().episode_steps) == (50_000, 1000)


def test_learning_starts_with_the_65th_transition_and_updates_once_a_step():
    loop = HostLoop(plan(tutorial(hidden=(8, 8)), PENDULUM), GymEnv(factory("Pendulum-v1")), 0)
    ticks = [loop.step() for _ in range(70)]
    assert [t.metrics is not None for t in ticks].index(True) == 64
    assert int(loop.state.learner.critic_opt[0].count) == 6


@pytest.mark.parametrize("half", [(1.0,), (2.0, 0.5)])
def test_the_offset_is_one_over_one_plus_the_episode_in_environment_units(half):
    decay, state = EpisodeDecay(half), EpisodeDecay(half).init(1, len(half))
    for episode in range(4):
        for step in range(3):
            offset, state = decay.sample(state, None, np.array([float(step == 0)]))
            np.testing.assert_allclose(offset[0] * np.array(half), 1 / (1 + episode), rtol=1e-6)


def test_every_other_preset_explores_with_zero_mean_noise():
    from swingup.config.presets import presets

    for name, preset in presets().items():
        assert (preset.values.get("noise", Config.noise) == "decay") == (name == "tutorial")


def test_qmax_is_the_mean_over_the_episodes_updates(tmp_path):
    loop = HostLoop(plan(tutorial(hidden=(8, 8)), PENDULUM), GymEnv(factory("Pendulum-v1")), 0)
    ticks = [loop.step() for _ in range(400)]
    first, second = (e for t in ticks for e in t.episodes)
    largest = [t.metrics.q_max for t in ticks if t.metrics]
    assert len(largest) == 400 - 64
    assert first.q_max == pytest.approx(
        np.mean(largest[:136])
    )  # divided by their number, not by the last index
    assert second.q_max == pytest.approx(np.mean(largest[136:]))


def test_a_line_for_each_episode_with_the_notebooks_three_figures(tmp_path, capsys):
    run = swingup.train(
        "Pendulum-v1",
        preset="tutorial",
        episodes=2,
        hidden=(8, 8),
        final_episodes=2,
        run_dir=tmp_path / "run",
    )
    lines = re.findall(
        r"^\| Reward: (-?\d+) \| Episode (\d+) \| Qmax: (-?\d+\.\d{4})$", capsys.readouterr().err, re.M
    )
    episodes = run.episodes
    assert [int(x[1]) for x in lines] == [0, 1]
    for (reward, _, q_max), ret, q in zip(lines, episodes["return"], episodes["q_max"], strict=True):
        assert float(reward) == round(ret)
        assert float(q_max) == pytest.approx(q, abs=1e-4)
    assert run.result["steps"] == 400


def test_replay_has_the_notebooks_verbs():
    ring = replay_buffer.init(10, 1, 2)
    for i in range(3):
        ring = replay_buffer.add(ring, np.full((1, 1, 2), i, np.float32))
    assert int(replay_buffer.size(ring)) == 3
    assert replay_buffer.sample(ring, jax.random.key(0), (64,)).shape == (
        64,
        1,
        2,
    )  # fewer held than asked: drawn with replacement
    assert int(replay_buffer.size(replay_buffer.clear(ring))) == 0


def test_the_actors_gradient_is_averaged_over_the_minibatch():
    agent = plan(tutorial(hidden=(8, 8)), PENDULUM).agent
    learner = algorithm.init(agent, jax.random.key(0))
    rows = np.random.default_rng(0).normal(size=(4, agent.layout.width)).astype(np.float32)
    once = replay_buffer.n_step_batch(agent.layout, rows[:, None], 0.99)
    twice = replay_buffer.n_step_batch(agent.layout, np.concatenate([rows, rows])[:, None], 0.99)
    grad = jax.grad(algorithm.actor_loss, 1)
    for a, b in zip(
        *(
            jax.tree.leaves(grad(agent, learner.actor, jax.tree.map(lambda x: x[0], learner.critic), x))
            for x in (once, twice)
        ),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9)


def test_the_pendulums_time_limit_is_stored_as_one_to_bootstrap_through():
    loop = HostLoop(plan(tutorial(hidden=(8, 8)), PENDULUM), GymEnv(factory("Pendulum-v1")), 0)
    for _ in range(200):
        loop.step()
    t = Layout(3, 1).unpack(np.asarray(loop.state.replay.rows)[199, 0])
    assert (t.last, t.discount) == (1, 1)


def test_an_out_of_bounds_offset_is_stored_as_executed():
    spec = Spec("x", (3,), (1,), "float32", (-0.25,), (0.25,))
    p = plan(tutorial(hidden=(8, 8)), spec)
    learner = algorithm.init(p.agent, jax.random.key(0))
    action, _ = algorithm.act(
        p.agent, learner, p.agent.noise.init(1, 1), None, np.zeros((1, 3), np.float32), np.ones(1)
    )
    assert float(action[0, 0]) == 1  # the offset alone is four half-ranges


def test_the_td_target_is_the_reward_alone_where_terminal():
    layout = Layout(1, 1)
    t = Transition(
        *(np.ones(s, np.float32) for s in ((2, 1), (2, 1), (2,))),
        np.array([1, 0], "f4"),
        np.ones((2, 1), "f4"),
        np.ones(2, "f4"),
    )
    np.testing.assert_allclose(
        replay_buffer.n_step_batch(layout, layout.pack(t)[:, None], 0.99).discount, [0.99, 0]
    )


def test_an_episode_is_cut_not_ended_by_episode_steps():
    loop = HostLoop(plan(tutorial(hidden=(8, 8)), PENDULUM), GymEnv(factory("Pendulum-v1"), limit=50), 0)
    ended = [e for _ in range(100) for e in loop.step().episodes]
    assert [(e.length, e.terminated) for e in ended] == [(50, False), (50, False)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Three episodes of the tutorial, filmed."""
    return swingup.train(
        "Pendulum-v1", preset="tutorial", episodes=3, hidden=(8, 8), final_episodes=1, record=True,
        quiet=True, run_dir=tmp_path_factory.mktemp("tutorial") / "run",
    )  # fmt: skip


@pytest.mark.slow
def test_tensorboard_reads_the_tutorials_scalars_and_graph(recorded):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(recorded.folder))
    events.Reload()
    for tag, column in (("Reward", "return"), ("Qmax_value", "q_max")):
        assert [e.step for e in events.Scalars(tag)] == [0, 1, 2]
        np.testing.assert_allclose(
            [e.value for e in events.Scalars(tag)], recorded.episodes[column], rtol=1e-5
        )
    boxes = {node.name.split("/")[0] for node in events.Graph().node}
    assert {
        "actor",
        "critic",
        "target_actor",
        "target_critic",
        "critic_loss",
        "actor_loss",
        "soft_update",
    } <= boxes


def test_record_films_the_cubic_episodes(recorded):
    import av

    films = sorted((recorded.folder / "videos").glob("episode-*"))
    assert [p.name for p in films] == ["episode-000000.mp4", "episode-000001.mp4"]  # 0, 1, then 8, 27, ...
    with av.open(films[0]) as film:
        frames = [f.to_ndarray(format="rgb24") for f in film.decode(video=0)]
    assert len(frames) == 201  # the first observation and 200 steps
    assert frames[0].shape == (500, 500, 3)
    assert np.mean([np.any(a != b) for a, b in pairwise(frames)]) > 0.9


def test_recording_changes_nothing_that_is_learnt(recorded, tmp_path):
    plain = swingup.train(
        "Pendulum-v1",
        preset="tutorial",
        episodes=3,
        hidden=(8, 8),
        final_episodes=1,
        quiet=True,
        run_dir=tmp_path / "run",
    )
    assert plain.result["mean"] == recorded.result["mean"]
    assert list(plain.episodes["return"]) == list(recorded.episodes["return"])


@pytest.mark.slow
def test_a_finished_run_is_filmed_and_played_by_command(recorded, capsys):
    from swingup.cli import main

    assert main.run(["video", str(recorded.folder), "--episodes", "2", "--json"]) == 0
    clips = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [c["length"] for c in clips] == [200, 200]
    assert clips[0]["return"] == pytest.approx(
        recorded.result["mean"]
    )  # the closing evaluation's first episode
    assert all(Path(c["video"]).is_file() for c in clips)
    assert "<video" in recorded.video().data


def test_a_window_needs_a_display(recorded, capsys, monkeypatch):
    from swingup.cli import main

    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for argv in (["watch", str(recorded.folder)], ["train", "Pendulum-v1", "--render"]):
        assert main.run(argv) == 2
        err = capsys.readouterr().err
        assert "no display" in err
        assert err.count("\n") == 1


def test_a_run_shows_itself(recorded):
    figure = recorded.plot()
    dots, curve = figure.axes[0].lines
    assert len(dots.get_xdata()) == 3
    assert list(curve.get_xdata()) == [600]
    assert "<table>" in recorded.episodes._repr_html_()
    assert recorded.episodes.rows()[1]["episode"] == 1


@pytest.mark.slow
def test_the_tutorial_learns_in_150_episodes_on_three_of_five_seeds(tmp_path):
    runs = [
        swingup.train(
            "Pendulum-v1", preset="tutorial", episodes=150, seed=s, run_dir=tmp_path / str(s), quiet=True
        )
        for s in range(5)
    ]
    means = [r.result["mean"] for r in runs]
    assert sum(m > -400 for m in means) >= 3, means
