"""docs/results/README.md is what the data and the published figures say, the strongest of them included."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import learning

# Measured with the engine of today; all others are marked.
TODAY = {"invertedpendulum-ddpg", "halfcheetah-ddpg-100k", "halfcheetah-td3-100k"}
PAGE = (learning.RESULTS / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(learning, "draw", lambda chosen, found: f"{chosen.name}.svg")


def test_the_page_is_what_the_script_writes(undrawn, tmp_path, monkeypatch):
    for path in learning.RESULTS.glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(learning, "RESULTS", tmp_path)
    learning.render()
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == PAGE


@pytest.mark.parametrize("chosen", learning.SETS, ids=lambda chosen: chosen.name)
def test_each_figure_stands_beside_the_best_published_one_of_its_metric(chosen, undrawn):
    lines = learning.section(chosen)
    if not learning.measured(chosen):
        assert "Not measured yet." in lines
        return
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.count(" | ") > 3}
    for metric in {p.of for p in chosen.published if p.of} | {"final"}:
        cell = rows[metric].split(" | ")[-1]
        values = [learning.level_of(p) for p in chosen.published if p.of == metric]
        assert cell.startswith("none known" if not values else f"{max(values):,.6g}".rstrip("0"))
    assert any("older engine" in line for line in lines) == (chosen.name not in TODAY)


def test_the_largest_mean_is_over_seeds_and_of_one_evaluation():
    found = {0: np.array([[1, 0.0], [2, 10.0]]), 1: np.array([[1, 8.0], [2, 2.0], [3, 90.0]])}
    assert learning.row("largest mean", found) == ["", "", "6.0", ""]
    assert learning.row("best", found)[:3] == ["10.0", "90.0", "50.0"]


def test_the_strongest_known_ddpg_is_on_the_page():
    (part,) = re.findall(r"## halfcheetah-ddpg-1m\n.*?(?=\n## |\Z)", PAGE, re.S)
    assert re.search(r"\| largest mean \|.*11,719 ± 466 \(Tianshou", part)


def test_every_file_of_data_is_of_a_set(undrawn):
    names = {chosen.name for chosen in learning.SETS} | {"reliability", "demonstrations"}
    unmeasured = {chosen.name for chosen in learning.SETS if "Not measured yet." in learning.section(chosen)}
    assert {path.stem for path in Path(learning.RESULTS).glob("*.csv")} == names - unmeasured
