"""Five probe environments with known values and actions: each isolates one part of the engine."""

import gymnasium
import jax
import numpy as np
import pytest

from swingup.core.agent import Agent
from swingup.core.engine import Plan
from swingup.core.networks import Actor, Critic
from swingup.core.noise import Gaussian
from swingup.envs.gym_env import GymEnv
from swingup.loops.host import HostLoop

GAMMA = 0.5


class Probe(gymnasium.Env):
    """`length` steps; the observation is (sign, step), the reward what the probe says."""

    length = 1
    truncates = False

    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.sign = 0, float(self.np_random.choice([-1.0, 1.0]))
        return self.obs(), {}

    def obs(self):
        return np.array([self.sign, self.t], np.float32)

    def step(self, action):
        reward = self.reward(float(action[0]))
        self.t += 1
        over = self.t >= self.length
        return self.obs(), reward, over and not self.truncates, over and self.truncates, {}


class Constant(Probe):
    """The critic alone: always 1, one step."""

    reward = staticmethod(lambda a: 1.0)


class Observed(Probe):
    """The critic must look: the reward is the observed sign."""

    def reward(self, a):
        return self.sign


class Delayed(Probe):
    """Bootstrapping and gamma: 1 on the second step, then the end."""

    length = 2

    def reward(self, a):
        return float(self.t == 1)


class Acted(Probe):
    """The actor: best at action 0.4."""

    def reward(self, a):
        return 1 - (a - 0.4) ** 2


class Policy(Probe):
    """Actor and critic together, with a time limit that ends no values: best at half the observed sign."""

    length, truncates = 2, True

    def obs(self):
        return np.array(
            [self.sign, 0], np.float32
        )  # no clock in it: the last state is one that goes on elsewhere

    def reward(self, a):
        return 1 - (a - 0.5 * self.sign) ** 2


def train(probe, steps):
    agent = Agent(
        Actor(2, 1, (32, 32)), Critic(2, 1, (32, 32), 1), Gaussian(0.4), 2e-3, 5e-3, GAMMA, 0.05, 64
    )
    env = GymEnv(probe, 1, probe.__name__)
    loop = HostLoop(Plan(agent, capacity=5000, warmup=100), env, 0)
    for _ in range(steps):
        loop.step()
    learner = loop.state.learner
    critic = jax.tree.map(lambda x: x[0], learner.critic)
    value = lambda obs, a: float(
        agent.critic.apply(critic, np.array(obs, np.float32), np.array([a], np.float32))
    )
    act = lambda obs: float(
        agent.actor.apply(jax.tree.map(np.asarray, learner.actor), np.array(obs, np.float32))[0]
    )
    return value, act


def test_constant_reward():
    value, _ = train(Constant, 600)
    assert value([1, 0], 0.0) == pytest.approx(1, abs=0.05)


def test_reward_that_depends_on_the_observation():
    value, _ = train(Observed, 800)
    assert value([1, 0], 0.0) == pytest.approx(1, abs=0.1)
    assert value([-1, 0], 0.0) == pytest.approx(-1, abs=0.1)


def test_delayed_reward_is_discounted_once():
    value, _ = train(Delayed, 1000)
    assert value([1, 1], 0.0) == pytest.approx(1, abs=0.1)
    assert value([1, 0], 0.0) == pytest.approx(GAMMA, abs=0.1)


def test_reward_that_depends_on_the_action():
    value, act = train(Acted, 1500)
    assert act([1, 0]) == pytest.approx(0.4, abs=0.1)
    assert value([1, 0], 0.4) == pytest.approx(1, abs=0.1)


def test_policy_through_a_time_limit():
    value, act = train(Policy, 2500)
    for sign in (-1, 1):
        assert act([sign, 0]) == pytest.approx(0.5 * sign, abs=0.12)
        # The limit cuts the episode, not the value: 1 + gamma + gamma^2 + ... = 2. A terminal state would
        # give 1.5.
        assert value([sign, 0], 0.5 * sign) == pytest.approx(1 / (1 - GAMMA), abs=0.15)
