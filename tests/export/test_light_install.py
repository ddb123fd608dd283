"""Acting needs little: NumPy and safetensors for a run's own file, NumPy for an exported one."""

import subprocess
import sys

import numpy as np
import pytest

import swingup
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.export.formats import export
from swingup.storage.policy_file import save_policy
from swingup.types import Spec

GATE = """
import sys
from importlib.abc import MetaPathFinder

class OnlyThese(MetaPathFinder):
    allowed = {*ALLOWED, *sys.stdlib_module_names}

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"No module named {name!r}")

for name in [n for n in sys.modules if n.partition(".")[0] not in OnlyThese.allowed]:
    del sys.modules[name]
sys.meta_path.insert(0, OnlyThese())
import numpy as np
"""
OWN_FILE = """
ALLOWED = "numpy", "safetensors", "swingup"
{gate}
import swingup
np.save(sys.argv[2], swingup.load_policy(sys.argv[1])(np.load(sys.argv[3])))
"""
ONE_FILE = """
ALLOWED = "numpy", "policy"
{gate}
sys.path.insert(0, sys.argv[1])
import policy
np.save(sys.argv[2], policy.act(np.load(sys.argv[3])))
"""


@pytest.fixture
def saved(tmp_path):
    """A policy's file, and observations for it."""
    rng = np.random.default_rng(0)
    layers = tuple(
        {"w": rng.normal(size=size).astype(np.float32), "b": np.zeros(size[1], np.float32)}
        for size in ((3, 8), (8, 1))
    )
    spec = Spec("Pendulum-v1", (3,), (1,), "float32", (-2.0,), (2.0,))
    save_policy(tmp_path / "p.safetensors", Policy(Actor(3, 1, (8,)), layers, spec))
    np.save(tmp_path / "obs.npy", rng.normal(size=(5, 3)))
    return tmp_path / "p.safetensors", tmp_path / "obs.npy"


def acted(program, source, obs):
    """The actions of a program in a process that imports nothing but what it names."""
    actions = obs.with_name("actions.npy")
    words = [sys.executable, "-c", program.format(gate=GATE), str(source), str(actions), str(obs)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.load(actions)


def test_a_policy_acts_with_numpy_and_safetensors_alone(saved):
    path, obs = saved
    expected = swingup.load_policy(path)(np.load(obs))
    np.testing.assert_array_equal(acted(OWN_FILE, path, obs), expected)


def test_an_exported_file_acts_with_numpy_alone(saved, tmp_path):
    path, obs = saved
    policy = swingup.load_policy(path)
    export(policy, tmp_path / "there" / "policy.py", "py")
    np.testing.assert_allclose(acted(ONE_FILE, tmp_path / "there", obs), policy(np.load(obs)), atol=1e-5)


def test_the_gate_lets_nothing_else_in(saved):
    path, obs = saved
    with pytest.raises(AssertionError, match="No module named 'gymnasium'"):
        acted(OWN_FILE.replace("import swingup", "import gymnasium"), path, obs)
