"""Seeds and sweeps as tasks of a cluster: lost and begun again, stopped together; with a stand-in for Ray."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing

import gymnasium
import numpy as np
import pytest

import swingup
from swingup.cli.main import run as cli
from swingup.cluster import pool, sweep_tasks, task
from swingup.cluster.connection import ClusterLost
from swingup.cluster.tasks import job
from swingup.errors import InputError
from swingup.storage import disk
from swingup.training.signals import StopRequest
from tests.cluster.fake_ray import FakeTasks

NATIVE = "native/Pendulum-v1"
SMALL = {
    "steps": 300, "warmup": 100, "hidden": (8,), "batch": 16, "capacity": 400, "eval_every": 100,
    "eval_episodes": 1, "final_episodes": 2,
}  # fmt: skip
FLAGS = [f"--{k.replace('_', '-')}={v[0] if isinstance(v, tuple) else v}" for k, v in SMALL.items()]

# A child that counts until it is stopped, from where its file says that an earlier one came to.
COUNT = """
import json, pathlib, signal, sys, threading, time, os
order = json.loads(sys.stdin.readline())
path = pathlib.Path(order["file"])
n = int(path.read_text()) if path.exists() else 0
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
def listen():
    sys.stdin.read()
    stopped.append(1)
threading.Thread(target=listen, daemon=True).start()
while n < order["end"] and not stopped:
    n += 1
    path.write_text(str(n))
    print(json.dumps({"n": n}), flush=True)
    time.sleep(0.05)
print(json.dumps({"state": "done" if n >= order["end"] else "stopped"}), flush=True)
os._exit(0)
"""


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(task, "POLL", 0.05)


class Heard:
    """A listener that keeps everything; do: called with each message."""

    def __init__(self, do=lambda k, message: None):
        self.do, self.counts, self.states, self.losses, self.ends = do, {}, {}, [], {}

    def begun(self, k, node):
        self.counts.setdefault(k, [])

    def heard(self, k, message):
        if "n" in message:
            self.counts[k].append(message["n"])
        self.states[k] = message.get("state", self.states.get(k))
        self.do(k, message)
        return False

    def lost(self, k, why):
        self.losses.append(k)

    def ended(self, k, code, why):
        self.ends[k] = code, why


def counting(folder, jobs, end):
    return {k: job(COUNT, [{"file": str(folder / f"{k}"), "end": end}], folder, 1) for k in range(jobs)}


def test_every_job_is_done_though_there_are_fewer_cores(tmp_path):
    heard = Heard()
    with closing(FakeTasks(tmp_path, nodes=(1, 1))) as tasks:
        tasks.run(counting(tmp_path, 4, 3), 4, StopRequest(), heard, lambda: None)
    assert heard.counts == {k: [1, 2, 3] for k in range(4)}
    assert heard.ends == dict.fromkeys(range(4), (0, ""))


def test_no_more_jobs_are_given_out_than_wanted(tmp_path):
    heard, most = Heard(), []
    with closing(FakeTasks(tmp_path, nodes=(8,))) as tasks:
        tasks.run(counting(tmp_path, 3, 2), 1, StopRequest(), heard, lambda: most.append(len(tasks.running)))
    assert max(most) == 1
    assert len(heard.ends) == 3


def test_a_lost_task_goes_on_elsewhere_from_where_it_was(tmp_path):
    def kill(k, message):
        if k == 1 and message.get("n") == 4:
            next(actor for actor in tasks.ray.holders if actor.made.job == jobs[1]).die()

    heard, jobs = Heard(kill), counting(tmp_path, 2, 12)
    with closing(FakeTasks(tmp_path)) as tasks:
        tasks.run(jobs, 2, StopRequest(), heard, lambda: None)
    assert heard.losses == [1]
    assert heard.ends == {0: (0, ""), 1: (0, "")}
    assert heard.counts[0] == list(range(1, 13))
    assert sorted(set(heard.counts[1]) | {5, 6, 7}) == list(range(1, 13))
    assert (tmp_path / "1").read_text() == "12"


def test_a_task_that_is_lost_again_and_again_fails_with_the_reason(tmp_path):
    heard = Heard(lambda k, message: [actor.die() for actor in list(tasks.ray.holders)])
    with closing(FakeTasks(tmp_path)) as tasks:
        tasks.run(counting(tmp_path, 1, 10**6), 1, StopRequest(), heard, lambda: None)
    assert heard.losses == [0, 0]
    code, why = heard.ends[0]
    assert code is None
    assert "lost 3 times in a row (ActorDiedError: the node is gone)" in why


def test_when_the_driver_is_lost_all_go_on(tmp_path):
    broken = []

    def lose(k, message):
        if message.get("n") == 3 and not broken:
            broken.append(k)
            tasks.break_connection()

    heard = Heard(lose)
    with closing(FakeTasks(tmp_path)) as tasks:
        tasks.run(counting(tmp_path, 2, 8), 2, StopRequest(), heard, lambda: None)
    assert tasks.connections == 2
    assert "runs go on from their checkpoints" in tasks.lines[0]
    assert heard.ends == {0: (0, ""), 1: (0, "")}
    assert {(tmp_path / name).read_text() for name in "01"} == {"8"}


def test_when_the_cluster_is_gone_that_is_said(tmp_path):
    heard = Heard(lambda k, message: tasks.break_connection())
    with closing(FakeTasks(tmp_path, gone=1)) as tasks, pytest.raises(ClusterLost):
        tasks.run(counting(tmp_path, 1, 10**6), 1, StopRequest(), heard, lambda: None)


def test_when_nothing_can_be_started_again_in_time_the_cluster_is_lost(tmp_path):
    def lose(k, message):
        tasks.ray.free = -10
        [actor.die() for actor in list(tasks.ray.holders)]

    with (
        closing(FakeTasks(tmp_path, patience=0.3)) as tasks,
        pytest.raises(ClusterLost, match="started again"),
    ):
        tasks.run(counting(tmp_path, 2, 10**6), 2, StopRequest(), Heard(lose), lambda: None)


def test_a_stop_reaches_each_job_once_and_those_that_wait_never_begin(tmp_path):
    stop = StopRequest()

    def ask(k, message):
        stop.signalled = True

    heard = Heard(ask)
    with closing(FakeTasks(tmp_path, nodes=(1,))) as tasks:
        tasks.run(counting(tmp_path, 3, 10**6), 2, stop, heard, lambda: None)
    assert heard.states == {0: "stopped"}
    assert heard.ends == {0: (0, ""), 1: (None, "")}
    assert list(heard.counts) == [0]


def test_a_node_without_the_folder_says_so(tmp_path):
    heard = Heard()
    with closing(FakeTasks(tmp_path)) as tasks:
        tasks.run({0: job(COUNT, [], tmp_path / "elsewhere", 1)}, 1, StopRequest(), heard, lambda: None)
    assert "a file system that all nodes share (--run-dir)" in heard.ends[0][1]


def test_a_task_waits_for_the_process_that_still_writes_in_its_folder(tmp_path, monkeypatch):
    import threading

    held = disk.lock(tmp_path / "run")
    threading.Timer(0.3, os.close, [held]).start()
    task.wait_for(tmp_path / "run")
    held = disk.lock(tmp_path / "run")  # it is free, and `wait_for` does not keep it
    monkeypatch.setattr(task, "FREE", 0.0)
    with pytest.raises(InputError, match="is writing there"):
        task.wait_for(tmp_path / "run")
    os.close(held)


def test_a_cluster_whose_nodes_are_too_small_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"--threads 4: no node of the cluster has more than 2 cores"):
        FakeTasks(tmp_path, nodes=(2, 2), need=4)


def test_tasks_import_neither_jax_nor_ray():
    code = "import swingup.cluster.task_driver, sys; assert not {'jax', 'ray'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def here(monkeypatch):
    """Seeds and sweeps `--on ray` have the stand-in; the list gets the tasks of each command."""
    made = []

    def tasks(self, options=None):
        made.append(FakeTasks(self.folder if options is None else self.sweep.folder))
        return made[-1]

    monkeypatch.setattr(pool.RayPool, "tasks", tasks)
    monkeypatch.setattr(sweep_tasks.RaySweep, "tasks", tasks)
    return made


@pytest.mark.slow
def test_seeds_on_ray_are_ordinary_runs_with_the_bytes_of_this_machine_also_after_a_loss(
    tmp_path, here, monkeypatch, capsys
):
    heard = pool.RayPool.heard

    def kill(self, k, message):
        if k == 1 and message.get("evaluated") == 100 and len(here[0].ray.begun) == 2:
            here[0].ray.begun[1].die()
        return heard(self, k, message)

    monkeypatch.setattr(pool.RayPool, "heard", kill)
    words = ["train", NATIVE, "--seeds", "0:2", *FLAGS, "--json", "--run-dir"]
    assert cli([*words, str(tmp_path / "there"), "--on", "ray"]) == 0
    assert None not in json.loads(capsys.readouterr().out)["seeds"].values()
    assert len(here[0].ray.begun) == 3
    assert cli([*words, str(tmp_path / "here")]) == 0
    for name in ("policy/last.safetensors", "config.json", "evaluations.csv"):
        for seed in ("seed-0", "seed-1"):
            one, other = (tmp_path / where / seed / name for where in ("there", "here"))
            assert one.read_bytes() == other.read_bytes(), (seed, name)
    assert json.loads((tmp_path / "there" / "group.json").read_text())["on"] == "ray"


class Still(gymnasium.Env):
    """Nothing moves; the reward is a setting of the object that is given."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))
    reward = 2.0

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, np.float32), self.reward, False, self.t == 10, {}


@pytest.mark.slow
def test_a_stop_ends_seeds_on_ray_and_resume_goes_on_there(tmp_path, here, monkeypatch):
    heard = pool.RayPool.heard

    def stop(self, k, message):
        if message.get("state") == "training" and not self.stop.signalled:
            os.kill(os.getpid(), signal.SIGTERM)
        return heard(self, k, message)

    monkeypatch.setattr(pool.RayPool, "heard", stop)
    settings = {**SMALL, "steps": 10**7, "seeds": 3, "run_dir": tmp_path / "group", "quiet": True}
    with pytest.raises(KeyboardInterrupt, match=r"go on with swingup\.resume"):
        swingup.train(lambda: Still(), on="ray", **settings)
    assert not list((tmp_path / "group").glob("seed-*/result.json"))
    monkeypatch.undo()
    monkeypatch.setattr(task, "POLL", 0.05)
    monkeypatch.setattr(pool.RayPool, "tasks", lambda self: FakeTasks(self.folder))
    group = swingup.resume(tmp_path / "group", 300, lambda: Still(), quiet=True)
    assert group.result["seeds"] == {"0": 20.0, "1": 20.0, "2": 20.0}


ENDLESS = ["train", NATIVE, "--seeds", "1", *FLAGS, "--steps", "1000000", "--on", "ray", "--run-dir"]


def test_a_seed_whose_process_is_killed_fails(tmp_path, here, monkeypatch, capsys):
    heard = pool.RayPool.heard

    def hurt(self, k, message):
        if k == 0 and message.get("state") == "training":
            os.kill(here[0].ray.begun[0].made.process.pid, signal.SIGKILL)
        return heard(self, k, message)

    monkeypatch.setattr(pool.RayPool, "heard", hurt)
    assert cli([*ENDLESS, str(tmp_path / "killed"), "--quiet"]) == 1
    assert "its process was killed by SIGKILL" in capsys.readouterr().out


@pytest.mark.slow
def test_where_the_cluster_is_lost_seeds_exit_with_75_and_say_what_to_do(tmp_path, here, monkeypatch, capsys):
    monkeypatch.setattr(pool.RayPool, "heard", lambda self, k, message: here[0].break_connection())
    monkeypatch.setattr(FakeTasks, "gone_by_default", 1)
    assert cli([*ENDLESS, str(tmp_path / "lost")]) == 75
    said = capsys.readouterr().err
    assert "the cluster is lost" in said
    assert f"go on with: swingup resume {tmp_path / 'lost'}" in said


SEARCH = ["--trials", "4", "--seeds", "1", "--jobs", "2", "--threads", "2", "--no-prune"]


@pytest.mark.slow
def test_a_sweep_on_ray_trains_its_trials_though_a_task_is_lost(tmp_path, here, monkeypatch, capsys):
    pytest.importorskip("optuna")
    (tmp_path / "space.toml").write_text("[actor_lr]\nlow = 1e-4\nhigh = 1e-2\nlog = true\n")
    refresh = sweep_tasks.RaySweep.refresh

    def kill(self):
        ray = here[0].ray
        if len(ray.begun) == 2 and self.watched.ended and not self.watched.seen >= {0, 1, 2, 3}:
            ray.begun[0].die()
        refresh(self)

    monkeypatch.setattr(sweep_tasks.RaySweep, "refresh", kill)
    words = ["sweep", NATIVE, *FLAGS, *SEARCH, "--space", str(tmp_path / "space.toml"), "--json"]
    assert cli([*words, "--run-dir", str(tmp_path / "sweep"), "--on", "ray"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"]["complete"] == 4
    assert (tmp_path / "sweep" / "best.toml").exists()
    assert json.loads((tmp_path / "sweep" / "sweep.json").read_text())["on"] == "ray"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["train", NATIVE, "--seeds", "2", "--on", "ray", "--workers", "2"], "--workers 2: with --seeds"),
        (["train", NATIVE, "--seeds", "2", "--on", "ray", "--order", "free"], "leave it out with --seeds"),
        (["train", NATIVE, "--seeds", "2", "--on", "ray", "--seeds-mode", "vmap"], "--seeds-mode vmap"),
        (["train", NATIVE, "--seeds", "2", "--address", "h:1"], "--address h:1: of what?"),
        (["sweep", NATIVE, "--on", "ray", "--workers", "2"], "--workers 2: with sweep"),
        (["sweep", NATIVE, "--address", "h:1"], "--address h:1: of what?"),
    ],
)
def test_what_does_not_go_together_is_one_line_and_leaves_no_folder(tmp_path, capsys, words, line):
    assert cli([*words, "--run-dir", str(tmp_path / "no")]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert not (tmp_path / "no").exists()


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *more: None if name == "ray" else find(name, *more))
    with pytest.raises(InputError, match=r"pip install 'swingup\[ray\]'"):
        swingup.train(NATIVE, seeds=2, on="ray", run_dir=tmp_path / "no", quiet=True, **SMALL)
    assert not (tmp_path / "no").exists()


def test_a_place_in_a_folder_that_is_none_is_one_line(tmp_path):
    about = {"env": NATIVE, "mode": "process", "seeds": [0], "on": "moon"}
    (tmp_path / "group.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"on is 'moon'"):
        swingup.resume(tmp_path)


def test_a_group_whose_file_is_a_link_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "group").mkdir()
    (tmp_path / "elsewhere.json").write_text("no JSON")
    (tmp_path / "group" / "group.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(InputError, match=r"group\.json: a link"):
        swingup.resume(tmp_path / "group")
    assert cli(["resume", str(tmp_path / "group")]) == 2
