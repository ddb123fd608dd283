"""What a run's tables and TensorBoard show is the same, after every interruption."""

import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import swingup
from swingup.cli.main import run as cli
from swingup.reports import metrics_logger
from swingup.reports.event_file import EventFile, cut_events
from swingup.storage import checkpoint_reader
from swingup.storage.checkpoint_writer import Checkpoints
from swingup.training import session

SMALL = {
    "hidden": (8,), "batch": 8, "warmup": 50, "capacity": 500, "threads": 1, "eval_every": 100,
    "save_every": 200, "eval_episodes": 1, "final_episodes": 1, "quiet": True,
}  # fmt: skip
TABLES = ("episodes", "metrics", "evaluations")


class Fault(swingup.Callback):
    """Ends the process at a step as a fault does: without a checkpoint."""

    def __init__(self, at):
        self.at = at

    def on_iteration(self, result):
        if result.step == self.at:
            raise KeyboardInterrupt


@pytest.fixture
def make(counting):
    return lambda: counting(truncate=30)


def faulty(make, folder, at, **settings):
    """A run that ended by a fault."""
    with pytest.raises(KeyboardInterrupt):
        swingup.train(make, **{"steps": 700} | SMALL | settings, run_dir=folder, callbacks=[Fault(at)])
    return folder


def contents(folder):
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def check_board(run):
    board = EventAccumulator(str(run.folder), size_guidance={"scalars": 0}).Reload()
    points = lambda tag: [(x.step, np.float32(x.value)) for x in board.Scalars(tag)]
    table = lambda name, step, value: list(
        zip(getattr(run, name)[step], np.float32(getattr(run, name)[value]), strict=True)
    )
    assert points("Reward") == table("episodes", "episode", "return")
    assert points("Qmax_value") == [x for x in table("episodes", "episode", "q_max") if x[1] == x[1]]
    assert points("eval/mean_reward") == table("evaluations", "step", "mean")
    assert points("time/fps") == table("metrics", "step", "steps_per_second")


@pytest.mark.parametrize("at", [150, 650], ids=["before the first checkpoint", "after one"])
def test_tensorboard_shows_what_the_tables_hold_after_a_fault(make, tmp_path, at):
    folder = faulty(make, tmp_path / "run", at)
    run = swingup.resume(folder, env=make, quiet=True)
    check_board(run)
    assert list(run.metrics["step"]) == [500, 700]
    assert list(run.evaluations["step"]) == [100, 200, 300, 400, 500, 600, 700]
    assert list(run.episodes["episode"]) == list(range(23))


def test_other_peoples_event_files_are_left_alone(tmp_path):
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"theirs")
    first, second = EventFile(tmp_path), EventFile(tmp_path)
    first.scalar("a", 1.0, 0)
    assert first.path != second.path
    assert cut_events(tmp_path, {first.path.name: first.size - 5, "missing": 3})
    assert first.path.stat().st_size == first.size - 5
    assert not second.path.exists()
    first.close()
    second.close()
    assert (tmp_path / "events.out.tfevents.1.host").read_bytes() == b"theirs"


@pytest.mark.parametrize("left", [b"", b"step,epi"], ids=["empty", "half a header"])
def test_tables_that_a_full_disk_left_empty_are_written_on_by_the_resumed_run(make, tmp_path, left):
    folder = faulty(make, tmp_path / "run", 650)
    for name in TABLES:
        (folder / f"{name}.csv").write_bytes(left)
    run = swingup.resume(folder, env=make, quiet=True)
    ends = {name: (getattr(run, name)["step"][0], getattr(run, name)["step"][-1]) for name in TABLES}
    # The checkpoint is that of step 600.
    assert ends == {"episodes": (630, 690), "metrics": (700, 700), "evaluations": (700, 700)}


def test_resuming_a_finished_run_changes_nothing_and_prints_its_result(tmp_path, capsys):
    folder, flags = tmp_path / "run", "--hidden 8 --steps 300 --warmup 100 --batch 8 --final-episodes 1"
    assert cli(["train", "Pendulum-v1", *flags.split(), "--run-dir", str(folder)]) == 0
    line, before = capsys.readouterr().out, contents(folder)
    for again in (["resume", str(folder)], ["train", "Pendulum-v1", "--run-dir", str(folder), "--resume"]):
        assert cli(again) == 0
        said = capsys.readouterr()
        assert said.out == line
        assert "finished at step 300" in said.err
    assert cli(["resume", str(folder), "--steps", "200", "--quiet"]) == 0
    assert contents(folder) == before


def test_a_run_killed_between_its_closing_evaluation_and_its_result_has_one_closing_row(make, tmp_path):
    run = swingup.train(make, steps=500, **SMALL, run_dir=tmp_path / "run")
    before = run.evaluations["step"].tolist()
    (run.folder / "result.json").unlink()
    again = swingup.resume(run.folder, env=make, quiet=True)
    assert again.evaluations["step"].tolist() == before
    assert Counter(before).most_common(1)[0][1] == 1
    check_board(again)


def test_a_refused_resume_changes_no_file(make, tmp_path):
    folder = faulty(make, tmp_path / "run", 250)
    writer = Checkpoints(folder / "ckpt")
    before = contents(folder)
    with pytest.raises(swingup.InputError, match="is writing there"):
        swingup.resume(folder, env=make, quiet=True)
    writer.close()
    assert contents(folder) == before


def test_a_resumed_run_counts_the_seconds_of_all_its_processes(make, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(session.Clock, "seconds", 1000.0)
        folder = faulty(make, tmp_path / "run", 250)
    assert swingup.resume(folder, env=make, quiet=True).result["seconds"] > 1000
    assert checkpoint_reader.load(folder / "ckpt").about["callbacks"]["Clock"]["seconds"] > 1000


def test_steps_per_second_counts_the_time_of_training_alone(counting, tmp_path, monkeypatch):
    clock = itertools.count()
    now = SimpleNamespace(ticks=0)

    class Timed(counting):
        def step(self, action):
            now.ticks = next(clock)
            return super().step(action)

    monkeypatch.setattr(
        metrics_logger, "time", SimpleNamespace(monotonic=lambda: now.ticks / 100, time=lambda: 0)
    )
    run = swingup.train(lambda: Timed(truncate=40), steps=1100, **SMALL, run_dir=tmp_path / "run")
    np.testing.assert_allclose(run.metrics["steps_per_second"], 100, rtol=0.03)


def test_one_evaluation_episode_leaves_the_cells_of_its_spread_empty(make, tmp_path):
    run = swingup.train(make, steps=200, **SMALL, run_dir=tmp_path / "run")
    text = (run.folder / "evaluations.csv").read_text()
    assert "nan" not in text
    assert ",,,," in text
