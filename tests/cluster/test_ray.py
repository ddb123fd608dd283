"""Runs with workers on Ray: on a cluster of their own, and on three nodes that are killed."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

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


def started(folder, *more, **environment):
    """A run in a process of its own."""
    words = ["train", *FLAGS, f"--run-dir={folder}", *more]
    code = "import sys; from swingup.cli.main import run; sys.exit(run(sys.argv[1:]))"
    env = os.environ | {"RAY_AUTH_TOKEN": nodes.TOKEN} | environment
    return subprocess.Popen([sys.executable, "-c", code, *words], env=env, stderr=subprocess.PIPE, text=True)


def files(folder):
    names = ("policy/last.safetensors", "policy/best.safetensors", "episodes.csv", "metrics.csv")
    return {name: without_clock((folder / name).read_bytes()) for name in names}


def without_clock(data):
    """A file without the column of steps per second, if it has one."""
    lines = data.split(b"\n")
    if b"steps_per_second" not in lines[0]:
        return data
    k = lines[0].split(b",").index(b"steps_per_second")
    return [b",".join(x for i, x in enumerate(line.split(b",")) if i != k) for line in lines]


def wait_for_step(folder, child, step):
    """Wait until a checkpoint of this step or a later one is there."""
    while not max(checkpoint_reader.steps(folder / "ckpt") if (folder / "ckpt").is_dir() else [0]) >= step:
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_when_all_nodes_are_lost_the_run_exits_with_75_and_is_resumed(tmp_path, short):
    with nodes.Nodes(short) as there:
        ended(started(tmp_path / "whole", "--workers=2", f"--address={there.address}"))
        child = started(tmp_path / "cut", "--workers=4", f"--address={there.address}", "--patience=20")
        wait_for_step(tmp_path / "cut", child, 1200)
        for k in (2, 1, 0):
            there.kill(k)
        assert "go on with: swingup resume" in ended(child, 75)
    newest = max(checkpoint_reader.steps(tmp_path / "cut" / "ckpt"))
    assert 1200 <= newest < 4800
    checkpoint_reader.load(tmp_path / "cut" / "ckpt", newest)
    assert cli(["resume", str(tmp_path / "cut"), "--quiet", "--workers", "2"]) == 0
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
