"""Workers in lockstep: the host loop's random numbers; no number of workers and no loss changes a bit."""

import re
import subprocess
import sys

import gymnasium
import jax
import numpy as np
import pytest

from swingup.cluster import exploration
from swingup.cluster.connection import environment
from swingup.cluster.exploration import of_noise
from swingup.cluster.fleet import shares_of
from swingup.cluster.lockstep import LockstepLoop
from swingup.config.settings import Config, check
from swingup.core import noise as noises
from swingup.core.schedules import Linear
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.errors import EnvFault, InputError
from swingup.loops.host import HostLoop
from swingup.multiseed.processes import packed
from swingup.training.build import RunBuilder, plan
from swingup.training.signals import Interrupted
from tests.cluster.in_process import InProcess

N = 4
SMALL = {
    "steps": 2000, "warmup": 40, "hidden": (8,), "batch": 8, "capacity": 400, "envs": N, "threads": 2,
    "episode_steps": 23,
}  # fmt: skip


def made(workers=1, env="Pendulum-v1", name=None, fails=None, **settings):
    """A loop on workers in this process."""
    config = check(Config(env=name or env, on="ray", workers=workers, **{**SMALL, **settings}))
    local = GymEnv(factory(env), 1, name, config.episode_steps)
    planned = plan(config, local.spec)
    explore = of_noise(planned.agent.noise, local.spec.action_size)
    about = {"actor": planned.agent.actor, "exploration": explore, "limit": config.episode_steps}
    source = packed(config.env, None if isinstance(env, str) else env)
    shares = shares_of(N, workers, source=source, name=config.env, seed=config.seed, **about)
    fleet = InProcess(shares, **(fails or {}))
    return LockstepLoop(planned, local.spec, config.seed, fleet, explore, every=(10**6,), end=config.steps)


def state(loop):
    saved = loop.snapshot()
    return {k: v.tobytes() for k, v in saved.tensors.items()} | {"ring": saved.ring.tobytes()}


def results(loop, count):
    return [loop.step() for _ in range(count)]


@pytest.fixture(scope="module")
def reference():
    """Iterations of a run with one worker, and its state after them."""
    loop = made()
    return results(loop, 40), state(loop)


@pytest.mark.parametrize(
    ("workers", "fails"),
    [(4, {}), (3, {"lose": (1, 20, 21, 64, 100)}), (2, {"break_at": (8, 31, 32, 65), "lose": (40,)})],
)
def test_bits_depend_neither_on_the_number_of_workers_nor_on_losses(reference, workers, fails):
    loop = made(workers, fails=fails)
    for mine, theirs in zip(results(loop, 40), reference[0], strict=True):
        assert mine.rows.tobytes() == theirs.rows.tobytes()
        assert mine.episodes == theirs.episodes
        assert mine.metrics == theirs.metrics
    assert state(loop) == reference[1]
    assert loop.fleet.restarts == len(fails.get("lose", ()))


@pytest.mark.slow
def test_rows_of_blocks_do_not_depend_on_the_number_of_workers():
    loops = [made(w, delay=3, updates=1 / 4, normalize=True, noise="ou") for w in (1, 2)]
    assert loops[0].plan.block > 1
    for one, two in zip(*(results(loop, 20) for loop in loops), strict=True):
        assert one.rows.tobytes() == two.rows.tobytes()
        assert one.episodes == two.episodes
    assert state(loops[0]) == state(loops[1])


def test_a_resumed_run_goes_on_with_the_same_bits(reference):
    first = made(2)
    results(first, 23)
    saved = first.snapshot()
    saved = saved._replace(tensors={k: v.copy() for k, v in saved.tensors.items()}, ring=saved.ring.copy())
    again = made(3)
    assert again.restore(saved)
    assert again.steps == 23 * N
    for mine, theirs in zip(results(again, 17), reference[0][23:], strict=True):
        assert mine.rows.tobytes() == theirs.rows.tobytes()
        assert mine.metrics == theirs.metrics
    assert state(again) == reference[1]


def test_when_the_cluster_is_lost_the_run_stops_where_it_can_be_saved(reference):
    loop = made(2, fails={"gone": 40})
    with pytest.raises(Interrupted):
        results(loop, 40)
    assert any("the cluster is lost: gone" in line for line in loop.fleet.lines)
    again = made(4)
    assert again.restore(loop.snapshot())
    done = again.steps // N
    assert 10 < done < 40
    results(again, 40 - done)
    assert state(again) == reference[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"noise": "ou", "sigma": (0.3,), "sigma_end": 0.01},
        {"uniform": False, "normalize": True, "noise": "decay"},
        {"delay": 2, "updates": 0.25},
    ],
)
def test_the_rows_are_those_of_the_host_loop_up_to_rounding(settings):
    """In the warm-up to the bit: the random numbers are the same. Later products are NumPy's, not XLA's."""
    loop = made(2, **settings)
    host = HostLoop(loop.plan, GymEnv(factory("Pendulum-v1"), N, None, 23), 0)
    warm = loop.plan.warmup_iterations
    for i in range(warm + 12):
        ours, theirs = loop.step(), host.step(ahead=False)
        if i <= warm and loop.plan.uniform:
            assert ours.rows[:1].tobytes() == theirs.rows[:1].tobytes()
        np.testing.assert_allclose(ours.rows, theirs.rows, atol=2e-3, rtol=2e-3)
        assert [e[:3] for e in ours.episodes] == [e[:3] for e in theirs.episodes]


@pytest.mark.parametrize(
    "noise",
    [
        noises.Gaussian(0.2),
        noises.Gaussian((0.2, 0.4)),
        noises.Gaussian(Linear(0.5, 0.1, 7)),
        noises.OrnsteinUhlenbeck(0.3),
        noises.Pink(Linear(0.5, 0.1, 7)),
        noises.EpisodeDecay((2.0, 0.5)),
    ],
)
def test_exploration_is_the_noise_of_the_core(noise):
    explore, n, a = of_noise(noise, 2), 3, 2
    core = noise.init(n, a)
    memory = np.zeros((n, *explore.memory), np.float32)
    episode, rng = np.full(n, -1), np.random.default_rng(0)
    for step in range(15):
        first = np.ones(n) if step == 0 else (rng.random(n) < 0.3).astype(float)
        key = jax.random.PRNGKey(step)
        theirs, core = noise.sample(core, key, np.float32(first))
        draws = np.asarray(jax.random.normal(key, (n, *explore.drawn)))
        episode = episode + first.astype(int)
        for i in range(n):
            ours, memory[i] = explore.offset(draws[i], memory[i], bool(first[i]), int(episode[i]), step)
            np.testing.assert_allclose(ours, theirs[i], atol=1e-6)


def test_every_noise_of_the_settings_has_its_exploration():
    from typing import get_args

    from swingup.config.settings import Noise

    for word in get_args(Noise):
        config = check(Config(env="Pendulum-v1", noise=word))
        spec = GymEnv(factory("Pendulum-v1")).spec
        assert of_noise(plan(config, spec).agent.noise, 1).kind == word
    assert isinstance(exploration.Exploration("ou", 2).memory, tuple)


class Forgetful(gymnasium.Env):
    """An environment that does not come back: each object counts on, whatever the seed."""

    made = 0

    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        Forgetful.made += 1
        self.own = Forgetful.made

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([self.own], np.float32), {}

    def step(self, action):
        return np.array([self.own], np.float32), 0.0, False, False, {}


def test_an_episode_that_does_not_come_back_is_truncated_in_replay():
    loop = made(
        2, Forgetful, "Forgetful", fails={"lose": (11,)}, episode_steps=1000
    )  # worker 0, in the sixth iteration
    rows = [loop.step().rows for _ in range(6)]
    assert loop.fleet.restarts == 1
    ring = loop.snapshot().ring
    last = loop.plan.agent.layout.unpack(ring[:6]).last
    assert last.tolist() == [[0] * 4] * 4 + [[1, 1, 0, 0], [0] * 4]
    obs = loop.plan.agent.layout.unpack(rows[5][0]).obs[:, 0]
    assert (obs[2:] == loop.plan.agent.layout.unpack(rows[0][0]).obs[2:, 0]).all()
    assert (obs[:2] > obs[2:].max()).all()


class Raises(Forgetful):
    def step(self, action):
        raise RuntimeError("the motor is off")


def test_an_environment_that_is_at_fault_is_not_tried_again():
    from swingup.cluster.fleet import described

    assert described("EnvFault", "environment X: it raised") == "environment X: it raised"
    loop = made(1, Raises, "Raises")
    with pytest.raises(EnvFault, match="the motor is off"):
        loop.step()


def test_a_worker_that_is_always_lost_is_the_fault_of_its_environment():
    loop = made(2, fails={"lose": range(1, 100)})
    with pytest.raises(EnvFault, match="lost 3 times at the same step"):
        loop.step()


def test_workers_import_neither_jax_nor_ray():
    code = "import swingup.cluster.collector, sys; assert not {'jax', 'ray'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "--on ray: how many workers? Add --workers"),
        ({"workers": 4, "envs": 2}, "--workers 4: more than environments"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(settings, said):
    with pytest.raises(InputError, match=re.escape(said)):
        check(Config(env="Pendulum-v1", on="ray", **settings))


def test_our_own_cluster_has_a_token_and_no_statistics_and_another_one_keeps_its_own(monkeypatch):
    own = environment(None)
    assert own["RAY_AUTH_MODE"] == "token"
    assert len(own["RAY_AUTH_TOKEN"]) == 64
    assert own["RAY_AUTH_TOKEN"] != environment(None)["RAY_AUTH_TOKEN"]
    assert own["RAY_worker_niceness"] == "0"
    assert own["RAY_USAGE_STATS_ENABLED"] == "0"
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    assert "RAY_AUTH_TOKEN" not in environment("h:1")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t")
    assert environment("h:1")["RAY_AUTH_MODE"] == "token"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in environment("h:1")
    assert environment("127.0.0.1:6379")["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_other_commands_say_that_they_have_no_cluster():
    builder = RunBuilder(Config(env="Pendulum-v1", on="ray", workers=1))
    with pytest.raises(InputError, match="only train and resume have workers on a cluster"):
        builder.loop(None)
