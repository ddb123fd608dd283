"""The host loop and its engine: stored rows, the start of learning, one compilation, same seed same bytes."""

from dataclasses import replace
from fractions import Fraction

import jax
import numpy as np
import pytest

from swingup.core import engine
from swingup.core.agent import Agent
from swingup.core.engine import Plan
from swingup.core.networks import Actor, Critic
from swingup.core.noise import Gaussian, OrnsteinUhlenbeck
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.errors import Diverged, EnvFault
from swingup.loops.host import HostLoop
from swingup.reports.metrics_logger import log_interval


def small(obs=3, action=1, n=1, noise=None, **options):
    agent = Agent(
        Actor(obs, action, (16, 16)), Critic(obs, action, (16, 16)), noise or Gaussian(0.1), batch=8
    )
    return Plan(agent, n, **({"capacity": 100, "warmup": 10} | options))


def run(plan, steps, seed=0, env="Pendulum-v1"):
    loop = HostLoop(plan, GymEnv(factory(env), plan.n), seed)
    ticks = [loop.step() for _ in range(steps)]
    return loop, ticks


def digest(loop):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(loop.state)]


@pytest.mark.parametrize(("n", "warmup", "quiet"), [(1, 10, 9), (1, 1, 0), (4, 10, 2), (4, 8, 1)])
def test_the_first_update_follows_the_warmup_th_transition(n, warmup, quiet):
    _, ticks = run(small(n=n, warmup=warmup), 6 if n > 1 else 12)
    assert [t.metrics is None for t in ticks].index(False) == quiet
    assert ticks[0].step == n


def test_warmup_actions_are_uniform_and_then_the_policys():
    loop, _ = run(small(warmup=50), 60)
    rows = loop.plan.agent.layout.unpack(np.asarray(loop.state.replay.rows)[:60, 0])
    actions = rows.action[:, 0]
    assert np.abs(actions[:50]).max() > 0.8
    assert np.abs(np.mean(actions[:50])) < 0.3
    assert np.abs(actions[50:]).max() < 0.6  # an untrained actor is near zero, noise sd 0.1


@pytest.mark.parametrize(
    ("collect", "delay", "updates", "n", "block"),
    [(1, 1, 1, 1, 1), (5, 2, 1, 1, 6), (50, 2, 1, 3, 50), (5, 1, Fraction(1, 4), 1, 8), (3, 3, 2, 1, 3)],
)
def test_a_block_is_rounded_up_to_whole_actor_steps(collect, delay, updates, n, block):
    plan = small(n=n, collect=collect, updates=Fraction(updates))
    plan = replace(plan, agent=replace(plan.agent, delay=delay))
    assert plan.block == block
    assert (plan.updates * plan.rows / delay).denominator == 1


def test_a_longer_block_is_logged_as_often():
    assert log_interval(small(collect=50)) == log_interval(small()) == 500
    assert log_interval(small(n=64, collect=2)) == log_interval(small(n=64)) == 50 * 64


def test_every_episode_of_a_block_has_its_largest_q(counting):
    loop = HostLoop(small(2, 2, warmup=7, collect=7), GymEnv(lambda: counting(truncate=3)), 0)
    for _ in range(6):
        result = loop.step()
        assert len(result.episodes) >= 2
        assert all(np.isfinite(e.q_max) for e in result.episodes)


@pytest.mark.parametrize("n", [1, 3])
def test_the_update_count_follows_the_environment_steps(n):
    loop, _ = run(small(n=n, warmup=n), 5)
    assert int(loop.state.learner.critic_opt[0].count) == 5 * n


def test_same_seed_same_bytes_and_another_seed_others():
    a, b, c = (digest(run(small(n=2), 30, seed)[0]) for seed in (3, 3, 4))
    assert a == b
    assert a != c


def test_nothing_is_traced_again_after_the_first_step(monkeypatch):
    traced = []
    for name in ("start_run", "warmup_step", "train_step", "act", "random_action"):
        f = getattr(engine, name)
        monkeypatch.setattr(engine, name, lambda *args, f=f, name=name: traced.append(name) or f(*args))
    loop, _ = run(small(), 250)  # past an episode's end
    assert isinstance(loop.state.learner.actor[0]["w"], jax.Array)
    assert sorted(t for t in traced if t in ("start_run", "warmup_step", "train_step")) == [
        "start_run",
        "train_step",
        "warmup_step",
    ]


def test_looking_less_often_changes_nothing_but_what_goes_on_meanwhile(counting):
    """Told tick by tick the two are the same; where nobody looks, one iteration more is under way."""
    plan = small(2, 2, 2, warmup=12)
    every, rarely = (
        HostLoop(plan, GymEnv(lambda: counting(truncate=4), 2), 0, **x)
        for x in ({}, {"every": (14,), "end": 50})
    )
    for _ in range(25):
        a, b = every.step(), rarely.step()
        assert (a.step, a.episodes, a.metrics) == (b.step, b.episodes, b.metrics)
        np.testing.assert_array_equal(a.rows, b.rows)
        assert rarely.settled == (b.step % 14 == 0 or b.step == 50)
        steps = rarely.collector.env.count[0, 0] * 4 + rarely.collector.env.count[0, 1]
        assert steps - (every.collector.env.count[0, 0] * 4 + every.collector.env.count[0, 1]) == (
            not rarely.settled
        )
        assert every.settled
    assert digest(every) == digest(rarely)


def test_noise_is_told_of_each_episodes_end(counting):
    loop = HostLoop(small(2, 2, 2, warmup=12), GymEnv(lambda: counting(truncate=4), 2), 0)
    for _ in range(22):  # in the warm-up and after it
        loop.step()
        np.testing.assert_array_equal(loop.actors.noise.episode, loop.collector.begun - 1)


def test_asked_to_stop_it_begins_nothing_new():
    loop = HostLoop(small(), GymEnv(factory("Pendulum-v1")), 0, every=(1000,))
    for _ in range(20):
        loop.step()
    assert not loop.settled
    with pytest.raises(RuntimeError, match="while an iteration is in flight"):
        loop.snapshot()
    loop.step(ahead=False)
    assert loop.settled
    assert loop.snapshot().added == loop.steps == 21


def test_a_fault_of_the_iteration_after_is_told_in_its_turn(counting):
    class Fails(counting):
        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, np.nan if self.t == 7 else reward, *rest

    loop = HostLoop(small(2, 2, warmup=2), GymEnv(Fails), 0, every=(1000,))
    assert [loop.step().step for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    assert loop.settled
    for _ in range(2):
        with pytest.raises(EnvFault, match="the reward is nan"):
            loop.step()
    assert int(loop.state.replay.added) == loop.steps == 6


@pytest.mark.parametrize("collect", [1, 4])
def test_actions_are_those_of_the_learner_before_the_last_iteration(collect):
    """So that environments can go on while it computes; an iteration has one policy."""
    plan, learners = small(warmup=5, noise=Gaussian(0.0), collect=collect), []
    loop = HostLoop(plan, GymEnv(factory("Pendulum-v1")), 0)
    for _ in range(12):
        learners.append(loop.learner())
        rows = plan.agent.layout.unpack(loop.step().rows[:, 0])
        if len(learners) > 6:
            acting = [loop.plan.agent.actor.apply(x.actor, rows.obs) for x in learners[-3:]]
            np.testing.assert_allclose(rows.action, acting[-2], atol=1e-6)
            assert np.abs(rows.action - acting[-1]).max() > 1e-5 < np.abs(rows.action - acting[-3]).max()


@pytest.mark.parametrize("limit", ["terminate", "truncate"])
@pytest.mark.parametrize("n", [1, 3])
def test_rows_hold_the_true_successor_and_the_right_discount(counting, limit, n):
    plan = small(2, 2, n, warmup=10_000)
    loop = HostLoop(plan, GymEnv(lambda: counting(**{limit: 4}), n, "counting"), 0)
    ended = [e for _ in range(10) for e in loop.step().episodes]
    rows = plan.agent.layout.unpack(np.asarray(loop.state.replay.rows)[:10])
    for t in range(10):
        for i in range(n):
            episode, step = divmod(t, 4)
            np.testing.assert_array_equal(rows.obs[t, i], [episode, step])
            np.testing.assert_array_equal(
                rows.next_obs[t, i], [episode, step + 1]
            )  # never the next episode's first
            assert rows.reward[t, i] == step + 1
            assert rows.last[t, i] == (step == 3)
            assert rows.discount[t, i] == (0 if step == 3 and limit == "terminate" else 1)
    assert [(e.env, e.number, e.ret, e.length, e.terminated) for e in ended] == [
        (i, k, 10.0, 4, limit == "terminate") for k in range(2) for i in range(n)
    ]


def test_what_is_stored_is_what_was_executed(counting):
    low, high = [-3.0, 0.5], [1.0, 9.0]

    class Asymmetric(counting):
        def __init__(self):
            super().__init__()
            import gymnasium

            self.action_space = gymnasium.spaces.Box(np.array(low), np.array(high), dtype=np.float64)

    env = GymEnv(Asymmetric, 1, "asymmetric")
    loop = HostLoop(small(2, 2, noise=Gaussian(3.0), warmup=2), env, 0)
    for _ in range(40):
        loop.step()
    stored = loop.plan.agent.layout.unpack(np.asarray(loop.state.replay.rows)[:40, 0]).action
    executed = np.array(env.envs[0].executed)
    assert executed.dtype == np.float64
    assert (executed >= low).all()
    assert (executed <= high).all()
    np.testing.assert_allclose(env.spec.from_env(executed), stored, atol=1e-6)
    assert (np.abs(stored) == 1).any()  # noise of sd 3 does reach the bounds


def test_every_episode_has_a_seed_of_its_own(counting):
    env = GymEnv(lambda: counting(truncate=3), 2, "counting")
    loop = HostLoop(small(2, 2, 2), env, 0)
    for _ in range(12):
        loop.step()
    seeds = [s for e in env.envs for s in e.seeds]
    assert len(set(seeds)) == len(seeds) == 10


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_weights():
    loop, _ = run(small(warmup=2), 5)
    rows = loop.state.replay.rows.at[:5].set(np.nan)  # as if a guard had failed
    loop.state = loop.state._replace(replay=loop.state.replay._replace(rows=rows))
    with pytest.raises(Diverged, match=r"step 6: a gradient is not finite"):
        loop.step()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(loop.state.learner))


def test_noise_restarts_with_the_episode():
    state = OrnsteinUhlenbeck(0.2).sample(OrnsteinUhlenbeck(0.2).init(2, 1), jax.random.key(0), np.ones(2))[1]
    key, noise = jax.random.key(1), OrnsteinUhlenbeck(0.2)
    restarted, _ = noise.sample(state, key, np.array([1.0, 0.0]))
    fresh, _ = noise.sample(OrnsteinUhlenbeck(0.2).init(2, 1), key, np.ones(2))
    assert restarted[0] == fresh[0]
    assert restarted[1] != fresh[1]


def test_ou_noise_has_its_stationary_spread_and_correlation():
    noise, state, out = OrnsteinUhlenbeck(0.2, theta=0.15), OrnsteinUhlenbeck(0.2).init(2000, 1), []
    for t in range(60):
        x, state = noise.sample(state, jax.random.key(t), np.zeros(2000))
        out.append(np.asarray(x)[:, 0])
    assert np.std(out[-1]) == pytest.approx(0.2 / np.sqrt(0.3), rel=0.06)
    assert np.corrcoef(out[-1], out[-6])[0, 1] == pytest.approx(np.exp(-0.15 * 5), abs=0.06)
