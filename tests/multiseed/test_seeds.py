"""Many seeds in one command, and one run over several devices."""

import io
import json
import os
import signal
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from rich.console import Console

import swingup
from swingup import runtime
from swingup.cli import output
from swingup.cli.main import run as cli
from swingup.errors import EnvFault, InputError
from swingup.multiseed import seeds
from swingup.multiseed.processes import packed
from swingup.multiseed.status import SeedStatus
from swingup.multiseed.table import table
from swingup.runs import compare, group
from swingup.runs.statistics import iqm
from swingup.seeding import TRAIN, episode_seed

NATIVE = "native/Pendulum-v1"
SMALL = {
    "steps": 400, "warmup": 100, "hidden": (16,), "batch": 16, "capacity": 400, "eval_every": 200,
    "eval_episodes": 2, "final_episodes": 3,
}  # fmt: skip
FLAGS = [f"--{k.replace('_', '-')}={v[0] if isinstance(v, tuple) else v}" for k, v in SMALL.items()]


def policies(folder):
    return [(path / "policy" / "last.safetensors").read_bytes() for path in sorted(folder.glob("seed-*"))]


def command(*words):
    return subprocess.run([sys.executable, "-m", "swingup", *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3", (0, 1, 2)),
        ("0:3", (0, 1, 2)),
        ("4:6", (4, 5)),
        ("5,0,3", (5, 0, 3)),
        ("7,", (7,)),
        (2, (0, 1)),
        ([9, 1], (9, 1)),
    ],
)
def test_the_spellings_of_seeds(text, found):
    assert seeds.numbers(text) == found


@pytest.mark.parametrize(
    "text", ["", "0", "0:0", "5:3", "a", "1,1", "-1", "1:2:3", "4294967296,", "0:4000000000", [], [-1]]
)
def test_seeds_that_are_none_are_one_line(text):
    with pytest.raises(InputError, match=r"--seeds"):
        seeds.numbers(text)


@pytest.mark.slow
def test_each_seed_is_an_ordinary_run_with_the_bytes_of_its_own_command(tmp_path, capsys):
    folder, alone = tmp_path / "group", tmp_path / "alone"
    assert cli(["train", NATIVE, "--seeds", "0:3", *FLAGS, "--json", "--run-dir", str(folder)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said) == ["iqm", "ci95", "range", "seeds", "seconds", "run"]
    means = {str(seed): swingup.load(folder / f"seed-{seed}").result["mean"] for seed in range(3)}
    assert said["seeds"] == means
    assert said["iqm"] == pytest.approx(float(iqm(np.array([*means.values()]))))
    assert said["ci95"] is None  # three seeds have a range, and no interval that could be called one of 95 %
    assert said["range"] == [min(means.values()), max(means.values())]
    assert json.loads((folder / "group.json").read_text())["result"] == said
    one = command(
        "train", NATIVE, "--seed", "1", "--threads", "1", *FLAGS, "--quiet", "--run-dir", str(alone)
    )
    assert one.returncode == 0, one.stderr
    for name in ("policy/last.safetensors", "config.json", "evaluations.csv"):
        assert (folder / "seed-1" / name).read_bytes() == (alone / name).read_bytes()

    assert cli(["eval", str(folder), "--episodes", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == means
    assert [run.config.seed for run in compare.gather(folder, "final")] == [0, 1, 2]
    assert cli(["video", str(folder)]) == 2
    assert "a group of runs, one for each seed; name one of them" in capsys.readouterr().err
    before = policies(folder)
    assert cli(["resume", str(folder), "--quiet"]) == 0  # nothing to do
    assert policies(folder) == before
    assert cli(["train", NATIVE, "--seeds", "3", *FLAGS, "--run-dir", str(folder)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_seeds_in_one_program_are_runs_of_their_own_and_go_on_exactly(tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = ["train", NATIVE, "--seeds", "3", "--seeds-mode", "vmap", *FLAGS, "--quiet"]
    assert cli([*words, "--run-dir", str(whole)]) == 0
    assert cli([*words, "--steps", "200", "--run-dir", str(parts)]) == 0
    assert policies(parts) != policies(whole)
    assert cli(["resume", str(parts), "--steps", "400", "--quiet", "--require-exact"]) == 0
    assert policies(parts) == policies(whole)
    assert len({*policies(whole)}) == 3
    for name in ("episodes", "evaluations"):
        a, b = (swingup.load(folder / "seed-2") for folder in (whole, parts))
        np.testing.assert_array_equal(getattr(a, name)["step"], getattr(b, name)["step"])
    capsys.readouterr()
    assert cli(["verify", str(whole / "seed-0")]) == 2
    assert "trained as one of 3 seeds in one program" in capsys.readouterr().err

    # Other roundings than alone, but the same training: the first updates differ by rounding only.
    alone = swingup.train(
        NATIVE, seed=2, run_dir=tmp_path / "alone", quiet=True, **{**SMALL, "steps": 120, "eval_every": 200}
    )
    lanes = swingup.train(
        NATIVE, seeds=3, seeds_mode="vmap", run_dir=tmp_path / "short", quiet=True, **{**SMALL, "steps": 120}
    )
    assert isinstance(lanes, group.Group)
    for a, b in zip(alone.policy.params, lanes.runs[2].policy.params, strict=True):
        np.testing.assert_allclose(a["w"], b["w"], atol=1e-5)


class Breaking(gymnasium.Env):
    """No rewards; in the first episode of seed 1 one is NaN, in that of seed 2 the process is killed."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.seed = 0, seed
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        bad, fatal = (self.t == 5 and self.seed == int(episode_seed(k, TRAIN, 0, 0)) for k in (1, 2))
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros(2, np.float32), float("nan") if bad else 0.0, False, self.t == 20, {}


@pytest.mark.slow
def test_a_seed_that_fails_does_not_stop_the_others(tmp_path):
    made = swingup.train(lambda: Breaking(), seeds=4, run_dir=tmp_path / "group", quiet=True, **SMALL)
    assert made.result["seeds"] == {"0": 0.0, "1": None, "2": None, "3": 0.0}
    assert [*made.failed] == [1, 2]
    assert "the reward is nan" in made.failed[1]
    assert "its process was killed by SIGKILL" in made.failed[2]
    lines = output.closing_lines(made.result, "X")
    assert "2 of 4 seeds" in lines
    assert f"seed 1: {made.failed[1]}" in lines


class Broken(Breaking):
    """Every reward is NaN."""

    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, float("nan"), *rest


def test_a_group_whose_every_seed_failed_raises(tmp_path):
    with pytest.raises(EnvFault, match=r"every seed failed; seed 0: .*the reward is nan"):
        swingup.train(lambda: Broken(), seeds=2, run_dir=tmp_path / "group", quiet=True, **SMALL)


def test_an_environment_that_cannot_travel_is_one_line_and_leaves_no_folder(tmp_path):
    file = (tmp_path / "open").open("w")
    with file, pytest.raises(InputError, match="cannot travel to a process of its own") as caught:
        swingup.train(lambda: (file, Breaking())[1], seeds=2, run_dir=tmp_path / "group", quiet=True, **SMALL)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "group").exists()


@pytest.mark.slow
def test_seeds_of_an_id_that_only_this_process_has_registered_are_trained(tmp_path):
    gymnasium.register("OnlyHere-v0", lambda: Breaking(), max_episode_steps=10)
    try:
        made = swingup.train("OnlyHere-v0", seeds="5:7", run_dir=tmp_path / "group", quiet=True, **SMALL)
        assert made.result["seeds"] == {"5": 0.0, "6": 0.0}
        assert made.failed == {}
    finally:
        del gymnasium.registry["OnlyHere-v0"]


@pytest.mark.slow
def test_a_signal_stops_every_seed_and_resume_goes_on_with_them(tmp_path):
    folder = tmp_path / "group"
    words = ["train", NATIVE, "--seeds", "2", *FLAGS, "--steps", "10000000", "--run-dir", str(folder)]
    with subprocess.Popen(
        [sys.executable, "-m", "swingup", *words], stderr=subprocess.PIPE, text=True
    ) as going:
        said = ""
        while "greedy after" not in said:
            said += going.stderr.readline()
        going.send_signal(signal.SIGTERM)
        rest = going.stderr.read()
    assert going.returncode == 75, rest
    assert f"interrupted; go on with: swingup resume {folder}" in rest
    assert any((folder / f"seed-{seed}" / "ckpt").is_dir() for seed in (0, 1))
    done = command("resume", str(folder), "--steps", "300", "--json")
    assert done.returncode == 0, done.stderr
    assert None not in json.loads(done.stdout)["seeds"].values()


WITHOUT_PARENT = """
import json, sys
from swingup.multiseed import worker
from swingup.training.signals import stop_on_signals

def attempt(seed, env, order, tell):
    with stop_on_signals() as stop:
        tell({"state": "training"})
        while not stop.interrupted:
            pass
    print("saved", file=sys.stderr)

worker.attempt = attempt
worker.serve()
"""


def test_a_worker_whose_parent_is_lost_saves_and_ends_though_its_output_is_still_read(tmp_path):
    order = {"seed": 0, "folder": str(tmp_path), "modules": []}
    with subprocess.Popen(
        [sys.executable, "-c", WITHOUT_PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        child.stdin.write(json.dumps({"env": packed(NATIVE, None)}) + "\n" + json.dumps(order) + "\n")
        child.stdin.flush()
        assert json.loads(child.stdout.readline()) == {"state": "training"}
        child.stdin.close()
        try:
            assert child.wait(20) in (0, -signal.SIGTERM)
        finally:
            child.kill()
        assert "saved" in child.stderr.read()


def test_the_table_has_a_row_for_each_seed(tmp_path):
    members = [
        SeedStatus(0, tmp_path, "done", 5000, -210.0, -150.25, 5000),
        SeedStatus(1, tmp_path, "training", 2500, -300.0, None, 0, 812.4),
        SeedStatus(2, tmp_path, "failed", error="the reward is nan"),
    ]
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(table(members, 5000))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert lines == [
        "seed steps return greedy steps/s",
        "0 5,000 100 % -210.0 -150.2 done",
        "1 2,500 50 % -300.0 – 812 training",
        "2 0 0 % – – failed: the reward is nan",
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["Pendulum-v1", "--seeds", "2", "--seeds-mode", "vmap"], "only environments in JAX"),
        ([NATIVE, "--seeds", "2", "--seeds-mode", "threads"], "expected auto, process or vmap"),
        (["Pendulm-v1", "--seeds", "2"], "Pendulum-v1"),
        ([NATIVE, "--seeds", "2", "--render"], "--render"),
        ([NATIVE, "--devices", "64", "--envs", "64", "--batch", "64"], "--devices 64: there "),
        ([NATIVE, "--devices", "2", "--envs", "3"], "they cannot share 3 evenly (--envs)"),
        ([NATIVE, "--devices", "3", "--envs", "3", "--batch", "64"], "they cannot share 64 evenly (--batch)"),
        (["Pendulum-v1", "--devices", "2", "--envs", "2"], "Pendulum-v1 runs in Python"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_folder(tmp_path, capsys, words, line):
    assert cli(["train", *words, "--run-dir", str(tmp_path / "no")]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert not (tmp_path / "no").exists()


DEVICES = """
import sys
from pathlib import Path
import jax, numpy as np
from swingup import runtime
runtime.prepare(1)
from swingup.config.presets import base
from swingup.config.settings import apply, check
from swingup.envs.registry import find
from swingup.loops.base import Snapshot
from swingup.loops.fused import FusedLoop
from swingup.training.build import plan

ENV, settings = find("native/Pendulum-v1"), dict(
    hidden=(16, 16), batch=16, warmup=64, capacity=800, envs=8, updates=0.125, n_step=3, noise="ou",
    normalize=True)

def loop(devices):
    p = plan(check(apply(base("native/Pendulum-v1"), settings | {"devices": devices}, "test")), ENV.spec)
    return FusedLoop(p, ENV, 0, every=(160,), end=320)

def to(loop, steps):
    while loop.steps < steps:
        loop.step()
    return loop

def arrays(loop):
    s = loop.snapshot()
    return {k: np.array(v) for k, v in s.tensors.items()} | {"ring": np.array(s.ring)}

one, four = to(loop(1), 320), to(loop(4), 160)
s = four.snapshot()
saved = Snapshot({k: np.array(v) for k, v in s.tensors.items()}, np.array(s.ring), s.added)
again = loop(4)
assert again.restore(saved)
assert len(again.state.replay.rows.sharding.device_set) == 4
assert again.state.replay.rows.sharding.shard_shape(again.state.replay.rows.shape) == (100, 2, 10)
assert again.carry.obs.sharding.shard_shape(again.carry.obs.shape) == (2, 3)
assert again.state.learner.actor[0]["w"].sharding.is_fully_replicated
a, b, c = arrays(one), arrays(to(four, 320)), arrays(to(again, 320))
for k in a:
    np.testing.assert_allclose(b[k], a[k], rtol=1e-4, atol=1e-4, err_msg=k)
    assert b[k].tobytes() == c[k].tobytes(), k
text = four.device.programs[True].ready.result().as_text()
assert "all-gather(" not in text and "reduce-scatter(" in text
"""


@pytest.mark.slow
def test_devices_share_environments_replay_and_batch_with_the_result_of_one():
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def test_exact_bits_on_a_gpu_are_asked_for_before_jax_starts_and_only_there(monkeypatch):
    monkeypatch.setattr(runtime, "started", lambda: False)
    monkeypatch.setenv("NPROC", "2")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    runtime.prepare(2, exact=True)
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to="
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    runtime.prepare(2)
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to="
    for _ in range(2):
        runtime.prepare(2, exact=True)
        assert os.environ["XLA_FLAGS"] == f"--xla_dump_to= {runtime.EXACT}"
    assert seeds.choose_mode("auto", NATIVE) == "vmap"
    assert seeds.choose_mode("auto", "Pendulum-v1") == "process"
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert seeds.choose_mode("auto", NATIVE) == "process"
