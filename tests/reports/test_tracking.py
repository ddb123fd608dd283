"""Trackers: what a service is sent, that a resumed run goes on in its record, what a dead one costs."""

import sys
import types
from pathlib import Path

import pytest

import swingup
from swingup.cli.main import run as command
from swingup.reports.tracking import TRACKERS

SMALL = {"steps": 60, "warmup": 20, "batch": 8, "hidden": (8,), "threads": 2, "final_episodes": 1}
SETTINGS = {"env": "Pendulum-v1", "steps": 60, "atoms": None, "hidden": (8,)}


class Service:
    """Stands for the packages wandb, mlflow and trackio: what they were called with, and what fails."""

    def __init__(self, fails=""):
        self.calls, self.fails = [], fails
        self.id = self.name = "record-7"  # of the object that init returns
        self.info = types.SimpleNamespace(run_id="record-7")

    def note(self, what, *given):
        self.calls.append((what, *given))
        if what == self.fails:
            raise RuntimeError("no\nroute <b>")

    def init(self, **given):
        self.note("init", given)
        return self

    def start_run(self, **given):
        return self.init(**given)

    def set_experiment(self, project):
        self.calls.append(("project", project))

    def log_params(self, settings):
        self.calls.append(("params", settings))

    def log(self, points, step):
        self.note("log", points, step)

    def log_metrics(self, points, step, run_id):
        assert run_id == self.id
        self.log(points, step)

    def finish(self):
        self.note("finish")

    def end_run(self):
        self.finish()

    @property
    def sent(self):
        return [(step, points) for what, *given in self.calls if what == "log" for points, step in [given]]


@pytest.fixture
def service(monkeypatch):
    """Puts a service in the place of a package."""

    def put(name, fails=""):
        made, package = Service(fails), types.ModuleType(name)
        package.__spec__ = types.SimpleNamespace(name=name)
        for verb in ("init", "start_run", "set_experiment", "log_params", "log_metrics", "end_run"):
            setattr(package, verb, getattr(made, verb))
        monkeypatch.setitem(sys.modules, name, package)
        return made

    return put


def drive(tracker):
    """Tell a tracker what a run tells it; returns the warnings."""
    said = []
    run = types.SimpleNamespace(folder=Path("runs/one"), settings=SETTINGS, warn=said.append)
    ended = types.SimpleNamespace(ret=-5.0)
    tracker.on_start(run)
    tracker.on_iteration(types.SimpleNamespace(step=20, episodes=[], metrics=None))
    for step in (500, 700, 1000):
        tracker.on_iteration(types.SimpleNamespace(step=step, episodes=[ended], metrics=METRICS))
    tracker.on_evaluation(1000, types.SimpleNamespace(mean=-7.0))
    tracker.on_end(run)
    return said


METRICS = types.SimpleNamespace(critic_loss=1.0, actor_loss=2.0, q_mean=3.0, q_max=4.0)
TRAIN = {"train/critic_loss": 1.0, "train/actor_loss": 2.0, "train/q_mean": 3.0, "train/q_max": 4.0}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_service_is_sent_settings_metrics_and_evaluations(name, service):
    made = service(name)
    assert drive(TRACKERS[name]("p")) == []
    given = next(given for what, given in made.calls if what == "init")
    if name == "mlflow":
        assert made.calls[0] == ("project", "p")
        assert (given["run_name"], given["run_id"]) == ("one", None)
        settings = next(given for what, given in made.calls if what == "params")
    else:
        assert (given["project"], given["name"]) == ("p", "one")
        settings = given["config"]
    assert settings == {"env": "Pendulum-v1", "steps": 60, "hidden": (8,)}
    points = {**TRAIN, "rollout/ep_rew_mean": -5.0}
    assert made.sent == [(700, points), (1000, {"eval/mean_reward": -7.0})]
    assert made.calls[-1] == ("finish",)


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_a_dead_service_is_one_warning(name, fails, service):
    made = service(name, fails)
    (line,) = drive(TRACKERS[name]())
    kind = TRACKERS[name].__name__
    assert line == f"warning: {kind} failed (RuntimeError: no route <b>); training goes on without it"
    assert [what for what, *_ in made.calls].count(fails) == 1


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_one_line_before_the_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    assert command(["train", "Pendulum-v1", "--track", name, "--run-dir", str(tmp_path / "run")]) == 2
    assert f"pip install {name}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_flag_makes_the_callback_and_a_run_with_a_dead_service_ends_well(service, tmp_path, capsys):
    made = service("mlflow", "log")
    words = "--track mlflow --wandb-project-name p --steps 60 --warmup 20 --batch 8 --hidden 8 --threads 2"
    ending = ["--final-episodes", "1", "--run-dir", str(tmp_path / "run")]
    assert command(["train", "Pendulum-v1", *words.split(), *ending]) == 0
    assert capsys.readouterr().err.count("MlflowTracker failed") == 1
    assert made.calls[0] == ("project", "p")
    assert swingup.load(tmp_path / "run").result["steps"] == 60


@pytest.mark.parametrize("name", TRACKERS)
def test_a_record_is_gone_on_with(name, service):
    made, again = service(name), TRACKERS[name]()
    again.restore({"id": "record-7"})
    assert drive(again) == []
    given = next(given for what, given in made.calls if what == "init")
    assert "record-7" in (given.get("id"), given.get("run_id"), given.get("name"))
    assert given.get("resume") in ("allow", None)
    assert not any(what == "params" for what, *_ in made.calls)


def test_a_resumed_run_restores_its_record_and_a_users_tracker_ends_no_run(service, tmp_path):
    service("wandb", "finish")
    first, again = TRACKERS["wandb"](), TRACKERS["wandb"]()
    run = swingup.train("Pendulum-v1", **SMALL, run_dir=tmp_path / "run", quiet=True, callbacks=[first])
    assert first.dead
    made = service("wandb")
    swingup.resume(run.folder, 80, quiet=True, callbacks=[again])
    given = next(given for what, given in made.calls if what == "init")
    assert (given["id"], given["resume"]) == ("record-7", "allow")
