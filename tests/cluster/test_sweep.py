"""Sweeps: spaces, trials that several processes share, pruning, kills, and the preset file at the end."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from swingup.cli.main import run as cli
from swingup.cluster import space, study, sweep, sweep_report, trial
from swingup.config.presets import base
from swingup.config.settings import Config
from swingup.errors import Diverged, InputError
from swingup.reports.callback import Callback
from swingup.training.build import RunBuilder
from swingup.training.options import Options
from swingup.training.signals import StopRequest

optuna = pytest.importorskip("optuna")

NATIVE = "native/Pendulum-v1"
SMALL = {
    "steps": 300, "warmup": 100, "hidden": (8,), "batch": 16, "capacity": 400, "eval_every": 100,
    "eval_episodes": 1, "final_episodes": 1, "threads": 2,
}  # fmt: skip
SPACE = "[actor_lr]\nlow = 1e-4\nhigh = 1e-2\nlog = true\n[hidden]\nchoices = [[8], [8, 8]]\n"


@pytest.fixture
def begun(tmp_path):
    """A function that begins a sweep in a folder of its own."""

    def begin(**wanted):
        (tmp_path / "space.toml").write_text(SPACE)
        builder = RunBuilder(Config(env=NATIVE, preset="ddpg", **SMALL))
        asked = {"space": str(tmp_path / "space.toml"), "trials": 2, "seeds": (0, 1), "prune": True}
        what = sweep.Wanted(**{**asked, "storage": "", **wanted})
        folder = sweep.begin(builder, what, Options(tmp_path / "sweep", quiet=True), "swingup sweep")
        return study.SweepFolder(folder)

    return begin


@pytest.mark.parametrize("name", ["ddpg", "td3"])
def test_the_spaces_of_the_package_hold_usable_settings(name):
    found = space.read_space(name, Config(env=NATIVE))
    assert space.parse_space(json.loads(json.dumps(space.as_tables(found))), "x", Config()) == found
    assert {"actor_lr", "critic_lr"} <= {d.name for d in found}


def test_the_space_is_that_of_the_algorithm():
    names = lambda **given: {d.name for d in space.read_space("auto", Config(env=NATIVE, **given))}
    assert names(critics=2) - names() == {"delay", "smoothing"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it names no setting"),
        ("[gama]\nlow=0.1\nhigh=0.2", "did you mean gamma?"),
        ("[seed]\nchoices=[1,2]", "seed is the same in all trials"),
        ("[gamma]\nlow=0.1", "needs low, high"),
        ("[gamma]\nlow=0.9\nhigh=0.1", "the smaller first"),
        ("[gamma]\nlow=0.9\nhigh=1.5", "expected a number from 0 to 1"),
        ("[actor_lr]\nlow=0\nhigh=1\nlog=true", "a logarithmic scale has no zero"),
        ("[hidden]\nlow=8\nhigh=16", "[hidden] needs choices"),
        ("[hidden]\nchoices=[[8], ['x']]", "hidden = ['x'] is not a list of whole numbers"),
        ("[noise]\nchoices=['ou', 'white']", "expected gaussian, ou, pink or decay"),
        ("[gamma", "cannot be read as TOML"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_line(tmp_path, text, said):
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(said)) as error:
        space.read_space(str(tmp_path / "space.toml"), Config(env=NATIVE))
    assert "\n" not in str(error.value)


def test_a_trial_belongs_to_one_process_and_is_taken_up_again_when_that_has_gone(begun):
    found = begun(trials=2)
    first = found.claim(found.study())
    chosen = found.settings(first.trial)
    second = found.claim(found.study())
    assert (first.trial.number, second.trial.number) == (0, 1)
    assert found.settings(second.trial) != chosen
    assert found.claim(found.study()) is None
    first.release()  # as the end of its process does
    again = found.claim(found.study())
    assert again.trial.number == 0
    assert found.settings(again.trial) == chosen


def test_the_same_seed_samples_the_same_trials(begun, tmp_path):
    def draw():
        found = begun(trials=3)
        store, settings = found.study(), []
        for _ in range(3):
            claim = found.claim(store)
            settings.append(found.settings(claim.trial))
            store.tell(claim.trial, sum(settings[-1]["hidden"]))
            claim.release()
        return settings

    one = draw()
    (tmp_path / "sweep").rename(tmp_path / "before")
    assert draw() == one


def test_half_a_line_of_a_killed_writer_is_dropped(begun):
    found = begun()
    found.claim(found.study()).release()
    path = found.folder / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"wor')
    assert len(found.study().trials) == 1
    lines = path.read_bytes().splitlines()
    assert lines[: len(whole.splitlines())] == whole.splitlines()
    assert all(json.loads(line) for line in lines)


def test_a_database_url_is_kept_without_its_password(begun, monkeypatch, tmp_path):
    monkeypatch.setenv("WHERE", str(tmp_path))
    found = begun(storage="sqlite:///$WHERE/trials.db")
    found.claim(found.study()).release()
    assert (tmp_path / "trials.db").exists()
    assert "$WHERE" in (found.folder / "sweep.json").read_text()
    assert len(found.study().trials) == 1
    (tmp_path / "sweep").rename(tmp_path / "before")
    with pytest.raises(InputError, match=r"--storage nonsense://x: it cannot be opened"):
        begun(storage="nonsense://x").study()


class Seen(Callback):
    def __init__(self, means):
        self.means = means


def test_a_trial_is_pruned_by_the_mean_of_its_seeds_at_a_step_that_all_have_reached():
    store = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0)
    )
    good = store.ask()
    assert not trial.report(good, [Seen({100: 0.0}), Seen({100: 10.0})])
    assert store.trials[0].intermediate_values == {100: 5.0}
    store.tell(good, 5.0)
    poor = store.ask()
    assert not trial.report(poor, [Seen({100: 1.0}), Seen({})])
    assert trial.report(poor, [Seen({100: 1.0}), Seen({100: 2.0})])
    assert not trial.report(poor, [Seen({100: 1.0}), Seen({100: 2.0})])  # told once


@pytest.mark.slow
def test_a_sweep_trains_its_trials_and_writes_a_file_that_train_takes(begun):
    found, lines = begun(trials=2, prune=False), []
    trial.work(found, StopRequest(), lambda number, text: lines.append(text))
    store = found.study()
    outcome = sweep_report.outcome(found, store, 1.0)
    assert outcome["trials"]["complete"] == 2
    assert sweep.unfinished(outcome, found.trials) == 0
    results = [json.loads((found.path(0) / f"seed-{k}" / "result.json").read_text()) for k in (0, 1)]
    assert store.trials[0].value == pytest.approx(sum(r["mean"] for r in results) / 2)
    assert sorted(store.trials[0].intermediate_values) == [100, 200, 300]
    assert not list(found.folder.rglob("ckpt"))
    sweep_report.write_preset(found, outcome)
    config = base("", "auto", found.folder / "best.toml")
    best = outcome["best"]["settings"]
    assert (config.env, config.steps, config.actor_lr) == (NATIVE, 300, best["actor_lr"])
    assert config.hidden == tuple(best["hidden"])
    assert set(outcome["importance"]) <= {"actor_lr", "hidden"}
    assert any("swingup train --config" in line for line in sweep_report.lines(outcome, NATIVE))
    from swingup.runs.group import Group  # a trial is a group, which eval and compare read

    assert Group(found.path(0)).unfinished == []


def test_an_interrupted_trial_stays_open_and_goes_on_from_its_checkpoints(begun, monkeypatch):
    found, stop = begun(trials=1, seeds=(0,)), StopRequest()
    seen = trial.Evaluations.on_evaluation

    def interrupt(self, step, evaluation):
        seen(self, step, evaluation)
        stop.signalled = True

    monkeypatch.setattr(trial.Evaluations, "on_evaluation", interrupt)
    trial.work(found, stop, lambda *_: None)
    assert [t.state.name for t in found.study().trials] == ["RUNNING"]
    monkeypatch.undo()
    trial.work(found, StopRequest(), lambda *_: None)
    (done,) = found.study().trials
    assert done.state.name == "COMPLETE"
    assert sorted(done.intermediate_values) == [100, 200, 300]


@pytest.mark.parametrize(("error", "state"), [(Diverged, "PRUNED"), (InputError, "FAIL")])
def test_a_trial_that_cannot_be_trained_is_recorded_with_its_reason(begun, monkeypatch, error, state):
    found = begun(trials=1)

    def fail(*_):
        raise error("the reason")

    monkeypatch.setattr(trial, "play_seeds", fail)
    trial.work(found, StopRequest(), lambda *_: None)
    (done,) = found.study().trials
    assert (done.state.name, done.user_attrs["error"]) == (state, "the reason")
    outcome = sweep_report.outcome(found, found.study(), 1.0)
    assert outcome["failed"] == ({"0": "the reason"} if state == "FAIL" else {})
    assert outcome["best"] is None
    assert "no trial finished" in sweep_report.lines(outcome, NATIVE)[0]


def test_values_without_one_in_toml_come_back(tmp_path):
    values = {"grad_clip": None, "hidden": (8, 8), "noise": "ou", "actor_lr": 1e-05, "uniform": False}
    path = tmp_path / "best.toml"
    path.write_text("".join(f"{k} = {sweep_report.toml(v)}\n" for k, v in values.items()))
    config = base(NATIVE, "ddpg", path)
    assert {k: getattr(config, k) for k in values} == values


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "sweep: which environment?"),
        (["Pendulum-v1", "--space", "td4"], "--space td4: no such search space; did you mean td3?"),
        (["Pendulum-v1", "--trials", "0"], "--trials 0: expected a number"),
        (["Pendulum-v1", "--seeds", "x"], "--seeds x: expected a count"),
        (["Pendulm-v1"], "did you mean"),
        (["Pendulum-v1", "--resume"], "--resume: of which sweep?"),
        (["Pendulum-v1", "--trails", "3"], "did you mean --trials?"),
    ],
)
def test_mistakes_of_the_command_are_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli(["sweep", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'swingup\[sweep\]'"):
        study.load_optuna()


def test_a_folder_that_is_none_is_one_line(tmp_path):
    (tmp_path / "sweep.json").write_text('{"settings": {}, "space": {}}')
    with pytest.raises(InputError, match=r"sweep\.json"):
        study.SweepFolder(tmp_path)


def test_more_trials_are_added_to_a_sweep(begun):
    found = begun(trials=2)
    sweep.extend(found.folder, 5)
    sweep.extend(found.folder, 3)
    assert study.SweepFolder(found.folder).trials == 5


def test_of_two_processes_that_begin_a_sweep_at_once_the_second_joins(begun, monkeypatch):
    from swingup.cli import sweep as command

    found = begun()
    monkeypatch.setattr(study, "is_sweep", lambda folder: False)  # it is not there when the command looks
    done = []
    monkeypatch.setattr(command, "finish_sweep", lambda folder, *_: done.append(folder) or 0)
    assert cli(["sweep", NATIVE, "--run-dir", str(found.folder), "--resume"]) == 0
    assert done == [found.folder]
    assert cli(["sweep", NATIVE, "--run-dir", str(found.folder)]) == 2


def states(folder):
    return [t.state.name for t in study.SweepFolder(folder).study().get_trials(deepcopy=False)]


@pytest.mark.cluster
def test_a_sweep_that_is_killed_twice_ends_with_all_trials_and_a_preset_that_solves_the_task(tmp_path):
    folder = tmp_path / "sweep"
    words = ["sweep", NATIVE, "--preset", "pendulum", "--trials", "16", "--seeds", "1", "--jobs", "2"]
    words += ["--eval-episodes", "5", "--final-episodes", "20", "--run-dir", str(folder), "--resume"]
    for ended in (3, 9):
        child = subprocess.Popen([sys.executable, "-m", "swingup", *words], start_new_session=True)
        while not (folder / "sweep.json").exists() or sum(s != "RUNNING" for s in states(folder)) < ended:
            time.sleep(0.5)
            assert child.poll() is None
        workers = [int(p) for p in children(child.pid)]
        for pid in (child.pid, *workers):
            os.kill(pid, signal.SIGKILL)
        child.wait()
        assert "RUNNING" in states(folder)
    assert subprocess.run([sys.executable, "-m", "swingup", *words]).returncode == 0
    found = states(folder)
    assert len(found) == 16
    assert set(found) <= {"COMPLETE", "PRUNED"}
    assert json.loads((folder / "sweep.json").read_text())["result"]["importance"]
    train = ["train", "--config", str(folder / "best.toml"), "--seed", "7", "--json", "--quiet"]
    train += ["--run-dir", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "swingup", *train], capture_output=True, text=True)
    assert json.loads(done.stdout)["mean"] > -200, done.stdout


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return found.stdout.split()


def test_a_sweep_that_is_asked_to_stop_exits_with_75_and_resume_goes_on(capsys):
    found = {"run": "runs/a b", "trials": {"complete": 1}, "failed": {}, "best": None}
    from swingup.cli.output import conclude_sweep

    assert conclude_sweep(found, NATIVE, 3, False) == 75
    assert "3 trials left; go on with: swingup resume 'runs/a b'" in capsys.readouterr().err
    counts = {"complete": 0, "pruned": 0, "fail": 1}
    found |= {"failed": {"1": "why"}, "trials": counts, "importance": {}, "seconds": 1.0, "preset": None}
    assert conclude_sweep(found, NATIVE, 0, False) == 1
    assert "trial 1 failed: why" in capsys.readouterr().err
