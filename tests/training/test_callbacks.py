"""Callbacks: what they are told in which order, what survives a resume, what their errors cost."""

import numpy as np
import pytest

import swingup
from swingup.reports.progress import Lines
from swingup.storage import checkpoint_reader

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


class Notes(swingup.Callback):
    """Writes down what it is told, and counts iterations across resumes."""

    def __init__(self):
        self.told, self.count, self.sums = [], 0, np.zeros(2)

    def on_start(self, run):
        self.run = run
        self.told.append(("start", run.step, run.resumed))

    def on_iteration(self, result):
        self.count += 1
        self.sums += (result.step, 1)
        self.told.append(("iteration", result.step))

    def on_episode(self, episode):
        self.told.append(("episode", episode.number))

    def on_evaluation(self, step, evaluation):
        self.told.append(("evaluation", step))

    def on_checkpoint(self, step, path):
        assert checkpoint_reader.load(path.parent, step).step == step  # it is durable by now
        self.told.append(("checkpoint", step))

    def on_end(self, run):
        self.told.append(("end", run.step))

    def state(self):
        return {"count": self.count, "sums": self.sums}

    def restore(self, state):
        self.count, self.sums = state["count"], state["sums"]


def test_a_callback_is_told_everything_in_its_order(tmp_path):
    notes = Notes()
    swingup.train("Pendulum-v1", callbacks=[notes], run_dir=tmp_path / "run", **SMALL)
    assert notes.told[0] == ("start", 0, False)
    assert notes.told[-1] == ("end", 120)
    assert [x[1] for x in notes.told if x[0] == "iteration"] == list(range(1, 121))
    assert [x[1] for x in notes.told if x[0] == "episode"] == list(range(6))
    i = notes.told.index(("iteration", 60))
    assert notes.told[i + 1 : i + 4] == [("episode", 2), ("evaluation", 60), ("checkpoint", 60)]
    assert notes.run.settings["hidden"] == (8, 8)
    assert notes.run.policy()(np.zeros(3)).shape == (1,)


def test_what_a_callback_keeps_survives_a_resume(tmp_path):
    swingup.train("Pendulum-v1", callbacks=[Notes(), Notes()], run_dir=tmp_path / "run", **SMALL)
    again, other = Notes(), Notes()
    swingup.resume(tmp_path / "run", 180, callbacks=[again, other], quiet=True)
    assert again.told[0] == ("start", 120, True)
    assert (again.count, other.count) == (180, 180)
    np.testing.assert_array_equal(again.sums, [sum(range(181)), 180])


@pytest.mark.parametrize("env", ["Pendulum-v1", "native/Pendulum-v1"])
def test_a_callback_ends_a_run_with_its_closing_evaluation_and_its_reason(env, tmp_path):
    class Enough(Notes):
        def on_evaluation(self, step, evaluation):
            super().on_evaluation(step, evaluation)
            self.run.stop("good enough")

    notes = Enough()
    run = swingup.train(env, callbacks=[notes], run_dir=tmp_path / "run", **SMALL)
    assert run.result["stopped"] == "good enough"
    assert run.result["steps"] == 60
    assert [x for x in notes.told if x[0] == "evaluation"] == [("evaluation", 60), ("evaluation", 60)]


@pytest.mark.parametrize("env", ["Pendulum-v1", "native/Pendulum-v1"])
def test_an_error_of_a_users_callback_ends_the_run_with_policy_and_checkpoint(env, tmp_path):
    class Faulty(swingup.Callback):
        def on_iteration(self, result):
            if result.step == 70:
                raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        swingup.train(env, callbacks=[Faulty()], run_dir=tmp_path / "run", **SMALL)
    assert "policy and checkpoint of step" in caught.value.__notes__[0]
    saved = checkpoint_reader.load(tmp_path / "run" / "ckpt")
    assert saved.step >= 70
    assert swingup.load(tmp_path / "run").policy(np.zeros(3)).shape == (1,)
    whole = swingup.train(env, run_dir=tmp_path / "whole", **SMALL)
    mended = swingup.resume(tmp_path / "run", quiet=True)
    assert mended.result["mean"] == whole.result["mean"]
    np.testing.assert_array_equal(mended.episodes["return"], whole.episodes["return"])


def test_an_error_of_one_of_ours_costs_a_warning(tmp_path, monkeypatch, capsys):
    def broken(self, step, evaluation):
        raise ValueError("no [room] left")

    monkeypatch.setattr(Lines, "on_evaluation", broken)
    run = swingup.train("Pendulum-v1", run_dir=tmp_path / "run", **SMALL | {"quiet": False})
    assert run.result["steps"] == 120
    assert "Lines failed (ValueError: no [room] left); training goes on without it" in " ".join(
        capsys.readouterr().err.split()
    )
