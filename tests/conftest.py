"""Shared by all tests: small thread pools, no cache outside the test's folder, hand-made environments."""

import os
import sys

os.environ["NPROC"] = "2"  # before JAX starts, as a run does
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("MUJOCO_GL", "egl")

import gymnasium
import numpy as np
import pytest

# Compiling is most of the default suite's work; so it takes a quarter of the time. Different programs for the
# same numbers then differ in their last bits: tests that the loops agree to the byte are slow ones.
QUICKLY = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false"
)


def pytest_configure(config):
    """The slow tests compile as users' runs do, the others quickly, their child processes included."""
    if "not slow" in config.option.markexpr:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICKLY}".strip()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Compiled programs are shared between the tests of one session, its workers', and with nobody else."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    os.environ["XDG_CACHE_HOME"] = str(root / "programs")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))  # the modules that a user has named
    from swingup import runtime

    runtime.prepare(2)  # a loop made twice is compiled once
    import jax

    jax.devices()  # starts it with two threads, whatever the first test asks for


@pytest.fixture(autouse=True, scope="module")
def programs_of_one_module():
    """Compiled programs of a module are dropped after it: all of them together take gigabytes."""
    yield
    sys.modules["jax"].clear_caches()


class Counting(gymnasium.Env):
    """Observation (episode, step in it), reward the step, so that a stored row says where it came from.

    Terminates after `terminate` steps or truncates after `truncate`, whichever comes first; any low and high.
    """

    def __init__(self, terminate=10**9, truncate=10**9, low=-1.0, high=1.0, dtype=np.float32):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gymnasium.spaces.Box(
            np.asarray([low, low], dtype), np.asarray([high, high], dtype), dtype=dtype
        )
        self.limits = terminate, truncate
        self.episode, self.executed, self.seeds = -1, [], []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        self.seeds.append(seed)
        return np.array([self.episode, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        self.executed.append(np.array(action))
        obs = np.array([self.episode, self.t], np.float32)
        return obs, float(self.t), self.t >= self.limits[0], self.t >= self.limits[1], {}


@pytest.fixture
def counting():
    return Counting
