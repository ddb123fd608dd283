"""What is promised of a GPU, on one: every test is skipped where there is none."""

import jax
import numpy as np
import pytest

import swingup
from swingup.cli.main import run as cli
from swingup.core import agent as algorithm
from swingup.core.agent import Agent
from swingup.core.networks import Actor, Critic
from swingup.core.noise import Gaussian
from swingup.types import Transition


@pytest.fixture(autouse=True)
def gpu():
    if jax.default_backend() != "gpu":  # asked only now: JAX must not start while tests are collected
        pytest.skip("needs a GPU")


SMALL = (
    "--hidden 32 32 --batch 32 --warmup 100 --eval-every 500 --eval-episodes 2 --final-episodes 2 "
    "--quiet --require-exact"
)


def files(folder):
    """The bytes that a run leaves, but for times."""
    return {p.name: p.read_bytes() for p in sorted((folder / "policy").iterdir())} | {
        "evaluations": (folder / "evaluations.csv").read_bytes()
    }


@pytest.mark.parametrize("env", ["native/Pendulum-v1", "Pendulum-v1"])
def test_a_run_gives_the_same_bytes_twice_and_when_it_is_continued(env, tmp_path):
    for name, steps in (("one", 1500), ("two", 1500), ("part", 1000)):
        assert (
            cli(["train", env, *SMALL.split(), "--steps", str(steps), "--run-dir", str(tmp_path / name)]) == 0
        )
    assert cli(["resume", str(tmp_path / "part"), "--steps", "1500", "--require-exact", "--quiet"]) == 0
    one, two, part = (files(tmp_path / name) for name in ("one", "two", "part"))
    assert one == two
    assert one["last.safetensors"] == part["last.safetensors"]


@pytest.mark.parametrize("mode", ["vmap", "process"])
def test_many_seeds_learn_the_pendulum(mode, tmp_path):
    group = swingup.train(
        "native/Pendulum-v1", seeds=4, seeds_mode=mode, run_dir=tmp_path / "group", quiet=True
    )
    assert not group.failed
    assert sum(run.result["mean"] > -200 for run in group.runs) >= 3


def test_each_precision_rounds_as_its_name_says():
    """The critic's gradient against that with float32 factors: bfloat16 keeps 8 bits, tensorfloat32 11."""
    rng, wide = np.random.default_rng(0), (512, 512)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    batch = Transition(
        draw(1, 256, 17),
        np.tanh(draw(1, 256, 6)),
        draw(1, 256),
        np.ones((1, 256), "f4"),
        draw(1, 256, 17),
        np.zeros((1, 256), "f4"),
    )

    def critic(precision):
        agent = Agent(
            Actor(17, 6, wide), Critic(17, 6, wide, 1), Gaussian(0.1), batch=256, precision=precision
        )
        step = lambda key: algorithm.update(agent, algorithm.init(agent, key), batch, key)
        # Adam's first moments are the gradient, tenfold smaller.
        return np.concatenate(
            [np.ravel(x) for x in jax.tree.leaves(jax.jit(step)(jax.random.key(0))[0].critic_opt[0].mu)]
        )

    exact = critic("float32")
    off = {
        p: np.linalg.norm(critic(p) - exact) / np.linalg.norm(exact) for p in ("tensorfloat32", "bfloat16")
    }
    assert 1e-5 < off["tensorfloat32"] < 3e-3 < off["bfloat16"] < 3e-2
