"""The fused loop is the host loop: the same bytes, whatever the length of its chunks, resumed or not."""

import jax
import numpy as np
import pytest

import swingup
from swingup.cli.main import run as cli
from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.envs.api import Outcome
from swingup.envs.jax_env import JaxVectorEnv
from swingup.envs.registry import find
from swingup.errors import EnvFault
from swingup.loops import fused_program
from swingup.loops.base import Snapshot
from swingup.loops.fused import FusedLoop
from swingup.loops.host import HostLoop
from swingup.storage import checkpoint_reader
from swingup.training.build import plan
from swingup.training.verify import verify

ENV = find("native/Pendulum-v1")
SMALL = {"hidden": (16, 16), "batch": 16, "warmup": 60, "capacity": 400, "env": "native/Pendulum-v1"}
OPTIONS = {
    "plain": {},
    "ou": {"envs": 3, "noise": "ou", "n_step": 3, "normalize": True},
    "td3": {"critics": 2, "delay": 2, "smoothing": 0.2, "priority": 0.6, "noise": "pink"},
    "shared": {"envs": 16, "updates": 0.125},
    "blocks": {"critics": 2, "delay": 2, "block": 5, "envs": 2, "n_step": 2, "priority": 0.6},
    "droq": {"critics": 2, "dropout": 0.1, "residual": True, "actor_hidden": (8,), "activation": "silu"},
    "crossq": {"critics": 2, "batch_norm": True, "dropout": 0.1, "delay": 2, "activation": "tanh"},
}


def plan_of(name):
    return plan(check(apply(base("Pendulum-v1"), SMALL | OPTIONS[name], "test")), ENV.spec)


def learnt(loop):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves((loop.state.learner, loop.state.replay))]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_a_fused_run_is_the_host_driven_one_byte_by_byte(name):
    p = plan_of(name)
    every = (23 * p.rows,)  # in between both compute ahead of what they tell
    host, device = HostLoop(p, JaxVectorEnv(ENV, p.n), 0, every=every), FusedLoop(p, ENV, 0, every=every)
    for _ in range(420 // p.block):  # past two episodes' ends
        a, b = host.step(), device.step()
        assert (a.step, a.metrics) == (b.step, b.metrics)
        np.testing.assert_array_equal(a.rows, b.rows)
        np.testing.assert_equal([e._asdict() for e in a.episodes], [e._asdict() for e in b.episodes])
    while not device.settled:
        host.step(), device.step()
    assert host.settled
    assert learnt(host) == learnt(device)
    assert host.steps == device.steps


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=pytest.mark.slow) for k in ("ou", "crossq", "blocks")]
)
def test_neither_chunks_nor_a_resume_change_a_bit(name, monkeypatch):
    p = plan_of(name)
    whole = FusedLoop(p, ENV, 0, end=120 * p.rows)
    for _ in range(120):
        whole.step()
    monkeypatch.setattr(fused_program, "LONGEST", 7)
    short = FusedLoop(p, ENV, 0, every=(50 * p.rows,), end=120 * p.rows)
    while short.steps < 50 * p.rows:
        short.step()
    s = short.snapshot()
    saved = Snapshot({k: np.array(v) for k, v in s.tensors.items()}, np.array(s.ring), s.added)
    again = FusedLoop(p, ENV, 0, end=120 * p.rows)
    assert again.restore(saved)
    while again.steps < 120 * p.rows:
        again.step()
    assert learnt(again) == learnt(whole)
    assert {k: v.tobytes() for k, v in again.snapshot().tensors.items()} == {
        k: v.tobytes() for k, v in whole.snapshot().tensors.items()
    }


def test_a_snapshot_in_the_middle_of_a_chunk_is_an_error():
    loop = FusedLoop(plan_of("plain"), ENV, 0)
    loop.step()
    with pytest.raises(RuntimeError, match="in the middle of a chunk"):
        loop.snapshot()


def test_an_environment_that_leaves_the_numbers_is_named():
    class Broken:
        spec, limit = ENV.spec, None
        reset = staticmethod(ENV.reset)

        @staticmethod
        def step(state, action):
            state, outcome = ENV.step(state, action)
            return state, Outcome(outcome.obs, jax.numpy.log(outcome.reward), outcome.terminated)

    loop = FusedLoop(plan_of("plain"), Broken(), 0)
    message = r"environment native/Pendulum-v1 \[0\], before step \d+: column 4 of its transition is nan"
    with pytest.raises(EnvFault, match=message):
        loop.compute_chunk()


@pytest.mark.parametrize(
    ("env", "kind"),
    [
        ("Pendulum-v1", HostLoop),
        pytest.param("native/Pendulum-v1", FusedLoop, marks=pytest.mark.slow),
    ],
)
def test_a_budget_of_episodes_ends_with_its_last_one_and_lets_the_loop_run_ahead_until_then(
    env, kind, tmp_path, monkeypatch
):
    settled, step = [], kind.step
    monkeypatch.setattr(
        kind, "step", lambda self, ahead=True: (step(self, ahead), settled.append(self.settled))[0]
    )
    small = {
        "hidden": (8, 8),
        "batch": 8,
        "warmup": 100,
        "episode_steps": 40,
        "final_episodes": 1,
        "quiet": True,
    }
    run = swingup.train(env, **small, episodes=6, run_dir=tmp_path / "run")
    assert run.result["steps"] == len(settled) == 240
    assert settled[-1]
    assert sum(settled) < 120
    assert "steps 0 to 240 repeated" in verify(run.folder)


@pytest.mark.slow
def test_the_command_trains_films_resumes_and_verifies_a_native_environment(tmp_path, capsys):
    settings = "steps=600 warmup=100 hidden=16 batch=16 eval-every=250 eval-episodes=2 final-episodes=3"
    flags = [f"--{setting}" for setting in settings.split()] + ["--quiet"]
    folder = tmp_path / "run"
    assert cli(["train", "native/Pendulum-v1", *flags, "--run-dir", str(folder)]) == 0
    run = swingup.load(folder)
    assert run.config.preset == "pendulum"
    assert list(run.metrics["step"]) == [500, 600]
    assert list(run.episodes["step"]) == [200, 400, 600]
    assert run.evaluate(3).mean == run.result["mean"]
    assert cli(["verify", str(folder)]) == 0
    assert cli(["video", str(folder)]) == 0
    assert cli(["resume", str(folder), "--steps", "800", "--require-exact", "--quiet"]) == 0
    assert checkpoint_reader.steps(folder / "ckpt")[-1] == 800
    capsys.readouterr()
    assert cli(["train", "native/Pendulum-v1", *flags, "--record", "--run-dir", str(tmp_path / "no")]) == 2
    assert "film it afterwards: swingup video RUN" in capsys.readouterr().err
    assert cli(["train", "native/Pendlum-v1", *flags, "--run-dir", str(tmp_path / "no")]) == 2
    assert "did you mean native/Pendulum-v1" in capsys.readouterr().err
