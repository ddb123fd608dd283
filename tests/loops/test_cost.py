"""What a step costs, counted rather than timed: dispatches, retraces, bytes transferred, matrix products."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swingup.config.presets import base
from swingup.config.settings import apply
from swingup.core import engine
from swingup.core.agent import Metrics
from swingup.envs.gym_env import GymEnv
from swingup.envs.registry import factory
from swingup.loops.host import HostLoop
from swingup.tools.bench import flops
from swingup.training.build import plan
from swingup.types import Spec

SMALL = {"env": "Pendulum-v1", "hidden": (32, 24), "batch": 16, "capacity": 1000, "warmup": 20}
TD3 = {"critics": 2, "delay": 2, "smoothing": 0.2}


def plan_of(**options):
    config = apply(base("Pendulum-v1", "ddpg"), {**SMALL, **options}, "test")
    return plan(config, Spec("Pendulum-v1", (3,), (1,), "float32", (-2.0,), (2.0,)))


def compiled(p):
    """`train_step` and the abstract state that it takes."""
    rows = np.zeros((p.block, p.n, p.agent.layout.width), np.float32)
    state = jax.eval_shape(partial(engine.start_run, p), np.uint32(0), jnp.zeros((p.n, 3)))[0]
    return jax.jit(partial(engine.train_step, p), donate_argnums=0).lower(state, rows).compile(), state


def updates_of(loop):
    """Critic steps done."""
    return int(loop.state.learner.critic_opt[0].count)


class Counted:
    """A program that counts its calls, the bytes of its NumPy arguments and of what the host reads back."""

    def __init__(self, program, read=lambda answer: answer):
        self.program, self.read, self.calls, self.into, self.back = program, read, 0, 0, 0

    def __call__(self, state, *args):
        self.calls += 1
        self.into += sum(a.nbytes for a in args if isinstance(a, (np.ndarray, np.generic)))
        state, answer = self.program(state, *args)
        self.back += sum(a.nbytes for a in jax.tree.leaves(self.read(answer)))
        return state, answer


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 1),
        pytest.param(TD3, 2, marks=pytest.mark.slow),
        pytest.param({"envs": 4, "updates": 0.25}, 1, marks=pytest.mark.slow),
        pytest.param({"block": 10}, 10, marks=pytest.mark.slow),
        ({**TD3, "block": 5}, 6),
    ],
    ids=["ddpg", "td3", "four", "block", "block of td3"],
)
def test_an_iteration_is_one_dispatch_and_one_more_for_each_of_its_actions(options, steps):
    """Rows in, metrics back; observations in, actions back. Both programs compile once, ahead of time."""
    p = plan_of(**options)
    loop = HostLoop(p, GymEnv(factory("Pendulum-v1"), p.n), 0)
    while loop.iteration <= p.warmup_iterations:
        loop.step()
    names, updates = ("train_step", "act", "random_action", "warmup_step"), updates_of(loop)
    for name in names:
        setattr(
            loop, name, Counted(getattr(loop, name), *[lambda answer: answer[1]] * (name == "train_step"))
        )
    for _ in range(10):
        loop.step()
    assert {name: getattr(loop, name).calls for name in names} == {
        "train_step": 10,
        "act": 10 * steps,
        "random_action": 0,
        "warmup_step": 0,
    }
    width, obs, action = p.agent.layout.width, p.agent.actor.obs_size, p.agent.actor.action_size
    assert updates_of(loop) - updates == 10 * p.rows * p.updates
    assert loop.train_step.into == 10 * 4 * p.rows * width
    assert loop.train_step.back == 10 * 4 * len(Metrics._fields)
    assert loop.act.into == 10 * 4 * p.rows * (obs + 1)
    assert loop.act.back == 10 * 4 * p.rows * action


def test_the_state_is_updated_in_place_and_the_ring_never_copied():
    program, state = compiled(plan_of(capacity=4321))
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert program.memory_analysis().alias_size_in_bytes >= size - 64  # but for a counter or two
    assert not re.findall(r"f32\[4321,1,10\]\S* copy\(", program.as_text())


@pytest.mark.parametrize(
    ("options", "products"),
    # Per critic step: target 3 + 4, critic 4 forward, 4 for its weights, 2 back (one is an outer product).
    [({}, 32), ({"action_layer": 2}, 31)],
    ids=["joins at 1", "joins at 2"],
)
def test_the_program_has_no_product_that_nothing_needs(options, products):
    """One more is a regression, such as a gradient of observations or a second forward pass."""
    program, _ = compiled(plan_of(**options))
    assert len(re.findall(r" dot\(", program.as_text())) <= products


@pytest.mark.slow
def test_the_benchmarks_count_of_products_is_the_compilers():
    """XLA counts the elementwise work as well, which large layers make small."""
    for options in ({}, {"action_layer": 2}, {"critics": 2}):
        p = plan_of(hidden=(256, 256), batch=128, **options)
        counted = compiled(p)[0].cost_analysis()["flops"]
        assert flops(p.agent) == pytest.approx(counted, rel=0.05)
