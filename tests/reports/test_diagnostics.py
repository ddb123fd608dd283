"""Diagnostics: each figure against its definition, each diagnosis on a made state; guard against collapse."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from swingup.core import agent as algorithm
from swingup.core.agent import Agent
from swingup.core.engine import Plan
from swingup.core.heads import Categorical
from swingup.core.networks import Actor, Critic
from swingup.core.noise import Gaussian, OrnsteinUhlenbeck
from swingup.loops.evaluation import Evaluation, collapsed, evaluate, evaluate_policy
from swingup.reports.diagnostics import LASTING, Diagnostics, Figures, gradient, slope
from swingup.types import Transition

AGENT = Agent(Actor(2, 1, (8, 8)), Critic(2, 1, (8, 8)), Gaussian(0.1), gamma=0.5, batch=4)
GOOD = Figures(1.0, 1.0, 0.1, 0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 10.0)


def learner(agent=AGENT):
    return jax.tree.map(np.array, jax.jit(lambda k: algorithm.init(agent, k))(jax.random.key(0)))


def rows(reward, last=(), cut=()):
    """rows[K, 1, W] with these rewards; steps in `last` terminate, those in `cut` are truncated."""
    k = len(reward)
    rng = np.random.default_rng(0)
    ended = np.isin(np.arange(k), last)
    t = Transition(
        obs=rng.normal(size=(k, 2)), action=rng.uniform(-1, 1, (k, 1)), reward=np.asarray(reward, float),
        discount=1.0 - ended, next_obs=rng.normal(size=(k, 2)),
        last=(ended | np.isin(np.arange(k), cut)).astype(float),
    )  # fmt: skip
    return AGENT.layout.pack(Transition(*(x.astype(np.float32) for x in t)))[:, None]


def test_the_return_of_finished_episodes_is_discounted_from_their_start():
    health = Diagnostics(Plan(AGENT, warmup=1))
    health.add_rows(rows([1, 2, 4, 8, 16, 3], last=[1, 4]))
    assert [f.ret for f in health.finished] == [1 + 0.5 * 2, 4 + 0.5 * 8 + 0.25 * 16]
    assert [f.discount for f in health.finished] == [0, 0]
    seen = AGENT.layout.unpack(rows([1, 2, 4, 8, 16, 3])[2, 0])
    np.testing.assert_array_equal(health.finished[1].obs, seen.obs)
    np.testing.assert_array_equal(health.finished[1].action, seen.action)


def test_an_episode_that_was_cut_is_bootstrapped_from_its_last_observation():
    health, now = Diagnostics(Plan(AGENT, warmup=1)), learner()
    health.add_rows(rows([1, 2], cut=[1]))
    end = AGENT.layout.unpack(rows([1, 2])[1, 0]).next_obs
    first = jax.tree.map(lambda x: x[0], now.critic)
    want = 2.0 + 0.25 * AGENT.critic.apply(first, end, AGENT.actor.apply(now.actor, end))
    assert health.figures(now, 2).return_start == pytest.approx(float(want), rel=1e-5)


def test_the_action_gradient_is_that_of_automatic_differentiation():
    now, rng = learner(), np.random.default_rng(1)
    obs, action = rng.normal(size=(16, 2)).astype(np.float32), rng.uniform(-1, 1, (16, 1)).astype(np.float32)
    first = jax.tree.map(lambda x: 100 * x[0], now.critic)
    big = jax.tree.map(lambda x: x[None], first)
    want = jax.vmap(jax.grad(lambda a, o: AGENT.critic.apply(first, o, a)))(action, obs)
    assert slope(AGENT, big, obs, action) == pytest.approx(
        float(np.linalg.norm(want, axis=1).mean()), rel=1e-3
    )


@pytest.mark.parametrize("clip", [None, 1e9])
def test_the_gradient_norm_comes_from_adams_moments(clip):
    params, grads = {"w": np.ones(2, np.float32)}, {"w": np.array([3.0, 4.0], np.float32)}
    opt = algorithm.optimizer(1e-3, None, clip)
    state = opt.init(params)
    for _ in range(5):
        state = opt.update(grads, state, params)[1]
    assert gradient(state) == pytest.approx(5.0, rel=1e-4)


def test_td_error_norms_and_saturation():
    health, now = Diagnostics(Plan(AGENT, warmup=1)), learner()
    health.add_rows(rows(np.ones(10), last=range(10)))
    seen = AGENT.layout.unpack(rows(np.ones(10))[:, 0])
    first = jax.tree.map(lambda x: x[0], now.critic)
    f = health.figures(now, 10)
    assert f.td_error == pytest.approx(
        float(np.sqrt(np.mean((1 - AGENT.critic.apply(first, seen.obs, seen.action)) ** 2))), rel=1e-5
    )
    assert f.actor_norm == pytest.approx(
        np.sqrt(sum(np.sum(x**2) for x in jax.tree.leaves(now.actor))), rel=1e-5
    )
    assert f.saturation == 0
    assert f.replay_age == 5
    stuck = list(now.actor)
    stuck[-1] = {**stuck[-1], "b": np.full(1, 9, np.float32)}
    assert health.figures(now._replace(actor=tuple(stuck)), 10).saturation == 1


@pytest.mark.parametrize(("bias", "share"), [((9, 0), 0), ((9, -9), 1)])
def test_an_actor_is_stuck_where_every_dimension_of_its_actions_is(bias, share):
    agent = replace(AGENT, actor=Actor(2, 2, (4,)), critic=Critic(2, 2, (4,), 0))
    health, now = Diagnostics(Plan(agent, warmup=1)), learner(agent)
    both = np.zeros((5, 1, agent.layout.width), np.float32)
    health.add_rows(both)
    stuck = (*now.actor[:-1], {**now.actor[-1], "b": np.array(bias, np.float32)})
    assert health.figures(now._replace(actor=stuck), 5).saturation == share


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("actor saturated", GOOD._replace(saturation=0.93)),
        ("values explode", GOOD._replace(q_start=50.0)),
        ("critic overestimates", GOOD._replace(q_start=2.0)),
        ("actor stands still", GOOD._replace(actor_gradient=0.0)),
    ],
)
def test_a_lasting_sign_is_named_once_and_a_passing_one_never(name, bad):
    health = Diagnostics(Plan(AGENT, warmup=1))
    health.add_rows(rows(np.arange(12), last=range(12)))
    health.best = 1.5
    passing = [health.diagnoses(f, 0) for f in ([bad] * (LASTING - 1) + [GOOD]) * 3]
    assert not any(passing)
    told = [text for _ in range(3 * LASTING) for text in health.diagnoses(bad, 7)]
    assert sum(text.startswith(f"{name} (step 7): ") for text in told) == 1
    assert all("--" in text for text in told if text.startswith(name))


def test_a_reward_that_never_changes_and_a_range_too_narrow_are_named():
    agent = Agent(AGENT.actor, Critic(2, 1, (8, 8), outputs=5), Gaussian(0.1), head=Categorical(-1.0, 0.0, 5))
    health = Diagnostics(Plan(agent, warmup=1))
    health.add_rows(rows(np.zeros(5), last=range(5)))
    told = [text.split(" (")[0] for _ in range(LASTING) for text in health.diagnoses(GOOD, 0)]
    assert told == ["range too narrow", "no reward signal"]
    stuck = [
        text
        for _ in range(LASTING)
        for text in health.diagnoses(GOOD._replace(return_start=-0.5, saturation=1.0), 0)
    ]
    assert "trials, --normalize, then --value-high 1, then --actor-lr 1e-05" in stuck[0]
    assert np.isfinite(health.figures(learner(agent), 5)).all()


def named(agent, f, t, warmup=1):
    """The diagnoses of a lasting state, by name."""
    health = Diagnostics(Plan(agent, warmup=warmup))
    health.add_rows(t)
    health.best = 1.5
    told = [text for _ in range(LASTING) for text in health.diagnoses(f, 0)]
    return dict(text.split(" (step 0): ") for text in told)


BAD = GOOD._replace(q_start=1e9, saturation=1.0, actor_gradient=0.0, critic_gradient=np.inf, noise_ratio=9.0)
DONE = {"normalize": True, "critics": 2, "tau": 1e-3, "grad_clip": 1.0, "actor_lr": 1e-5, "critic_lr": 1e-5}


def test_what_is_set_already_is_never_advised():
    t = 1e3 * rows(np.full(12, 3.0), last=range(12))
    before, quick = (named(replace(AGENT, tau=tau), BAD, t) for tau in (0.001, 0.005))
    nets = Actor(2, 1, (8, 8), layer_norm=True), Critic(2, 1, (8, 8), 1, layer_norm=True)
    agent = replace(AGENT, actor=nets[0], critic=nets[1], noise=OrnsteinUhlenbeck(1.5), **DONE)
    after = named(agent, BAD, t)
    assert {"actor saturated", "values explode", "critic overestimates", "actor stands still"} < set(before)
    assert "observations unscaled" in before
    assert "observations unscaled" not in after
    for flag in ("--normalize", "--critics", "--tau", "--grad-clip", "--actor-lr", "--layer-norm", "--noise"):
        assert any(flag in text for text in (*before.values(), *quick.values()))
        assert not any(flag in text for text in after.values())
    assert "are all set" in after["actor saturated"]


def test_the_cost_of_acting_alone_is_told_from_a_reward_of_the_state():
    still = GOOD._replace(noise_ratio=9.0)
    t = rows(np.zeros(40), last=range(39))
    fields = AGENT.layout.unpack(t)
    fields.reward[:] = -0.1 * fields.action[..., 0] ** 2
    assert "trials, --noise ou, then --sigma 0.5, or" in named(AGENT, still, t)["only action costs"]
    ou = replace(AGENT, noise=OrnsteinUhlenbeck(0.6))
    assert named(ou, still, t)["only action costs"].endswith("try --sigma 1.2, or another --seed")
    assert "only action costs" not in named(AGENT, GOOD._replace(noise_ratio=0.1), t)
    fields.reward[:] -= fields.obs[..., 0] ** 2
    assert "only action costs" not in named(AGENT, still, t)


def test_sizes_of_observations_and_rewards_are_named_once_at_the_end_of_the_warm_up():
    t = rows(np.full(12, 3.0), last=range(12))
    health = Diagnostics(Plan(AGENT, warmup=1))
    health.add_rows(1e5 * t)
    first = health.diagnoses(GOOD, 0)
    assert [text.split(" (")[0] for text in first] == ["observations unscaled", "rewards large"]
    assert first[0].endswith("try --normalize")
    assert first[1].endswith("try --reward-scale 1e-05")
    assert not health.diagnoses(GOOD, 1)
    again = Diagnostics(Plan(AGENT, warmup=1))
    again.restore(health.state())
    assert not again.diagnoses(GOOD, 2)
    np.testing.assert_array_equal(again.sizes, health.sizes)
    uneven = t.copy()
    AGENT.layout.unpack(uneven).obs[..., 0] *= 1e-3
    assert "observations unscaled" in named(AGENT, GOOD, uneven)
    assert "observations unscaled" not in named(replace(AGENT, normalize=True), GOOD, uneven)
    assert not {"observations unscaled", "rewards large"} & set(named(AGENT, GOOD, t))
    assert "rewards large" not in named(replace(AGENT, reward_scale=1e-5), GOOD, 1e5 * t)


def test_a_critic_that_has_not_yet_learnt_returns_below_zero_is_not_said_to_overestimate():
    health = Diagnostics(Plan(AGENT, warmup=1))
    health.add_rows(rows(np.arange(12), last=range(12)))
    health.best = -50.0
    assert not any(health.diagnoses(GOOD._replace(q_start=-20.0), 0) for _ in range(2 * LASTING))
    told = [text for _ in range(LASTING) for text in health.diagnoses(GOOD._replace(q_start=1.0), 0)]
    assert [text.split(" (")[0] for text in told] == ["critic overestimates"]


def test_the_returns_of_the_warm_up_are_not_what_a_critic_is_compared_with():
    health = Diagnostics(Plan(AGENT, warmup=100))
    health.add_rows(rows(np.arange(12), last=range(12)))
    assert not any(health.diagnoses(GOOD._replace(q_start=20.0), 0) for _ in range(2 * LASTING))


def test_a_critic_whose_second_moments_are_infinite_is_named_with_the_reward_scale():
    t = rows(np.full(12, 1e30), last=range(12))
    text = named(AGENT, GOOD._replace(critic_gradient=np.inf), t)["critic stands still"]
    assert "rewards up to 1e+30" in text
    assert text.endswith("try --reward-scale 1e-30")
    figures = Diagnostics(Plan(AGENT, warmup=1))
    figures.add_rows(t)
    assert figures.figures(learner(), 12).td_error == np.inf


def returns(*values):
    return Evaluation(values, (1,) * len(values))


def test_a_collapse_is_a_significant_drop():
    best = returns(10.0, 11.0, 9.0, 10.5, 9.5)
    assert collapsed(best, returns(5.0, 6.0, 4.0, 5.5, 4.5))
    assert not collapsed(best, returns(9.9, 10.9, 8.9, 10.4, 9.4))
    assert not collapsed(best, returns(0.0, 20.0, 9.0, 1.0, 19.0))
    assert not collapsed(best, returns(15.0, 16.0, 14.0, 15.5, 14.5))
    assert collapsed(returns(1.0, 1.0), returns(0.0, 0.0))


def test_a_run_goes_back_to_its_best_weights(tmp_path, monkeypatch):
    """Evaluations are made to fall after the second: the last policy is that of the best evaluation."""
    import swingup
    from swingup.training import evaluator

    script = iter([-9.0, -1.0, -5.0, -6.0, -1.0])
    played = lambda *args: returns(*(next(script) + np.array([-0.1, 0.0, 0.1])))
    monkeypatch.setattr(evaluator, "evaluate_policy", played)
    run = swingup.train(
        "Pendulum-v1", run_dir=tmp_path / "run", quiet=True, guard_collapse=True, steps=80, warmup=20,
        batch=8, hidden=(8, 8), eval_every=20,
    )  # fmt: skip
    remarks = (tmp_path / "run" / "remarks.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in remarks[1:]] == [["60", "guard"], ["80", "guard"]]
    for a, b in zip(jax.tree.leaves(run.policy.params), jax.tree.leaves(run.best.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert run.result["mean"] == pytest.approx(-1)


def test_an_evaluation_grows_until_its_interval_is_narrow_enough(counting):
    from swingup.envs.gym_env import GymEnv
    from swingup.envs.registry import factory

    env = GymEnv(factory("Pendulum-v1"), 4)

    class Still:
        check = staticmethod(lambda spec: None)
        act = staticmethod(lambda obs: np.zeros((len(obs), 1)))
        reset = staticmethod(lambda where=None: None)

    few = evaluate_policy(Still, env, 4, 0)
    more = evaluate_policy(Still, env, 4, 0, within=few.half / 2)
    assert len(more.returns) in (8, 16, 32, 64)
    assert more.half <= few.half / 2
    assert more.returns[:4] == few.returns
    assert more.returns == evaluate(Still.act, env, len(more.returns), 0).returns
