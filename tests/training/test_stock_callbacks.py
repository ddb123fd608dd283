"""The callbacks that are shipped, the ones that settings name, and those of `DDPG.learn`."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import swingup
from swingup.cli.main import run as cli
from swingup.errors import InputError
from swingup.loops.evaluation import Evaluation
from swingup.storage import trusted_modules

SMALL = {
    "steps": 120,
    "warmup": 40,
    "hidden": (8, 8),
    "batch": 8,
    "episode_steps": 20,
    "eval_every": 60,
    "eval_episodes": 1,
    "final_episodes": 1,
    "quiet": True,
}
FLAGS = "--steps 120 --warmup 40 --hidden 8 8 --batch 8 --episode-steps 20 --eval-every 60 --threads 2 "
FLAGS += "--eval-episodes 1 --final-episodes 1 --quiet"
MINE = """
import swingup

class Counter(swingup.Callback):
    made = []

    def __init__(self):
        self.count = 0
        self.made.append(self)

    def on_iteration(self, result):
        self.count += 1

    def state(self):
        return {"count": self.count}

    def restore(self, state):
        self.count = state["count"]

def enough(result):
    return result.step < 70
"""


def heard(callback, means, again=None):
    """After which of these evaluations it stops a run, and why; it is exchanged for `again` in between."""
    reasons = []
    run = SimpleNamespace(stop=reasons.append)
    callback.on_start(run)
    for k, mean in enumerate(means):
        if again is not None and k == len(means) // 2:
            again.restore(callback.state())
            callback = again
            callback.on_start(run)
        callback.on_evaluation(k, Evaluation((mean,), (1,)))
        if reasons:
            return k, reasons[0]
    return None


def test_a_run_stops_at_a_return_that_lasts():
    stop = swingup.StopOnReturn
    assert heard(stop(5), [1, 4.9, 5, 3]) == (2, "the return 5.0 is at least 5.0")
    assert heard(stop(5, 2), [6, 4, 6, 7]) == (3, "the return 7.0 is at least 5.0 in 2 evaluations")
    assert heard(stop(5, 2), [1, 6, 7, 1], again=stop(5, 2))[0] == 2
    assert heard(stop(5, 3), [6, 6, 1, 6]) is None
    with pytest.raises(InputError, match="expected a number, and 1 or more"):
        stop(5, 0)


def test_a_run_stops_where_it_no_longer_improves():
    stop = swingup.StopOnNoImprovement
    assert heard(stop(2), [1, 3, 2, 3, 9]) == (3, "the last 2 evaluations were not better than 3.0")
    assert heard(stop(2), [1, 3, 2, 3, 9], again=stop(2))[0] == 3
    assert heard(stop(2), [1, 0, 2, 1, 3]) is None
    with pytest.raises(InputError, match="expected 1 evaluation or more"):
        stop(0)


def test_a_stopped_run_says_why_and_one_killed_before_its_result_still_stops(tmp_path, capsys):
    folder = tmp_path / "run"
    assert cli(f"train Pendulum-v1 {FLAGS} --stop-return -9e3 --run-dir {folder}".split()) == 0
    result = swingup.load(folder).result
    assert result["steps"] == 60
    assert f"(stopped: {result['stopped']})" in capsys.readouterr().out
    assert "is at least -9,000.0" in result["stopped"]
    (folder / "result.json").unlink()  # as if killed in its closing evaluation
    again = swingup.resume(folder, quiet=True).result
    assert {k: again[k] for k in ("steps", "mean", "stopped")} == {
        k: result[k] for k in ("steps", "mean", "stopped")
    }
    assert swingup.resume(folder, quiet=True).result["steps"] == 120  # asked for: it goes on
    assert "stopped" not in swingup.load(folder).result  # the closing evaluation stops nothing


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's own."""
    (tmp_path / "callbacks_of_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "callbacks_of_mine", raising=False)
    yield "callbacks_of_mine"
    sys.modules.pop("callbacks_of_mine", None)


def test_settings_name_callbacks_which_a_resumed_run_has_again(mine, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    flags = f"--callback {mine}:Counter,{mine}:enough --run-dir {folder}"
    assert cli(f"train Pendulum-v1 {FLAGS} {flags}".split()) == 0
    assert swingup.load(folder).result["stopped"] == "enough returned False"
    steps = swingup.load(folder).result["steps"]
    assert steps in (70, 71)  # one more may have been in flight
    monkeypatch.setattr(trusted_modules, "named", set())
    monkeypatch.setattr(trusted_modules, "known", lambda module: False)
    del sys.modules[mine]  # the folder comes from elsewhere
    assert cli(["resume", str(folder)]) == 2
    assert f"its callback '{mine}:Counter' would import the module" in capsys.readouterr().err
    assert cli(["resume", str(folder), "--import", mine, "--quiet"]) == 0
    again = swingup.load(folder).result["steps"]
    assert again in (steps + 1, steps + 2)
    assert sys.modules[mine].Counter.made[-1].count == again


def test_what_is_no_callback_is_one_clear_line(mine):
    train = lambda **more: swingup.train("Pendulum-v1", **SMALL | more)
    with pytest.raises(
        InputError, match=f"--callback {mine}:Conter: the module {mine} has no Conter.*Counter"
    ):
        train(callback=f"{mine}:Conter")
    with pytest.raises(InputError, match="importing the module nowhere_at_all failed"):
        train(callback="nowhere_at_all:X")
    with pytest.raises(InputError, match="expected module:Name"):
        train(callback="Counter")
    with pytest.raises(InputError, match=r"callbacks: 3 is no callback; give a swingup.Callback"):
        train(callbacks=[3])
    with pytest.raises(InputError, match="StopOnReturn cannot be made without arguments; give an object"):
        train(callbacks=swingup.StopOnReturn)
    with pytest.raises(InputError, match="these are for a single run"):
        train(callbacks=[swingup.Callback()], seeds=2)
    with pytest.raises(InputError, match="has a column 'q_max' already"):
        train(callbacks=swingup.CsvColumns(q_max=lambda result: 0.0))


@pytest.mark.slow
def test_own_numbers_stand_beside_ours_and_survive_a_resume(tmp_path):
    def columns():
        cost = lambda result: float(np.square(result.rows[..., 3]).mean())
        return swingup.CsvColumns(
            effort=cost, ended=lambda r: len(r.episodes) or np.nan, never=lambda r: np.nan
        )

    effort = []
    note = lambda result: effort.append(float(np.square(result.rows[..., 3]).mean()))
    settings = SMALL | {"steps": 1100, "eval_every": 700}
    whole = swingup.train("Pendulum-v1", callbacks=[columns(), note], run_dir=tmp_path / "whole", **settings)
    table = whole.metrics
    assert table["step"].tolist() == [500, 1000, 1100]
    means = [np.mean(effort[a:b]) for a, b in ((0, 500), (500, 1000), (1000, 1100))]
    np.testing.assert_allclose(table["effort"], means, rtol=1e-6)
    np.testing.assert_array_equal(table["ended"], 1)
    assert np.isnan(table["never"]).all()
    run = swingup.train(
        "Pendulum-v1", callbacks=columns(), run_dir=tmp_path / "run", **settings | {"steps": 700}
    )
    resumed = swingup.resume(run.folder, 1100, callbacks=columns(), quiet=True).metrics
    for name in ("step", "effort", "ended", "q_max"):
        np.testing.assert_array_equal(resumed[name], table[name])
    less = swingup.resume(run.folder, 1300, callbacks=swingup.CsvColumns(new=len), quiet=True).metrics
    assert "new" not in less
    assert np.isnan(less["effort"][-1])
    assert less["step"][-1] == 1300


@pytest.mark.slow
def test_policies_are_those_of_the_very_step_also_where_a_loop_computes_ahead(tmp_path):
    env, settings = "native/Pendulum-v1", SMALL | {"eval_every": 1000}
    run = swingup.train(env, callbacks=swingup.SaveEvery(35), run_dir=tmp_path / "run", **settings)
    there = sorted(path.name for path in (run.folder / "policy").glob("step-*"))
    assert there == ["step-105.safetensors", "step-35.safetensors", "step-70.safetensors"]
    short = swingup.train(env, run_dir=tmp_path / "short", **settings | {"steps": 70})
    saved = (run.folder / "policy" / "step-70.safetensors").read_bytes()
    assert saved == (short.folder / "policy" / "last.safetensors").read_bytes()


def test_learn_tells_callbacks_and_stops_where_a_function_says_so(tmp_path):
    settings = {k: v for k, v in SMALL.items() if k in ("warmup", "hidden", "batch", "episode_steps")}
    steps, model = [], swingup.DDPG("Pendulum-v1", threads=2, **settings)

    class Episodes(swingup.Callback):
        count = 0

        def on_episode(self, episode):
            self.count += 1

    episodes, saves = Episodes(), swingup.SaveEvery(50, tmp_path)
    told = lambda result: steps.append(result.step) or result.step < 55
    model.learn(80, callback=[episodes, saves, told])
    assert steps[-1] in (55, 56)  # one more may have been in flight
    assert episodes.count == 2
    assert (tmp_path / "step-50.safetensors").is_file()
    before = model.loop.steps
    model.learn(10, callback=lambda result: None)
    assert model.loop.steps == before + 10
    with pytest.raises(InputError, match=r"StopOnReturn.on_evaluation would never be called"):
        model.learn(10, callback=swingup.StopOnReturn(0.0))
    with pytest.raises(InputError, match=r"there is no metrics.csv here"):
        model.learn(10, callback=swingup.CsvColumns(x=len))
