"""Runs with workers on Ray: on a cluster of their own, and on three nodes that are killed."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import swingup
from swingup.cli.main import run as cli
from swingup.storage import checkpoint_reader

pytest.importorskip("ray")
nodes = pytest.importorskip("tests.cluster.nodes")

FLAGS = [
    "Pendulum-v1", "--steps=4800", "--warmup=400", "--hidden=16", "--batch=16", "--capacity=4000",
    "--envs=4",
    "--eval-every=1600", "--save-every=400", "--eval-episodes=2", "--final-episodes=2", "--threads=2",
    "--on=ray", "--quiet",
]  # fmt: skip


@pytest.fixture
def short():
    """A folder with a short path, which the sockets of Ray need."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def started(folder, *more):
    """A run with workers in a process of its own."""
    return swingup_with("train", *FLAGS, f"--run-dir={folder}", *more)


def swingup_with(*words):
    """The command line in a process of its own, with the token of the nodes."""
    code = "import sys; from swingup.cli.main import run; sys.exit(run(sys.argv[1:]))"
    env = os.environ | {"RAY_AUTH_TOKEN": nodes.TOKEN}
    line = [sys.executable, "-c", code, *words]
    return subprocess.Popen(line, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def files(folder):
    names = ("policy/last.safetensors", "policy/best.safetensors", "episodes.csv", "metrics.csv")
    return {name: without_clock((folder / name).read_bytes()) for name in names}


def without_clock(data):
    """A file, a table without its columns of seconds."""
    lines = [line.split(b",") for line in data.splitlines()]
    clock = {k for k, name in enumerate(lines[0]) if name in (b"seconds", b"steps_per_second")}
    return [[x for k, x in enumerate(line) if k not in clock] for line in lines] if clock else data


def wait_for_step(folder, child, step):
    """Wait until a checkpoint of this step or a later one is there."""
    where = folder / "ckpt"
    while max([0, *(checkpoint_reader.steps(where) if where.is_dir() else [])]) < step:
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.05)


def ended(child, code=0):
    _, error = child.communicate()
    assert child.returncode == code, error
    return error


def test_a_run_on_a_cluster_of_its_own_ends_in_the_bytes_of_workers_in_this_process(tmp_path, capsys):
    from tests.cluster.test_lockstep import SMALL, made

    settings = {**SMALL, "steps": 160, "eval_every": 160, "eval_episodes": 1, "final_episodes": 1}
    del settings["hidden"]
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in settings.items()]
    words = ["train", "Pendulum-v1", "--preset=ddpg", *flags, "--hidden=8", "--on=ray", "--workers=2"]
    assert cli([*words, f"--run-dir={tmp_path / 'run'}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 160
    here = made(3, **{**settings, "hidden": (8,)})
    for _ in range(40):
        here.step()
    saved = checkpoint_reader.load(tmp_path / "run" / "ckpt", 160)
    ours = here.snapshot()
    for name, array in ours.tensors.items():
        assert array.tobytes() == saved.tensors[name].tobytes(), name


@pytest.mark.cluster
def test_three_nodes_lose_a_worker_and_a_node_and_the_bytes_stay_the_same(tmp_path, short):
    with nodes.Nodes(short) as there:
        address = f"--address={there.address}"
        for workers in (1, 2, 4):
            ended(started(tmp_path / f"{workers}", f"--workers={workers}", address))
        hurt = started(tmp_path / "hurt", "--workers=4", address)
        wait_for_step(tmp_path / "hurt", hurt, 800)
        nodes.end(there.workers()[:1])
        wait_for_step(tmp_path / "hurt", hurt, 2000)
        there.kill(2)
        ended(hurt)
    assert files(tmp_path / "1") == files(tmp_path / "2") == files(tmp_path / "4") == files(tmp_path / "hurt")


@pytest.mark.cluster
def test_when_all_nodes_are_lost_the_run_exits_with_75_and_is_resumed(tmp_path, short):
    with nodes.Nodes(short) as there:
        ended(started(tmp_path / "whole", "--workers=2", f"--address={there.address}"))
        child = started(tmp_path / "cut", "--workers=4", f"--address={there.address}", "--worker-patience=20")
        wait_for_step(tmp_path / "cut", child, 1200)
        for k in (2, 1, 0):
            there.kill(k)
        assert "go on with: swingup resume" in ended(child, 75)
    newest = max(checkpoint_reader.steps(tmp_path / "cut" / "ckpt"))
    assert 1200 <= newest < 4800
    checkpoint_reader.load(tmp_path / "cut" / "ckpt", newest)
    assert cli(["resume", str(tmp_path / "cut"), "--quiet", "--workers", "2"]) == 0
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


SEEDS = """
import sys, numpy as np, gymnasium, swingup

class Drift(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-10, 10, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.at = 0, self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.at.copy(), {}

    def step(self, action):
        self.t += 1
        self.at[0] += 0.1 * float(action[0])
        return self.at.copy(), -float(self.at[0] ** 2), False, self.t == 50, {}

small = dict(steps=12000, warmup=200, hidden=(8,), batch=16, eval_every=1000, save_every=200, eval_episodes=1,
             final_episodes=2, quiet=True)
what, folder, *address = sys.argv[1:]
where = dict(on="ray", address=address[0]) if address else {}
try:
    if what == "resume":
        swingup.resume(folder, env=lambda: Drift(), quiet=True, address=address[0])
    else:
        swingup.train(lambda: Drift(), seeds=3, run_dir=folder, **small, **where)
except KeyboardInterrupt:
    sys.exit(75)
"""


def script(*words):
    """SEEDS, run as a script; its class is in no module."""
    env = os.environ | {"RAY_AUTH_TOKEN": nodes.TOKEN}
    return subprocess.Popen([sys.executable, "-c", SEEDS, *words], env=env, stderr=subprocess.PIPE, text=True)


@pytest.mark.cluster
def test_seeds_on_three_nodes_lose_a_node_and_are_stopped_and_resumed_with_the_bytes_of_one_machine(
    tmp_path, short
):
    folder = tmp_path / "group"
    with nodes.Nodes(short) as there:
        child = script("train", str(folder), there.address)
        for seed in range(3):
            wait_for_step(folder / f"seed-{seed}", child, 400)
        lost = next(k for k in (1, 2) if set(nodes.tree(*there.nodes[k])) & set(there.workers("Task")))
        there.kill(lost)
        for seed in range(3):
            wait_for_step(folder / f"seed-{seed}", child, 1200)
        child.terminate()
        ended(child, 75)
        assert len(list(folder.glob("seed-*/result.json"))) < 3
        ended(script("resume", str(folder), there.address))
    ended(script("train", str(tmp_path / "here")))
    for seed in range(3):
        assert files(folder / f"seed-{seed}") == files(tmp_path / "here" / f"seed-{seed}")
        config = (folder / f"seed-{seed}" / "config.json").read_text()
        assert config == (tmp_path / "here" / f"seed-{seed}" / "config.json").read_text()


@pytest.mark.slow
def test_seeds_on_three_nodes_have_the_bytes_of_one_machine_and_a_sweep_there_bears_the_loss_of_a_task(
    tmp_path, short
):
    pytest.importorskip("optuna")
    small = [
        "native/Pendulum-v1", "--steps=1000", "--warmup=100", "--hidden=8", "--batch=8", "--eval-every=200",
        "--eval-episodes=1", "--final-episodes=1", "--quiet", "--run-dir",
    ]  # fmt: skip
    seeds, sweep = ["train", "--seeds", "3"], ["sweep", "--trials", "4", "--seeds", "1", "--jobs", "2"]
    (tmp_path / "space.toml").write_text("[actor_lr]\nlow = 1e-4\nhigh = 1e-2\nlog = true\n")
    with nodes.Nodes(short) as there:
        on = ["--on", "ray", "--address", there.address]
        ended(swingup_with(*seeds, *small, str(tmp_path / "there"), *on))
        space = ["--space", str(tmp_path / "space.toml")]
        child = swingup_with(*sweep, *small, str(tmp_path / "sweep"), *space, *on)
        while not list((tmp_path / "sweep").glob("trial-*/seed-0/ckpt/*")):
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.05)
        lost = there.workers("Task")[:1]
        nodes.end(lost)
        ended(child)
    ended(swingup_with(*seeds, *small, str(tmp_path / "here")))
    for seed in ("seed-0", "seed-1", "seed-2"):
        assert files(tmp_path / "there" / seed) == files(tmp_path / "here" / seed)
    assert len(lost) == 1
    counts = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["result"]["trials"]
    assert counts["complete"] + counts["pruned"] == 4
    assert (tmp_path / "sweep" / "best.toml").exists()


class Killer(swingup.Callback):
    """Kills a worker each 60 iterations, 20 times, and keeps all rows."""

    def __init__(self, there):
        self.there, self.rows, self.kills, self.random = there, [], 0, random.Random(0)

    def on_iteration(self, result):
        self.rows += list(result.rows.swapaxes(0, 1))
        if len(self.rows) % 240 == 0 and self.kills < 20 and (workers := self.there.workers()):
            self.kills += 1
            nodes.end([self.random.choice(workers)])


@pytest.mark.cluster
def test_free_running_loses_and_repeats_no_transition_under_20_kills(tmp_path, short, monkeypatch):
    from tests.cluster.sequence import Sequence
    from tests.cluster.test_free import check_nothing_is_lost_or_twice, journal

    monkeypatch.setenv("RAY_AUTH_TOKEN", nodes.TOKEN)
    settings = {
        "preset": "ddpg",
        "steps": 8000,
        "warmup": 400,
        "hidden": (8,),
        "batch": 8,
        "envs": 4,
        "threads": 2,
    }
    settings |= {"eval_every": 4000, "eval_episodes": 1, "final_episodes": 1, "capacity": 8000}
    with nodes.Nodes(short) as there:
        killer = Killer(there)
        where = {"on": "ray", "workers": 4, "order": "free", "run_dir": tmp_path / "run", "quiet": True}
        builder, options = plan_of(Sequence, {**settings, **where}, there.address)
        from swingup.cluster.train import train_on_cluster

        run = train_on_cluster(builder, Sequence, options, "test", callbacks=[killer])
    assert killer.kills == 20
    assert run.result["steps"] == 8000
    found = journal(tmp_path / "run")
    assert len(found) == 8000
    from swingup.training.build import plan

    spec = swingup.load(run.folder, Sequence).policy.spec
    check_nothing_is_lost_or_twice(plan(builder.config, spec), found, killer.rows)
    lines = (tmp_path / "run" / "cluster.txt").read_text()
    assert "Traceback" not in lines


def plan_of(env, settings, address):
    """A builder and options for a run at an address."""
    from swingup.config.presets import base
    from swingup.config.settings import apply
    from swingup.training.build import RunBuilder
    from swingup.training.options import Options

    shown = {k: settings.pop(k) for k in ("run_dir", "quiet")}
    config = apply(base("Sequence", settings.pop("preset")), {"env": "Sequence", **settings}, "test")
    return RunBuilder(config), Options(**shown, address=address)
