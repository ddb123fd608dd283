"""The progress bar: whole numbers at every width of the terminal."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from swingup.reports.progress import Bar, fitted


def shown(width, steps, ret, greedy, episodes=None):
    """The bar's line after an evaluation, half way through a run at 20,000 steps a second."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    bar = Bar(console, steps, episodes)
    bar.recent.append(ret)
    bar.speed.extend((float(k), 20_000 * k, 10 * k if episodes else 20_000 * k) for k in range(10))
    bar.on_evaluation(steps // 2, SimpleNamespace(mean=greedy))
    bar.progress.start = bar.progress.stop = lambda: None
    bar.on_iteration(SimpleNamespace(step=steps // 2, episodes=[], metrics=None))
    console.print(bar.progress.get_renderable())
    lines = out.getvalue().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("steps", "ret", "greedy"), [(5_000, -1234.5, -150.2), (1_000_000, 11110.4, 12345.6)]
)
def test_the_bars_numbers_are_whole_at_80_columns_after_an_evaluation(steps, ret, greedy):
    line = shown(80, steps, ret, greedy)
    assert len(line) <= 80
    assert "…" not in line
    for number in (f"{steps // 2:,} / {steps:,} steps", "20,000/s", f"{ret:,.1f}", f"{greedy:,.1f}"):
        assert number in line, line


def test_words_are_whole_where_there_is_room():
    line = shown(140, 1_000_000, 11110.4, 12345.6)
    for words in ("25s left", "20,000 steps/s", "return 11,110.4", "greedy 12,345.6", "0 episodes"):
        assert words in line, line


@pytest.mark.parametrize("width", range(20, 141, 7))
def test_no_width_cuts_a_number(width):
    parts = [("", "2h05m", " left"), ("", "1,234", " steps/s"), ("return ", "-1,234.5", "")]
    text = fitted(parts, width)
    assert len(text) <= width
    figures = [x.strip() for x in text.split("·")] if text else []
    assert all(any(number in figure for _, number, _ in parts) for figure in figures)
