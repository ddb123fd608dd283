"""`pip install --no-deps` with NumPy and safetensors is enough to act: no other package is imported."""

import subprocess
import sys

import numpy as np

import swingup
from swingup.core.networks import Actor
from swingup.core.policy import Policy
from swingup.storage.policy_file import save_policy
from swingup.types import Spec

PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

class OnlyThese(MetaPathFinder):
    allowed = {"numpy", "safetensors", "swingup", *sys.stdlib_module_names}

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] not in self.allowed:
            raise ModuleNotFoundError(f"No module named {name!r}")

for name in [n for n in sys.modules if n.partition(".")[0] not in OnlyThese.allowed]:
    del sys.modules[name]
sys.meta_path.insert(0, OnlyThese())
import numpy as np
import swingup
np.save(sys.argv[2], swingup.load_policy(sys.argv[1])(np.load(sys.argv[3])))
"""


def test_a_policy_acts_with_numpy_and_safetensors_alone(tmp_path):
    rng = np.random.default_rng(0)
    layers = tuple(
        {"w": rng.normal(size=size).astype(np.float32), "b": np.zeros(size[1], np.float32)}
        for size in ((3, 8), (8, 1))
    )
    spec = Spec("Pendulum-v1", (3,), (1,), "float32", (-2.0,), (2.0,))
    path, actions, obs = (tmp_path / name for name in ("p.safetensors", "actions.npy", "obs.npy"))
    save_policy(path, Policy(Actor(3, 1, (8,)), layers, spec))
    np.save(obs, rng.normal(size=(5, 3)))
    words = [sys.executable, "-c", PROGRAM, str(path), str(actions), str(obs)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(actions), swingup.load_policy(path)(np.load(obs)))
