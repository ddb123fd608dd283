"""The extensions of DDPG: each against its definition, and every combination runs as one program."""

import itertools
import threading
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.core import agent as algorithm
from swingup.core import engine, prioritized, replay_buffer, running_statistics
from swingup.core.agent import Agent, Smoothing
from swingup.core.heads import Categorical, Scalar
from swingup.core.networks import Actor, Critic
from swingup.core.noise import Gaussian, OrnsteinUhlenbeck, Pink
from swingup.core.prioritized import Priority
from swingup.core.pytrees import STREAMS, stream
from swingup.core.schedules import Linear
from swingup.envs.goals import goals_of_jax
from swingup.envs.gym_env import GymEnv
from swingup.envs.jax_env import JaxVectorEnv
from swingup.envs.registry import factory, find
from swingup.errors import InputError
from swingup.loops.base import Start
from swingup.loops.host import HostLoop
from swingup.training.build import plan
from swingup.types import Layout, Transition

# n-step returns


def brute_force(rows, gamma, n):
    """The n-step reward, discount and successor of rows[0]; a row is (reward, discount, last, next)."""
    total, power = 0.0, 1.0
    for row in rows[:n]:
        total += power * row[0]
        power *= gamma
        if row[2]:
            break
    return total, power * row[1], row[3]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 2, 5]),
    st.lists(
        st.tuples(st.floats(-5, 5, width=32), st.sampled_from(["on", "end", "cut"])), min_size=14, max_size=14
    ),
)
def test_n_step_returns_equal_a_loop(n, steps):
    layout, gamma = Layout(1, 1), 0.9
    t = np.arange(len(steps), dtype=np.float32)
    kinds = np.array([k for _, k in steps])
    transitions = Transition(
        obs=t[:, None], action=0 * t[:, None], reward=np.array([r for r, _ in steps], np.float32),
        discount=np.float32(kinds != "end"), next_obs=100 + t[:, None], last=np.float32(kinds != "on"),
    )  # fmt: skip
    rows = layout.pack(transitions)
    windows = np.stack([rows[i : i + n] for i in range(len(steps) - n + 1)])
    batch = replay_buffer.n_step_batch(layout, jnp.asarray(windows), gamma, 2.0)
    stored = list(
        zip(
            transitions.reward,
            transitions.discount,
            transitions.last,
            transitions.next_obs[:, 0],
            strict=True,
        )
    )
    for i in range(len(windows)):
        reward, discount, successor = brute_force(stored[i:], gamma, n)
        assert float(batch.reward[i]) == pytest.approx(2 * reward, abs=1e-4)
        assert float(batch.discount[i]) == pytest.approx(discount, abs=1e-6)
        assert float(batch.next_obs[i, 0]) == successor
        assert float(batch.obs[i, 0]) == i


@pytest.mark.parametrize("steps", [3, 5, 12, 17])
@pytest.mark.parametrize("n", [1, 2])
def test_windows_never_cross_the_head_or_mix_environments(steps, n):
    ring = replay_buffer.init(5 * n, n, 2)
    for t in range(steps):
        ring = replay_buffer.add(ring, np.array([[[t, i] for i in range(n)]], np.float32))
    drawn = np.asarray(replay_buffer.sample(ring, jax.random.key(0), (300,), 3))
    time, env = drawn[..., 0], drawn[..., 1]
    assert (np.diff(time, axis=1) == 1).all()
    assert (env == env[:, :1]).all()
    assert set(time[:, 0]) == set(range(max(steps - 5, 0), steps - 2))


# the categorical head


@settings(max_examples=100, deadline=None)
# Few sizes, as each compiles its own operations.
@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(0, 1), st.sampled_from([2, 3, 31]))
def test_the_projection_keeps_mass_and_inside_the_range_the_mean(seed, reward, discount, atoms):
    head = Categorical(-10.0, 10.0, atoms)
    p = np.random.default_rng(seed).dirichlet(np.ones(atoms)).astype(np.float32)
    values = reward + discount * np.asarray(head.support)
    q = np.asarray(head.project(jnp.asarray(p), jnp.asarray(values)))
    assert q.min() >= -1e-6
    assert q.sum() == pytest.approx(1, abs=1e-4)
    assert q @ head.support == pytest.approx(np.clip(values, -10, 10) @ p, abs=1e-3)


def test_the_projection_shares_a_value_between_its_neighbours():
    head = Categorical(0.0, 4.0, 5)
    one = jnp.array([1.0, 0, 0, 0, 0])
    np.testing.assert_allclose(head.project(one, jnp.full(5, 2.25)), [0, 0, 0.75, 0.25, 0], atol=1e-6)
    np.testing.assert_allclose(head.project(one, jnp.full(5, 9.0)), [0, 0, 0, 0, 1], atol=1e-6)


def test_the_categorical_target_of_a_terminal_state_is_the_reward():
    head = Categorical(-2.0, 2.0, 5)
    np.testing.assert_allclose(head.target(jnp.zeros(5), 1.0, 0.0), [0, 0, 0, 1, 0], atol=1e-6)


def test_the_categorical_loss_is_least_at_its_target():
    head, target = Categorical(-1.0, 1.0, 4), jnp.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(jax.grad(head.loss)(jnp.log(target), target), 0, atol=1e-6)
    assert float(head.value(jnp.log(target))) == pytest.approx(float(target @ head.support), abs=1e-6)


# prioritised replay


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1000, 5000])
def test_drawing_matches_the_priorities(size):
    rng = np.random.default_rng(size)
    p = rng.random(size) * (rng.random(size) > 0.3)
    p[0] = 0.5
    tree = prioritized.assign(prioritized.init(size), jnp.arange(size), jnp.asarray(p, jnp.float32))
    assert float(tree.levels[-1][0]) == pytest.approx(p.sum(), rel=1e-5)
    n = 40_000
    drawn = np.asarray(prioritized.sample_indices(tree, jax.random.key(0), (n,)))
    counts = np.bincount(drawn, minlength=size)
    assert counts[p == 0].sum() == 0
    # Bins with an expectation of at least 20, the rest together.
    expected = n * p / p.sum()
    big = expected >= 20
    seen, want = np.append(counts[big], counts[~big].sum()), np.append(expected[big], expected[~big].sum())
    chi2 = ((seen - want)[want > 0] ** 2 / want[want > 0]).sum()
    freedom = max((want > 0).sum() - 1, 1)
    assert chi2 < freedom + 4 * np.sqrt(2 * freedom) + 8


def test_sums_are_right_after_many_changes_of_equal_places():
    tree, p, rng = prioritized.init(700), np.zeros(700), np.random.default_rng(0)
    assign = jax.jit(prioritized.assign)
    for _ in range(50):
        place = rng.choice(700, 40, replace=False)
        value = rng.random(40).astype(np.float32)
        tree, p[place] = assign(tree, place, value), value
    for level in tree.levels:
        assert float(jnp.sum(level)) == pytest.approx(p.sum(), rel=1e-5)
    np.testing.assert_allclose(tree.levels[0][:700], p)


def test_importance_weights_undo_the_preference():
    p = np.array([1.0, 2.0, 5.0], np.float32)
    tree = prioritized.assign(prioritized.init(3), jnp.arange(3), jnp.asarray(p))
    weight = Priority(beta=1.0).weigh(tree, jnp.arange(3), 3)
    np.testing.assert_allclose(weight, (1 / p) / (1 / p).max(), rtol=1e-6)
    np.testing.assert_allclose(Priority(beta=0.0).weigh(tree, jnp.arange(3), 3), 1)


@pytest.mark.parametrize("n_step", [1, 3])
def test_only_whole_windows_have_a_priority(n_step):
    loop = make_loop(n_step=n_step, priority=0.5, capacity=20, batch=4, warmup=8)
    for _ in range(33):
        loop.step()
    head, held = int(loop.state.replay.added) % 20, np.asarray(loop.state.tree.levels[0])[:20]
    newest = [(head - 1 - k) % 20 for k in range(n_step - 1)]
    assert (held[newest] == 0).all()
    assert (np.delete(held, newest) > 0).all()


# the other options


def test_moments_are_those_of_all_observations_and_normalise():
    rng = np.random.default_rng(0)
    parts = [rng.normal(3, 2, (k, 1, 2)).astype(np.float32) for k in (1, 5, 300)]
    state = running_statistics.init(2)
    np.testing.assert_allclose(running_statistics.normalize(state, parts[1]), parts[1], rtol=1e-6)
    for part in parts:
        state = running_statistics.add(state, jnp.asarray(part))
    everything = np.concatenate(parts).reshape(-1, 2)
    np.testing.assert_allclose(state.mean, everything.mean(0), rtol=1e-5)
    np.testing.assert_allclose(state.m2 / state.total, everything.var(0), rtol=1e-4)
    z = running_statistics.normalize(jax.tree.map(np.asarray, state), everything)
    assert type(z) is np.ndarray
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(z.std(0), 1, atol=1e-3)
    assert (
        np.abs(running_statistics.normalize(state, np.full((1, 2), 1e9, np.float32))).max()
        == running_statistics.LIMIT
    )


def agent(**options):
    outputs = options["head"].size if "head" in options else None
    return Agent(
        Actor(3, 2, (16,)), Critic(3, 2, (16,), 1, outputs=outputs), Gaussian(0.1), batch=8, **options
    )


def batch(d=1, n=8):
    rng = np.random.default_rng(0)
    f = lambda *shape: jnp.asarray(rng.normal(size=(d, n, *shape)).astype(np.float32))
    return Transition(f(3), jnp.tanh(f(2)), f(), 0.9 * jnp.ones((d, n)), f(3), jnp.zeros((d, n)))


def test_the_least_of_the_critics_targets_counts():
    twin = agent(critics=2)
    learner, b = algorithm.init(twin, jax.random.key(0)), jax.tree.map(lambda x: x[0], batch())
    learner = learner._replace(
        target_critic=jax.tree.map(
            lambda x: x + 0.3 * jax.random.normal(jax.random.key(1), x.shape), learner.critic
        )
    )
    action = jax.vmap(twin.actor.apply, (None, 0))(learner.target_actor, b.next_obs)
    q = algorithm.ensemble(twin, learner.target_critic, b.next_obs, action)
    assert len({int(i) for i in jnp.argmin(q, 0)}) == 2  # each is the smaller one somewhere
    np.testing.assert_allclose(
        algorithm.targets(twin, learner, b, None), b.reward + 0.9 * q.min(0), rtol=1e-5
    )


def test_critics_begin_apart_and_the_actor_follows_the_first():
    twin = agent(critics=2)
    learner = algorithm.init(twin, jax.random.key(0))
    assert not np.allclose(learner.critic[0]["w"][0], learner.critic[0]["w"][1])
    other = learner._replace(critic=jax.tree.map(lambda x: x.at[1].add(1.0), learner.critic))
    b = jax.tree.map(lambda x: x[0], batch())
    same = [algorithm.actor_step(twin, s, b)[0].actor for s in (learner, other)]
    jax.tree.map(np.testing.assert_array_equal, *same)


def test_smoothing_moves_the_targets_action_by_at_most_its_clip():
    smooth, action = Smoothing(0.2, 0.1), jnp.zeros((5000, 1))
    moved = np.asarray(smooth(jax.random.key(0), action))
    assert np.abs(moved).max() == pytest.approx(0.1)
    assert 0.3 < np.mean(np.abs(moved) < 0.0999) < 0.5  # 38 % of a normal lies within half an sd
    assert np.abs(smooth(jax.random.key(0), jnp.ones((100, 1)))).max() <= 1


def test_a_delayed_actor_moves_once_for_d_critic_steps():
    slow = agent(delay=3)
    before = algorithm.init(slow, jax.random.key(0))
    after, _, per_sample_loss = algorithm.update(slow, before, batch(3), jax.random.key(0))
    assert int(after.critic_opt[0].count) == 3
    assert int(after.actor_opt[0].count) == 1
    assert per_sample_loss.shape == (3, 8)
    expected = jax.tree.map(lambda old, new: old + slow.tau * (new - old), before.target_critic, after.critic)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), after.target_critic, expected)


def test_importance_weights_scale_each_transitions_gradient():
    plain, b = agent(), batch()
    learner = algorithm.init(plain, jax.random.key(0))
    target = algorithm.targets(plain, learner, jax.tree.map(lambda x: x[0], b), None)
    one = jax.tree.map(lambda x: x[0], b)
    grad = lambda w: jax.grad(lambda c: algorithm.critic_loss(plain, c, one, target, w)[0])(learner.critic)
    only = grad(jnp.zeros(8).at[2].set(8.0))
    alone = jax.grad(
        lambda c: algorithm.critic_loss(plain, c, jax.tree.map(lambda x: x[2:3], one), target[2:3])[0]
    )(learner.critic)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), only, alone)


def test_weight_decay_clipping_and_schedules_do_what_they_say():
    grads, params = {"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, -1.0])}

    def first_moment(decay, clip):
        opt = algorithm.optimizer(1e-3, decay, clip)
        state = opt.update(grads, opt.init(params), params)[1]
        adam = next(s for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu"))
        return np.asarray(adam.mu["w"]) / 0.1

    np.testing.assert_allclose(first_moment(None, None), [3, 4], rtol=1e-6)
    np.testing.assert_allclose(first_moment(0.5, None), [3.5, 3.5], rtol=1e-6)
    np.testing.assert_allclose(first_moment(None, 1.0), [0.6, 0.8], rtol=1e-6)
    line = Linear(1e-3, 1e-4, 10)
    np.testing.assert_allclose(
        [line(jnp.array(c)) for c in (0, 5, 10, 99)], [1e-3, 5.5e-4, 1e-4, 1e-4], rtol=1e-6
    )


def test_layer_norm_is_the_papers():
    actor = Actor(3, 2, (5,), layer_norm=True)
    params = jax.tree.map(np.asarray, actor.init(jax.random.key(0)))
    params[0]["scale"] = np.arange(1, 6, dtype=np.float32)
    obs = np.array([1.0, -2.0, 0.5], np.float32)
    z = obs @ params[0]["w"]
    h = np.maximum((z - z.mean()) / np.sqrt(z.var() + 1e-5) * params[0]["scale"] + params[0]["b"], 0)
    want = np.tanh(h @ params[1]["w"] + params[1]["b"])
    np.testing.assert_allclose(actor.apply(params, obs), want, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(actor.apply)(params, obs), want, rtol=1e-5)


def test_pink_noise_has_its_spread_and_spectrum():
    noise = Pink(0.3)

    def step(state, key):
        offset, state = noise.sample(state, key, jnp.zeros(64))
        return state, offset[:, 0]

    _, state = noise.sample(noise.init(64, 1), jax.random.key(9), jnp.ones(64))
    x = np.asarray(jax.lax.scan(step, state, jax.random.split(jax.random.key(0), 4096))[1])
    assert x.std() == pytest.approx(0.3, rel=0.05)
    frequency, power = np.fft.rfftfreq(4096), (np.abs(np.fft.rfft(x, axis=0)) ** 2).mean(1)
    band = (frequency > 1 / 512) & (frequency < 0.5)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize("kind", [Gaussian, OrnsteinUhlenbeck, Pink])
def test_the_strength_of_noise_is_per_dimension_and_follows_its_schedule(kind):
    unit, two, falling = kind(1.0), kind((1.0, 0.25)), kind(Linear((1.0, 0.25), 0.0, 4))
    states = [noise.init(3, 2) for noise in (unit, two, falling)]
    for t in range(6):
        key, first = jax.random.key(t), jnp.full(3, float(t == 0))
        (a, b, c), states = zip(
            *(n.sample(s, key, first) for n, s in zip((unit, two, falling), states, strict=True)), strict=True
        )
        np.testing.assert_allclose(b, a * np.array([1.0, 0.25]), rtol=1e-6)
        np.testing.assert_allclose(c, a * np.array([1.0, 0.25]) * max(1 - t / 4, 0), rtol=1e-5, atol=1e-7)


def test_ou_noise_of_a_short_step():
    noise, n = OrnsteinUhlenbeck(0.2, theta=1.0, dt=0.1), 20_000
    before, state = noise.sample(noise.init(n, 1), jax.random.key(0), jnp.ones(n))
    after, _ = noise.sample(state, jax.random.key(1), jnp.zeros(n))
    x, y = np.asarray(before)[:, 0], np.asarray(after)[:, 0]
    assert x.std() == pytest.approx(0.2 * np.sqrt((1 - np.exp(-0.2)) / 2), rel=0.02)
    assert x @ y / (x @ x) == pytest.approx(np.exp(-0.1), abs=0.03)


def test_pink_noise_begins_afresh_with_its_full_spread():
    noise, n = Pink(0.3), 20_000
    offsets, state = [], noise.init(n, 1)
    for t, first in enumerate((1, 0, 1)):
        offset, state = noise.sample(state, jax.random.key(t), jnp.full(n, first))
        offsets.append(np.asarray(offset)[:, 0])
        assert offsets[-1].std() == pytest.approx(0.3, rel=0.03)
    on, cut = (np.corrcoef(offsets[t], offsets[t + 1])[0, 1] for t in (0, 1))
    assert on > 0.5
    assert abs(cut) < 0.03  # an episode remembers nothing of the one before


# the engine's step


def rows_of(n, scale=1.0, **fields):
    """A step of n environments, observations in units of 1 / scale, as rows[1, N, W]."""
    f = lambda seed, *shape: np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)
    made = Transition(
        scale * f(0, 3), np.tanh(f(1, 2)), f(2), np.ones(n, "f4"), scale * (f(3, 3) + 1), np.zeros(n, "f4")
    )
    return Layout(3, 2).pack(made._replace(**fields))[None]


def test_normalisation_makes_learning_blind_to_units():
    plan, seen = engine.Plan(agent(normalize=True), 16, capacity=64, warmup=1), []
    state = engine.init(plan, jax.random.key(0))
    improve = jax.jit(lambda *args: engine.train_step(plan, *args))
    for scale in (1.0, 64.0):
        # Without rewards the loss is made of values alone: of obs on one side, of next_obs on the other.
        rows = rows_of(16, scale, reward=np.zeros(16, "f4"))
        after, (behaviour, metrics) = improve(state, rows)
        _, action = engine.act(
            plan, behaviour, engine.actors(plan, state.key), rows[0, :, :3], np.zeros(16, "f4")
        )
        np.testing.assert_allclose(after.learner.obs_statistics.mean, rows[0, :, :3].mean(0), rtol=1e-4)
        seen.append((action, metrics, after.learner.critic))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), *seen)


def test_noise_hears_of_the_episodes_that_ended():
    plan = engine.Plan(agent(), 3, capacity=30, warmup=1)
    behaviour, actors = (
        algorithm.behaviour(engine.init(plan, jax.random.key(0)).learner),
        engine.actors(plan, jax.random.key(0)),
    )
    for choose in (engine.act, engine.random_action):
        after, _ = choose(plan, behaviour, actors, rows_of(3)[0, :, :3], np.array([0, 1, 0], "f4"))
        np.testing.assert_array_equal(after.noise.episode - actors.noise.episode, [0, 1, 0])


def test_priorities_follow_the_losses_and_what_is_new_gets_the_largest():
    # Without a future, and with values near zero as they begin, the loss is the reward squared; alpha 0.5
    # takes the root.
    plan = engine.Plan(replace(agent(), batch=64), 4, capacity=8, warmup=1, priority=Priority(alpha=0.5))
    reward = np.array([0.5, 1, 2, 4], "f4")
    state = engine.init(plan, jax.random.key(0))
    plan = replace(plan, agent=replace(plan.agent, critic_lr=0.0))
    state, _ = jax.jit(lambda *args: engine.learn(plan, *args))(
        state, rows_of(4, reward=reward, discount=np.zeros(4, "f4"))
    )
    np.testing.assert_allclose(state.tree.levels[0][:4], reward, rtol=0.05)
    state = engine.add_to_replay(plan, state, rows_of(4))
    np.testing.assert_array_equal(state.tree.levels[0][4:8], state.tree.levels[0][:4].max())


def test_each_critic_step_has_smoothing_of_its_own():
    # Two equal minibatches and critics that stay: only the noise on the target's action makes their losses
    # differ.
    still = agent(delay=2, smoothing=Smoothing(0.2, 0.5), critic_lr=0.0)
    twice = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch())
    update = lambda key: algorithm.update(still, algorithm.init(still, key), twice, key)
    per_sample_loss = jax.jit(update)(jax.random.key(0))[2]
    assert (per_sample_loss[0] != per_sample_loss[1]).any()


def products(jaxpr):
    """The precision of each matrix product in a program, those of inner programs included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield str(equation.params["precision"])
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from products(inner.jaxpr)


@pytest.mark.parametrize(
    ("precision", "algo"),
    [
        (None, "None"),
        ("float32", "F32_F32_F32"),
        ("tensorfloat32", "TF32_TF32_F32"),
        ("bfloat16", "BF16_BF16_F32"),
    ],
)
def test_every_product_of_an_update_has_the_precision_that_was_asked_for(precision, algo):
    one = agent(critics=2, precision=precision)
    learner = algorithm.init(one, jax.random.key(0))
    update = jax.make_jaxpr(lambda s, b: algorithm.update(one, s, b, jax.random.key(0)))
    found = list(products(update(learner, batch()).jaxpr))
    assert len(found) > 30
    assert set(found) == {algo}


def test_a_cpu_has_one_precision():
    assert make_loop(precision="float32").plan.agent.precision == "float32"
    with pytest.raises(
        InputError,
        match=r"--precision bfloat16: on a CPU products are float32; leave it out, or train on a GPU",
    ):
        make_loop(precision="bfloat16")
    with pytest.raises(InputError, match="expected float32, tensorfloat32 or bfloat16"):
        make_loop(precision="double")


def test_no_two_draws_share_a_key(monkeypatch):
    keys = [jax.random.key_data(stream(jax.random.key(0), name, i)) for name in STREAMS for i in range(6)]
    assert len({k.tobytes() for k in map(np.asarray, keys)}) == len(keys)
    plan, taken = engine.Plan(agent(delay=2, smoothing=Smoothing()), 1, capacity=20, warmup=1), []
    here = (
        threading.get_ident()
    )  # a loop of an earlier test may still be compiling its programs in its own thread

    def noted(key, name, i=0):
        if threading.get_ident() == here:
            taken.append((name, i))
        return stream(key, name, i)

    monkeypatch.setattr(engine, "stream", noted)
    rows = np.repeat(rows_of(1), 2, 0)
    state = engine.init(plan, jax.random.key(0))
    jax.eval_shape(lambda s: engine.learn(plan, s, rows), state)
    assert [name for name, _ in taken] == ["init", "sample", "smooth"]
    taken.clear()
    behaviour, actors = algorithm.behaviour(state.learner), engine.actors(plan, state.key)
    for choose in (engine.act, engine.act, engine.random_action, engine.random_action) * 3:
        actors, _ = choose(
            plan, behaviour, actors._replace(step=int(actors.step)), rows[0, :, :3], np.zeros(1, "f4")
        )
    assert len(set(taken)) == len(taken) == 12


def test_actor_and_critic_have_shapes_of_their_own():
    agent = make_loop(actor_hidden=(8,), activation="silu").plan.agent
    assert (agent.actor.hidden, agent.critic.hidden) == ((8,), (16, 16))
    assert agent.actor.activation == agent.critic.activation == "silu"
    with pytest.raises(
        InputError, match=r"--action-layer 2: there are 1 hidden layers \(--critic-hidden\); use 1 to 1"
    ):
        make_loop(critic_hidden=(8,), action_layer=2)
    with pytest.raises(InputError, match=r"--actor-hidden \[0\]: expected one or more widths"):
        make_loop(actor_hidden=(0,))
    with pytest.raises(InputError, match="--residual: a block adds to its input, so the widths"):
        make_loop(residual=True, critic_hidden=(8, 16))
    with pytest.raises(InputError, match="--activation sigmoid: expected relu, elu, silu or tanh"):
        make_loop(activation="sigmoid")


# every combination


def make_loop(**changes):
    settings = {
        "hidden": (16, 16),
        "batch": 16,
        "warmup": 60,
        "capacity": 500,
        "env": "Pendulum-v1",
    } | changes
    config = check(apply(base("Pendulum-v1"), settings, "test"))
    if config.hindsight:
        goal = find("native/PointGoal-v0")
        goals = goals_of_jax(goal, 12)
        return HostLoop(
            plan(config, goal.spec, goals), JaxVectorEnv(goal, config.envs, limit=12), 0, goals=goals
        )
    env = GymEnv(factory("Pendulum-v1"), config.envs)
    demos = None if config.demos is None else np.zeros((24, env.spec.layout.width), np.float32)
    loop = HostLoop(plan(config, env.spec, demos=0 if demos is None else len(demos)), env, 0)
    if demos is not None:
        loop.begin_with(Start(demos=demos))
    return loop


CHOICES = {
    "critics": (1, 2),
    "delay": (1, 2),
    "smoothing": (None, 0.2),
    "n_step": (1, 3),
    "atoms": (None, 11),
    "priority": (None, 0.6),
    "normalize": (False, True),
    "demo_share": (None, 0.25),
}
OTHERS = [
    {"weight_decay": 1e-2, "grad_clip": 1.0, "reward_scale": 0.1, "layer_norm": True},
    {"actor_lr_end": 0.0, "critic_lr_end": 1e-5, "noise": "pink"},
    {"updates": 2, "noise": "ou", "sigma_end": 0.0, "envs": 3, "delay": 2},
    {"envs": 2, "n_step": 4, "priority": 1.0, "delay": 3, "critics": 3},
    {"history": 3, "n_step": 3, "priority": 0.6, "critics": 2, "delay": 2, "envs": 2},
    {"history": 2, "atoms": 11, "smoothing": 0.2, "normalize": True},
    {"hindsight": "future", "relabel": 2, "critics": 2, "delay": 2, "smoothing": 0.2, "n_step": 3},
    {"hindsight": "future", "atoms": 11, "priority": 0.6, "normalize": True, "envs": 2},
    {"dropout": 0.1, "residual": True, "critics": 2, "delay": 2, "n_step": 3, "priority": 0.6},
    {"batch_norm": True, "residual": True, "dropout": 0.1, "atoms": 11, "smoothing": 0.2, "envs": 2},
    {"batch_norm": True, "layer_norm": True, "critics": 2, "delay": 2, "priority": 0.6, "normalize": True},
    {"activation": "elu", "actor_hidden": (8,), "critic_hidden": (16, 8, 8), "action_layer": 3},
    {"block": 10, "delay": 4, "n_step": 3, "priority": 0.6, "updates": 0.5, "normalize": True},
]
# Every pair of choices occurs in one of eight rows: an orthogonal array of seven factors from three bits, and
# their majority as an eighth one.
PAIRS = [
    {
        name: values[bit]
        for (name, values), bit in zip(
            CHOICES.items(), (a, b, c, a ^ b, a ^ c, b ^ c, a ^ b ^ c, a & b | a & c | b & c), strict=True
        )
    }
    for a, b, c in itertools.product((0, 1), repeat=3)
]


def test_the_rows_cover_every_pair_of_choices():
    for a, b in itertools.combinations(CHOICES, 2):
        assert {(row[a], row[b]) for row in PAIRS} == set(itertools.product(CHOICES[a], CHOICES[b]))


# Each compiles five programs; the first of each kind stay in the default suite.
SLOWLY = [pytest.param(o, marks=pytest.mark.slow) for o in (*PAIRS[2:], *OTHERS[1:])]


@pytest.mark.parametrize(
    "options",
    [*PAIRS[:2], OTHERS[0], *SLOWLY],
    ids=lambda o: "-".join(f"{k}{v}" for k, v in o.items() if v),
)
def test_every_combination_is_one_finite_program(options):
    if options.get("atoms"):
        options = {**options, "value_low": -100.0, "value_high": 1.0}
    if options.get("demo_share"):
        options = {**options, "demos": "demos.npz"}
    loop = make_loop(**options)
    warm = max(loop.plan.warmup_iterations - loop.filled, 0)
    ticks = [loop.step() for _ in range(80)]
    assert ticks[-1].step == 80 * loop.plan.rows == loop.steps
    assert all(t.metrics.finite for t in ticks if t.metrics)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(loop.state.learner))
    updates = int(loop.state.learner.critic_opt[0].count) if "weight_decay" not in options else None
    learning = (80 - warm) * loop.plan.rows * loop.plan.updates
    assert updates in (None, learning)
    assert np.isfinite(loop.policy()(np.zeros(loop.spec.obs_size))).all()


@pytest.mark.parametrize(
    "options",
    [
        {"critics": 2, "delay": 2, "smoothing": 0.2},
        {"atoms": 21, "value_low": -1.0, "value_high": 3.0, "n_step": 2},
        {"priority": 0.6},
    ],
    ids=["td3", "d4pg", "priority"],
)
@pytest.mark.slow
def test_each_descendant_solves_a_probe(options):
    from test_probes import GAMMA, Policy

    changes = {
        "hidden": (32, 32),
        "actor_lr": 2e-3,
        "critic_lr": 5e-3,
        "gamma": GAMMA,
        "tau": 0.05,
        "batch": 64,
        "sigma": 0.4,
        "warmup": 100,
    }
    config = check(apply(base("any"), {"env": "probe", **changes, **options}, "test"))
    env = GymEnv(Policy, 1, "probe")
    loop = HostLoop(plan(config, env.spec), env, 0)
    while loop.steps < 3000:
        loop.step()
    learner, agent = loop.state.learner, loop.plan.agent
    for sign in (-1.0, 1.0):
        obs = np.array([sign, 0], np.float32)
        assert loop.policy()(obs)[0] == pytest.approx(0.5 * sign, abs=0.15)
        out = algorithm.ensemble(agent, learner.critic, obs[None], np.array([[0.5 * sign]], np.float32))
        assert float(agent.head.value(out[0, 0])) == pytest.approx(2, abs=0.2)


def test_the_descendants_are_ddpg_with_values_replaced():
    ddpg = agent()
    td3 = replace(ddpg, critics=2, delay=2, smoothing=Smoothing(0.2, 0.5))
    d4pg = replace(ddpg, critic=replace(ddpg.critic, outputs=51), head=Categorical(-1.0, 1.0), n_step=5)
    assert ddpg.head == Scalar()
    for one in (ddpg, td3, d4pg):
        learner = algorithm.init(one, jax.random.key(0))
        after, metrics, _ = jax.jit(lambda s, b, one=one: algorithm.update(one, s, b, jax.random.key(0)))(
            learner, batch(one.delay)
        )
        assert jax.tree.structure(after) == jax.tree.structure(learner)
        assert metrics.finite
