"""Pictures of runs and groups: axes in words, intervals with their names, labelled levels."""

import sys
from pathlib import Path

import numpy as np
import pytest

import swingup
from swingup.reports.curves import COLOURS, Curve
from swingup.reports.learning_curve import draw

sys.path.append(str(Path(__file__).parent.parent / "runs"))
from made import make_group, make_run


def words(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_run_has_its_training_raw_and_smoothed_and_its_evaluations_with_their_interval(tmp_path):
    (axes,) = swingup.load(make_run(tmp_path / "run")).plot({"RL Zoo": -190.0}).axes
    said = words(axes)
    assert "one training episode, with exploration" in said
    assert "training return, mean of 5" in said
    assert {"greedy evaluation", "95 % interval over episodes"} <= set(said)
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == (
        "environment steps",
        "return",
        "Pendulum-v1",
    )
    assert "RL Zoo" in [text.get_text() for text in axes.texts]
    assert -190.0 in [line.get_ydata()[0] for line in axes.lines]


def test_a_group_has_its_seeds_thin_and_their_mean_in_the_colour_of_results(tmp_path):
    group = swingup.Group(make_group(tmp_path / "group"))
    (axes,) = group.plot().axes
    assert words(axes) == ["95 % bootstrap interval over 5 seeds", "interquartile mean of 5 seeds"]
    assert len(axes.lines) == 6
    assert axes.lines[-1].get_color() == COLOURS[0]
    assert axes.lines[-1].get_linewidth() > axes.lines[0].get_linewidth()


@pytest.mark.parametrize(("steps", "said"), [(1_000_000, "0.5M"), (5_000, "2,500"), (80_000, "40k")])
def test_steps_on_the_axis_are_short(steps, said):
    x = np.linspace(0, steps, 3)
    (axes,) = draw("a", [Curve("b", x, x)]).axes
    assert axes.xaxis.get_major_formatter()(steps / 2) == said
