"""Pictures of runs and groups: axes in words, intervals with their names, labelled levels."""

import sys
from pathlib import Path

import numpy as np
import pytest

import swingup
from swingup.reports.curves import COLOURS, Curve
from swingup.reports.learning_curve import draw
from swingup.reports.levels import spread

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


CLOSE = {"goal (final)": 5514.0, "best published: Spinning Up's benchmark data, HalfCheetah-v3": 5579.0}


@pytest.mark.parametrize(
    "levels",
    [CLOSE, {"lowest": 0.0, "highest": 6000.0}, {f"level {k}": 3000.0 + k for k in range(5)}, {"one": 10.0}],
    ids=["close", "at the edges", "five at once", "one"],
)
@pytest.mark.parametrize("size", [(7, 3.6), (6.4, 3.4), (4, 2.5)])
def test_labels_of_levels_overlap_neither_each_other_nor_the_title(levels, size):
    x = np.linspace(0, 100_000, 50)
    figure = draw("a title", [Curve("mean", x, 6000 * x / 100_000)], levels=levels, size=size)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert {text.get_text().replace("\n", " ") for text in axes.texts} == set(levels)
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert not box.overlaps(axes.title.get_window_extent())
    by_level = sorted(axes.texts, key=lambda text: text.xy[1])
    heights = [text.get_window_extent().y0 for text in by_level]
    assert heights == sorted(heights)  # a higher level has the higher label
    if len(levels) == 2:  # and no line runs through a label
        for level in levels.values():
            line = axes.transData.transform((0, level))[1]
            assert not any(box.y0 < line < box.y1 for box in boxes)


@pytest.mark.parametrize(("final", "side"), [(1.04, 0), (0.2, 1)])
def test_labels_stand_where_the_curve_is_not(final, side):
    x = np.linspace(0, 1000, 200)
    (axes,) = draw("a", [Curve("mean", x, final * x)], levels={"published": 1000.0}).axes
    (label,) = axes.texts
    assert label.xy[0] == side


def test_labels_are_spread_as_little_as_possible():
    np.testing.assert_allclose(spread([0, 10, 30], [5, 5, 5], 0, 100), [0, 10, 30])
    np.testing.assert_allclose(spread([10, 10, 50], [4, 9, 4], 0, 100), [8, 12, 50])
    np.testing.assert_allclose(spread([95, 95.5], [4, 4], 0, 100), [92, 96])
    np.testing.assert_allclose(spread([1, 1], [4, 2], 0, 100), [0, 4])
    np.testing.assert_allclose(spread([5, 5, 5], [4, 4, 4], 0, 4), [0, 4, 8])


def test_a_long_label_is_broken_into_lines_and_leaves_the_axes_their_size():
    x = np.linspace(0, 1000, 20)
    curves = [Curve("mean", x, x)]
    figures = [draw("a", curves, levels={name: 800.0}) for name in ("short", "a long name " * 20)]
    for figure in figures:
        figure.draw_without_rendering()
    short, long = (figure.axes[0].get_window_extent().bounds for figure in figures)
    np.testing.assert_allclose(short, long)
    (label,) = figures[1].axes[0].texts
    assert "\n" in label.get_text()
    assert label.get_window_extent().width <= short[2]
