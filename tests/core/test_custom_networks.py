"""Networks of the user's own: they train like ours, in every loop, and act again from their policy file."""

import json
import subprocess
import sys
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from safetensors import safe_open

import swingup
from swingup.cli.main import run as cli
from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.core.custom_networks import make_networks
from swingup.core.networks import Actor, Critic
from swingup.envs.jax_env import JaxVectorEnv
from swingup.envs.registry import find
from swingup.errors import InputError
from swingup.loops.fused import FusedLoop
from swingup.loops.host import HostLoop
from swingup.storage import trusted_modules
from swingup.training.build import RunBuilder

MINE = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Small:
    inputs: int
    outputs: int

    def init(self, key):
        import jax
        return {"layers": [0.1 * jax.random.normal(key, (self.inputs, self.outputs))], "none": ()}

    def apply(self, params, *inputs):
        xp = inputs[0].__array_namespace__()
        y = xp.concat(inputs, axis=-1) @ params["layers"][0]
        return xp.tanh(y) if len(inputs) == 1 else y[..., 0]

def networks(obs_size, action_size, outputs):
    return Small(obs_size, action_size), Small(obs_size + action_size, 1)
"""
FLAGS = "--warmup 40 --batch 8 --episode-steps 20 --eval-every 60 --threads 2 --eval-episodes 1 "
FLAGS += "--final-episodes 1 --quiet"
OURS = (lambda o, a: Actor(o, a, (8,)), lambda o, a, z: Critic(o, a, (8,), 1, outputs=z))


@pytest.mark.slow
def test_our_own_networks_given_as_a_users_train_to_the_same_bits_in_both_loops():
    env = find("native/Pendulum-v1")
    settings = {"hidden": (8,), "batch": 8, "warmup": 30, "capacity": 200, "action_layer": 1, "n_step": 2}
    config = check(apply(base("Pendulum-v1"), settings | {"critics": 2, "env": "native/Pendulum-v1"}, "test"))
    plans = RunBuilder(config).plan(env.spec), RunBuilder(config, OURS).plan(env.spec)
    loops = [HostLoop(p, JaxVectorEnv(env, 1), 0) for p in plans] + [FusedLoop(plans[1], env, 0, every=(70,))]
    for loop in loops:
        while loop.steps < 70:
            loop.step()
    first, *others = [[np.asarray(x) for x in jax.tree.leaves(loop.state.learner)] for loop in loops]
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)
    obs = np.float32([[1, 0, 2], [0, 1, -3]])
    np.testing.assert_array_equal(loops[0].policy()(obs), loops[1].policy()(obs))
    assert plans[1].agent.actor.in_numpy


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's own, with networks."""
    (tmp_path / "networks_of_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "networks_of_mine", raising=False)
    yield "networks_of_mine"
    sys.modules.pop("networks_of_mine", None)


def test_a_run_names_them_resumes_to_the_same_bytes_and_acts_without_jax(mine, tmp_path, capsys, monkeypatch):
    train = lambda folder, steps: cli(
        f"train Pendulum-v1 {FLAGS} --steps {steps} --networks {mine}:networks --run-dir {folder}".split()
    )
    assert train(tmp_path / "whole", 120) == train(tmp_path / "run", 60) == 0
    assert cli(f"resume {tmp_path / 'run'} --steps 120 --quiet".split()) == 0
    files = [tmp_path / name / "policy" / "last.safetensors" for name in ("whole", "run")]
    assert files[0].read_bytes() == files[1].read_bytes()
    with safe_open(files[0], "numpy") as file:
        about = json.loads(file.metadata()["swingup"])
    assert (about["networks"], about["needs"]) == (f"{mine}:networks", "numpy")
    code = f"import sys, {mine}, swingup; p = swingup.load_policy({str(files[0])!r}); "
    code += "print(repr(float(p([0, 1, 0])[0]))); assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == float(swingup.load(tmp_path / "run").policy([0, 1, 0])[0])
    monkeypatch.setattr(trusted_modules, "named", set())
    monkeypatch.setattr(trusted_modules, "known", lambda module: False)
    del sys.modules[mine]  # the folder comes from elsewhere
    with pytest.raises(InputError, match=f"its networks '{mine}:networks' would import the module"):
        swingup.load_policy(files[0])
    capsys.readouterr()
    assert cli(f"resume {tmp_path / 'run'} --steps 180".split()) == 2
    assert "would import the module" in capsys.readouterr().err


@dataclass(frozen=True)
class Broken:
    """An actor with one thing wrong."""

    how: str

    def init(self, key):
        return {"w": jax.numpy.ones((3, 1), int if self.how == "whole" else float)}

    def apply(self, params, obs):
        if self.how == "raises":
            raise ZeroDivisionError("mine")
        return {"shape": obs, "loud": 9 + obs[..., :1] @ params["w"][:1]}.get(
            self.how, jax.numpy.tanh(obs[:1])
        )


class Unhashable(Broken):
    __hash__ = None


@pytest.mark.parametrize(
    ("actor", "message"),
    [
        (Broken("raises"), r"the actor cannot be used \(ZeroDivisionError: mine\)"),
        (Broken("shape"), r"the actor's output for one observation has the shape \(3,\), expected \(1,\)"),
        (Broken("loud"), r"the actor's actions leave \[-1, 1\]; end it with tanh"),
        (Broken("whole"), r"the parameters from the actor's init hold an array of int32"),
        (Unhashable("x"), "the actor is not hashable; make it a frozen dataclass"),
        (object(), r"has no methods init\(key\) and apply\(params, ...\)"),
    ],
)
def test_what_cannot_be_a_network_is_one_line(actor, message):
    with pytest.raises(InputError, match=message):
        make_networks((lambda o, a: actor, OURS[1]), 3, 1, None, "")


def test_settings_that_networks_of_ones_own_would_ignore_or_lack_are_refused(mine):
    for name, value in (("dropout", 0.1), ("residual", True), ("batch_norm", True)):
        with pytest.raises(InputError, match="a part of swingup's own networks; leave it or --networks out"):
            swingup.train("Pendulum-v1", networks=f"{mine}:networks", **{name: value})
    with pytest.raises(InputError, match=f"the module {mine} has no nets"):
        swingup.train("Pendulum-v1", networks=f"{mine}:nets")
    with pytest.raises(InputError, match=r"networks: expected \(make_actor, make_critic\)"):
        swingup.train("Pendulum-v1", networks=[3])
