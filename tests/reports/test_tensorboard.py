"""What TensorBoard shows of a run besides its curves: what each means, settings with the result, a film."""

import io

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import swingup
from swingup.reports.diagnostics import Figures
from swingup.reports.tags import ABOUT, FIRST
from swingup.training import session

SMALL = {
    "hidden": (8,), "batch": 8, "warmup": 50, "capacity": 500, "threads": 2, "eval_every": 300,
    "eval_episodes": 1, "final_episodes": 1, "quiet": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A filmed run of three episodes, long enough for a row of metrics."""
    folder = tmp_path_factory.mktemp("board") / "run"
    return swingup.train("Pendulum-v1", steps=600, **SMALL, gamma=0.9, record=True, run_dir=folder)


@pytest.fixture(scope="module")
def board(recorded):
    return EventAccumulator(str(recorded.folder), size_guidance={"scalars": 0}).Reload()


def hparams(folder):
    """What the HParams tab reads: its messages by tag, the newest of each."""
    try:
        found = EventAccumulator(str(folder)).Reload().PluginTagToContent("hparams")
    except KeyError:  # of a folder without any
        return {}
    return {tag: HParamsPluginData.FromString(content) for tag, content in found.items()}


def test_every_curve_says_what_it_means(board):
    shown = {tag: board.SummaryMetadata(tag).summary_description for tag in board.Tags()["scalars"]}
    assert {f"health/{name}" for name in Figures._fields} <= set(shown)
    assert shown == {tag: ABOUT[tag] for tag in shown}
    assert all(text.endswith(".") for text in shown.values())


def test_a_description_is_written_once_a_file_and_again_after_a_resume(tmp_path):
    run = swingup.train("Pendulum-v1", steps=500, **SMALL, run_dir=tmp_path / "run")
    size = lambda: sum(
        p.read_bytes().count(ABOUT["health/td_error"].encode()) for p in run.folder.glob("ev*")
    )
    assert size() == 1
    swingup.resume(run.folder, 1100, quiet=True)
    assert size() == 2


def test_the_curves_that_one_looks_for_first_stand_before_the_tutorials(board):
    groups = sorted(
        {tag.split("/")[0] for tag in board.Tags()["scalars"]}
    )  # by code point, as TensorBoard does
    assert groups[:3] == ["Overview", "Qmax_value", "Reward"]
    for tag, first in FIRST.items():
        points = lambda name: [(x.step, x.value) for x in board.Scalars(name)]
        assert points(first) == points(tag) != []


def test_the_hparams_tab_has_the_settings_and_the_closing_evaluation(recorded, board):
    found = hparams(recorded.folder)
    values = found["_hparams_/session_start_info"].session_start_info.hparams
    assert values["gamma"].number_value == 0.9
    assert (values["env"].string_value, values["hidden"].string_value) == ("Pendulum-v1", "8")
    assert "delay" not in values  # the default
    (metric,) = found["_hparams_/experiment"].experiment.metric_infos
    last = board.Scalars(metric.name.tag)[-1]
    assert (last.step, last.value) == (600, np.float32(recorded.result["mean"]))


def test_without_evaluations_the_metric_is_the_training_return(tmp_path):
    run = swingup.train("Pendulum-v1", steps=600, **SMALL, eval_env="none", run_dir=tmp_path / "run")
    (metric,) = hparams(run.folder)["_hparams_/experiment"].experiment.metric_infos
    assert metric.name.tag == "rollout/ep_rew_mean"


def test_settings_are_shown_once_a_run_has_ended_and_once_only(tmp_path):
    class Fault(swingup.Callback):
        def on_iteration(self, result):
            if result.step == 250:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swingup.train(
            "Pendulum-v1", steps=300, **SMALL, save_every=200, run_dir=tmp_path / "run", callbacks=[Fault()]
        )
    assert hparams(tmp_path / "run") == {}
    swingup.resume(tmp_path / "run", quiet=True)
    swingup.resume(tmp_path / "run", 400, quiet=True)
    events = b"".join(path.read_bytes() for path in (tmp_path / "run").glob("events*"))
    assert events.count(b"_hparams_/experiment") == 1
    steps = hparams(tmp_path / "run")["_hparams_/session_start_info"].session_start_info.hparams["steps"]
    assert steps.number_value == 400


def test_record_shows_the_closing_evaluations_first_episode(recorded, board):
    from PIL import Image

    (shown,) = board.Images("eval/video")
    picture = Image.open(io.BytesIO(shown.encoded_image_string))
    assert (shown.step, picture.format) == (600, "GIF")
    assert (shown.width, shown.height) == picture.size == (240, 240)
    assert 60 < picture.n_frames <= 101  # equal neighbours are one frame, shown longer
    assert len(shown.encoded_image_string) < 500_000
    assert (recorded.folder / "videos" / "eval-last-seed0-0.mp4").is_file()


@pytest.mark.slow
def test_a_film_that_fails_is_one_line_and_an_only_environment_is_not_filmed(tmp_path, monkeypatch, capsys):
    def broken(path):
        raise OSError("no space\nleft")

    monkeypatch.setattr("swingup.reports.gif.gif", broken)
    short = SMALL | {"quiet": False, "eval_every": 1000}
    run = swingup.train("Pendulum-v1", steps=100, **short, record=True, run_dir=tmp_path / "a")
    assert run.result["steps"] == 100
    assert capsys.readouterr().err.count("was not filmed (no space left)") == 1
    monkeypatch.setattr(session, "film_closing", lambda *given: 1 / 0)
    swingup.train("Pendulum-v1", steps=100, **short, record=True, eval_env="same", run_dir=tmp_path / "b")
