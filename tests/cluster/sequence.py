"""An environment whose transitions say what comes before them; workers import it, so it needs no JAX."""

import gymnasium
import numpy as np


class Sequence(gymnasium.Env):
    """The observation is (a number of the episode's, the step in it); an episode lasts 17 steps."""

    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.own, self.t = seed % 2**20, 0
        return np.array([self.own, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        return np.array([self.own, self.t], np.float32), float(self.t), self.t == 17, False, {}
