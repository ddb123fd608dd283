"""Returns are written so that none of their digits that matter is lost."""

import io
import sys

import pytest

from swingup.loops.evaluation import Evaluation
from swingup.reports.progress import Lines, console_of
from swingup.reports.wording import interval, number
from swingup.runs.run import closing, figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1234.56, "-1,234.6"),
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (1.0, "1.0"),
        (-0.00123, "-0.00123"),
        (0.96, "1.0"),
    ],
)
def test_small_returns_keep_their_digits(value, text):
    assert number(value) == text


def test_one_episode_has_no_interval_in_any_line(capsys, tmp_path):
    one, two = Evaluation((-0.001,), (9,)), Evaluation((-0.001, -0.002), (9, 9))
    lines = Lines(console_of(quiet=False), every_episode=False)
    lines.on_evaluation(100, one)
    assert capsys.readouterr().err == "greedy after 100 steps: -0.001\n"
    lines.on_evaluation(200, two)
    assert "(95 % interval -0.00785 to 0.00485, 2 episodes)" in capsys.readouterr().err
    assert interval(one.ci95) == ""
    assert "return -0.001 (1 greedy episode)" in closing(figures(one, tmp_path, 1.0), "Env")
    assert "return -0.0015 (95 % interval -0.00785 to" in closing(figures(two, tmp_path, 1.0), "Env")


class Refusing(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    flush = isatty = lambda self: self.write("")


@pytest.mark.parametrize(
    "error", [OSError(28, "full"), BrokenPipeError(), ValueError("closed file")], ids=repr
)
@pytest.mark.parametrize("gone", [False, True])
def test_a_closed_or_full_stderr_costs_a_line_and_not_the_run(monkeypatch, error, gone):
    console = console_of(quiet=False)
    monkeypatch.setattr(sys, "stderr", None if gone else Refusing(error))
    console.print("lost")
