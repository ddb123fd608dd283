"""Comparing runs: known differences, pairs, intervals, and each reason not to compare."""

import io
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats as scipy_stats

from swingup.cli.commands import Compare
from swingup.cli.flags import parse
from swingup.config.settings import Config
from swingup.errors import InputError
from swingup.runs.compare import compare
from swingup.runs.compare_report import report, show
from swingup.storage.run_folder import write_settings
from swingup.storage.tables import append_csv
from swingup.storage.text_file import write

A, B = [-160.0, -150.0, -155.0, -170.0, -140.0], [-150.0, -145.0, -150.0, -150.0, -130.0]


def make(
    folder, mean, seed=0, evaluations=(), env="Pendulum-v1", std=80.0, episodes=100, steps=30_000, **settings
):
    """A finished run's folder, with these mean returns of its evaluations before the closing one."""
    folder.mkdir(parents=True)
    write_settings(folder, asdict(Config(env=env, seed=seed, steps=steps, **settings)), "swingup train")
    means = [*evaluations, mean]
    for k, value in enumerate(means, 1):
        row = {
            "step": steps * k // len(means),
            "mean": value,
            "std": std,
            "ci95_low": value,
            "ci95_high": value,
            "episodes": 10,
        }
        append_csv(folder / "evaluations.csv", [row])
    ci95 = None if std is None else [mean - 1, mean + 1]
    result = {
        "mean": mean,
        "std": std,
        "ci95": ci95,
        "episodes": episodes,
        "steps": steps,
        "seconds": 1.0,
        "run": str(folder),
    }
    write(folder / "result.json", json.dumps(result))
    return folder


def group(folder, means, seeds=None, **settings):
    for seed, mean in zip(seeds or range(len(means)), means, strict=True):
        make(folder / str(seed), mean, seed, **settings)
    return folder


def printed(comparison, width=80):
    out = io.StringIO()
    show(comparison, Console(file=out, width=width, color_system=None, highlight=False))
    return out.getvalue()


@pytest.fixture
def pair(tmp_path):
    return group(tmp_path / "a", A), group(tmp_path / "b", B)


# Seeds in pairs


def test_paired_seeds_by_hand(pair):
    c = compare(*pair)
    assert (c.method, c.env, c.metric, c.better, c.warnings) == ("paired", "Pendulum-v1", "final", "B", ())
    assert [row["difference"] for row in c.rows] == [10, 5, 5, 20, 10]
    assert [(row["seed"], row["a"], row["b"]) for row in c.rows] == [(k, A[k], B[k]) for k in range(5)]
    assert (c.a.mean.value, c.b.mean.value, c.difference.value) == pytest.approx((-155, -145, 10))
    assert c.a.iqm.value == pytest.approx((0.75 * -160 + -155 + 0.75 * -150) / 2.5)
    assert c.improvement.value == np.mean([(y > x) + 0.5 * (y == x) for x in A for y in B])
    t = scipy_stats.ttest_rel(B, A).confidence_interval(0.95)
    assert (c.difference.low, c.difference.high) == pytest.approx((t.low, t.high))
    assert c.a.iqm.low < c.a.iqm.value < c.a.iqm.high


def test_pairing_takes_out_what_seeds_share(tmp_path):
    """Seeds that are far apart, each 1 better in B: certain in pairs, and nothing to tell without."""
    means = [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]
    a = group(tmp_path / "a", means)
    paired = compare(a, group(tmp_path / "b", [m + 1 for m in means]))
    assert paired.difference.low == paired.difference.high == paired.difference.value == 1
    unpaired = compare(a, group(tmp_path / "c", [m + 1 for m in means], range(1, 7)))
    assert (paired.better, unpaired.better, unpaired.method) == ("B", None, "unpaired")
    assert unpaired.difference.value == 1
    assert unpaired.difference.low < -100 < 100 < unpaired.difference.high
    assert "not paired" in unpaired.warnings[0]
    assert unpaired.rows[0] == {"seed": 0, "a": 0, "b": None, "difference": None}
    assert "6 and 6 seeds, unpaired" in unpaired.sentence


def test_the_other_way_round_is_the_same_with_a_minus(pair):
    one, other = compare(*pair), compare(*pair[::-1])
    assert other.better == "A"
    assert (other.difference.value, other.difference.low, other.difference.high) == pytest.approx(
        (-one.difference.value, -one.difference.high, -one.difference.low)
    )
    assert other.improvement.value == pytest.approx(1 - one.improvement.value)
    assert other.sentence == one.sentence.replace("B is better than A", "A is better than B")


def test_intervals_are_the_same_each_time(pair):
    assert compare(*pair) == compare(*pair)


@pytest.mark.parametrize("n", [2, 4])
def test_of_few_seeds_means_have_students_interval_and_other_figures_none(n, tmp_path):
    c = compare(group(tmp_path / "a", A[:n]), group(tmp_path / "b", B[:n]))
    assert f"{n} seeds are few" in c.warnings[0]
    t = scipy_stats.ttest_rel(B[:n], A[:n]).confidence_interval(0.95)
    assert (c.difference.low, c.difference.high) == pytest.approx((t.low, t.high))
    assert c.sentence.startswith("no difference can be told between A and B: mean difference")
    assert {c.a.iqm.low, c.b.iqm.low, c.improvement.low} == {None}
    assert c.b.mean.low < min(B[:n]) < max(B[:n]) < c.b.mean.high
    far = compare(tmp_path / "a", group(tmp_path / "c", [mean + 40 for mean in A[:n]]))
    assert far.sentence.startswith("B did better than A: mean difference 40.0 [95 % 40.0 to 40.0]")
    assert printed(far)


def test_of_few_unpaired_seeds_the_difference_has_welchs_interval(tmp_path):
    c = compare(group(tmp_path / "a", A), group(tmp_path / "b", B[:3], range(5, 8)))
    t = scipy_stats.ttest_ind(B[:3], A, equal_var=False).confidence_interval(0.95)
    assert (c.difference.low, c.difference.high) == pytest.approx((t.low, t.high))
    assert c.a.iqm.low < c.a.iqm.value < c.a.iqm.high
    assert c.b.iqm.low is None


def test_a_difference_that_may_be_none(tmp_path):
    c = compare(group(tmp_path / "a", A), group(tmp_path / "b", [*A[1:], A[0]]))
    assert (c.better, c.difference.value, c.improvement.value) == (None, 0, 0.5)
    assert c.sentence.startswith("no difference can be told between A and B: mean difference 0.0 [95 % -")


def test_groups_are_found_down_to_three_levels_and_runs_in_any_order(tmp_path):
    for seed, place in enumerate(["z", "x/y", "p/q/r"]):
        make(tmp_path / "a" / place, float(seed), seed)
    assert [run.value for run in compare(tmp_path / "a", group(tmp_path / "b", B)).a.runs] == [0, 1, 2]
    make(tmp_path / "deep/1/2/3/4", 0.0)
    with pytest.raises(InputError, match="neither a run nor a folder of runs"):
        compare(tmp_path / "deep", tmp_path / "b")


# One run a side


def test_two_runs_are_compared_over_their_episodes(tmp_path):
    a, b = (
        make(tmp_path / "a", -158.0, std=80.0, episodes=100),
        make(tmp_path / "b", -120.0, 3, std=30.0, episodes=40),
    )
    c = compare(a, b)
    assert (c.method, c.difference.value, c.better) == ("episodes", 38, "B")
    assert (c.a.mean.low, c.a.mean.high) == (-159, -157)
    at_end = scipy_stats.ttest_ind_from_stats(38 - c.difference.low, 30, 40, 0, 80, 100, equal_var=False)
    assert at_end.pvalue == pytest.approx(0.05)
    assert (c.difference.low + c.difference.high) / 2 == pytest.approx(38)
    assert "One seed says nothing about the algorithm" in c.warnings[0]
    assert c.sentence.startswith("B did better than A: difference 38.0 [95 % ")
    assert c.sentence.endswith("; one run each")


@pytest.mark.parametrize(("metric", "std"), [("best", 80.0), ("final", None)])
def test_two_runs_without_an_interval(metric, std, tmp_path):
    runs = [
        make(tmp_path / name, mean, std=std, evaluations=(-300.0,))
        for name, mean in (("a", -158.0), ("b", -120.0))
    ]
    c = compare(*runs, metric)
    assert (c.difference.value, c.difference.low, c.better) == (38, None, None)
    assert "have an interval" in c.warnings[1]
    assert c.sentence == "no difference can be told between A and B: difference 38.0; one run each"
    assert printed(c)


def test_one_run_against_five_has_no_interval_of_the_difference(tmp_path):
    c = compare(make(tmp_path / "a", 0.0, 9), group(tmp_path / "b", B))
    assert (c.method, c.difference.low, c.improvement.low, c.a.mean.low, c.better) == (
        "unpaired",
        None,
        None,
        None,
        None,
    )
    assert c.b.mean.low < c.b.mean.value < c.b.mean.high
    assert c.warnings[0].startswith("A is one run")
    assert c.sentence.endswith("probability of improvement 0.00; 1 and 5 seeds, unpaired")


# Metrics


@pytest.mark.parametrize(
    ("metric", "value"), [("final", 7), ("best", 20), ("last-ten", (sum(range(12, 21)) + 7) / 10)]
)
def test_metrics_by_hand(metric, value, tmp_path):
    a, b = (group(tmp_path / name, [7.0] * 5, evaluations=range(21)) for name in "ab")
    c = compare(a, b, metric)
    assert [run.value for run in c.a.runs] == [value] * 5
    assert (c.difference.value, c.better, c.warnings) == (0, None, ())


def test_evaluations_that_are_few_or_not_equally_many_are_told(tmp_path):
    a, b = (
        group(tmp_path / "a", A, evaluations=(-300.0,)),
        group(tmp_path / "b", B, evaluations=(-300.0, -200.0)),
    )
    assert compare(a, b).warnings == ()
    assert compare(a, b, "best").warnings == (
        "The best of different numbers of evaluations (A 2, B 3): the best of more is higher by chance.",
    )
    assert "not ten evaluations (A 2, B 3)" in compare(a, b, "last-ten").warnings[0]


# What differs


def test_settings_that_differ_are_listed(tmp_path):
    c = compare(
        group(tmp_path / "a", A), group(tmp_path / "b", B, critics=2, smoothing=0.2, hidden=(400, 300))
    )
    assert c.settings == {
        "hidden": ("256 256", "400 300"),
        "critics": ("1", "2"),
        "smoothing": ("none", "0.2"),
    }
    assert c.warnings == ()
    assert "from A to B: hidden 256 256 → 400 300, smoothing none → 0.2, critics 1 → 2" in " ".join(
        printed(c).split()
    )


def test_budgets_mixed_groups_and_cut_episodes_are_warned_of(tmp_path):
    a, b = (
        group(tmp_path / "a", A, steps=30_000),
        group(tmp_path / "b", B[:4], steps=60_000, episode_steps=100),
    )
    make(b / "4", B[4], 4, steps=90_000, batch=64, episode_steps=100)
    warnings = compare(a, b).warnings
    assert "Different budgets: A trained for 30,000 steps, B for 60,000 to 90,000." in warnings
    assert "The runs of B differ in more than their seeds: steps, batch." in warnings
    assert any("episode_steps" in w for w in warnings)
    c = compare(a, group(tmp_path / "c", B, steps=30_002))
    assert not any("budget" in w for w in c.warnings)


# Refusals


def break_file(path, text):
    return lambda root: (root / path).write_text(text)


def remove(path):
    return lambda root: (root / path).unlink()


@pytest.mark.parametrize(
    ("spoil", "metric", "message"),
    [
        (remove("b/2/result.json"), "final", "b/2: the run did not finish, it has no result.json; train it"),
        (break_file("b/2/result.json", "{"), "final", "b/2/result.json: cannot be read"),
        (break_file("b/2/result.json", "[]"), "final", "b/2/result.json: holds a list"),
        (break_file("b/2/result.json", '{"mean": 1}'), "final", "a closing evaluation (it has no std)"),
        (
            break_file(
                "b/2/result.json", '{"mean": NaN, "std": null, "ci95": null, "episodes": 1, "steps": 1}'
            ),
            "final",
            "b/2/result.json: not a closing evaluation (mean is nan)",
        ),
        (break_file("b/2/config.json", "{"), "final", "b/2/config.json: cannot be read"),
        (remove("b/2/evaluations.csv"), "best", "b/2/evaluations.csv: no such file; only --metric final"),
        (break_file("b/2/evaluations.csv", "step,mean\n"), "best", "b/2/evaluations.csv: cannot be read"),
        (
            break_file("b/2/evaluations.csv", "step,mean\n30000,x\n"),
            "best",
            "b/2/evaluations.csv: cannot be read",
        ),
        (break_file("b/2/evaluations.csv", "step,mean\n15000,1\n"), "last-ten", "evaluations are missing"),
        (
            break_file("b/2/evaluations.csv", "step,mean\n15000,\n30000,1\n"),
            "best",
            "evaluations are missing",
        ),
        (lambda root: make(root / "b/again", 0.0, 2), "final", "b: seed 2 twice ("),
        (
            lambda root: make(root / "b/new", 0.0, 7, env="Walker2d-v5"),
            "final",
            "b/new: trained on Walker2d-v5, ",
        ),
        (lambda root: (root / "b/link").symlink_to(root / "a/0"), "final", "b: seed 0 twice ("),
        (lambda root: None, "median", "--metric median: expected final, best or last-ten"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(spoil, metric, message, pair, tmp_path):
    spoil(tmp_path)
    with pytest.raises(InputError) as caught:
        compare(*pair, metric)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["result.json", "evaluations.csv"])
@pytest.mark.parametrize("metric", ["final", "best"])
def test_a_linked_file_of_a_run_is_refused(name, metric, pair, tmp_path):
    file = tmp_path / "b/2" / name
    file.rename(tmp_path / name)
    file.symlink_to(tmp_path / name)
    with pytest.raises(InputError, match=f"b/2/{name}: a link, pipe or device"):
        compare(*pair, metric)


def test_final_needs_no_evaluations(pair, tmp_path):
    remove("b/2/evaluations.csv")(tmp_path)
    assert compare(*pair).better == "B"


def test_a_run_on_both_sides_is_refused(pair):
    with pytest.raises(InputError, match="0: on both sides; choose two folders that share no run"):
        compare(pair[0], pair[0] / "0")


def test_no_such_folder_and_no_run_in_it(pair, tmp_path):
    with pytest.raises(InputError, match="no such run folder"):
        compare(pair[0], tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: neither a run nor a folder of runs"):
        compare(pair[0], tmp_path / "empty")


# For machines, for a person


def test_the_report_is_json(pair, tmp_path):
    c = compare(*pair)
    found = json.loads(json.dumps(report(c), allow_nan=False))
    assert found["difference"] == {
        "value": pytest.approx(10),
        "low": c.difference.low,
        "high": c.difference.high,
    }
    assert found["a"]["runs"][1] == {"run": str(pair[0] / "1"), "seed": 1, "value": -150.0, "steps": 30_000}
    assert (found["better"], found["sentence"], found["rows"]) == ("B", c.sentence, c.rows)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("scale", [0.001, 1, 99.9, 588, 10**5])
def test_the_table_fits_and_ends_in_the_sentence(width, scale, tmp_path):
    a, b = (
        group(tmp_path / ("long name " * 3 + n), [scale * m for m in means])
        for n, means in (("a", A), ("b", B))
    )
    c = compare(a, b)
    lines = printed(c, width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    assert " ".join(" ".join(lines).split()).endswith(c.sentence)
    assert [line.split()[-1] for line in lines if line.strip().startswith("seed ")] == [
        c.form(r["difference"]) for r in c.rows
    ]


def test_figures_have_decimals_by_their_size(tmp_path):
    for k, (scale, shown) in enumerate([(0.001, "0.010"), (1, "10.0"), (100, "1,000"), (10**5, "1e6")]):
        c = compare(
            *(group(tmp_path / f"{k}{n}", [scale * m for m in means]) for n, means in (("a", A), ("b", B)))
        )
        assert f"B is better than A: mean difference {shown} [95 % " in c.sentence


def test_flags():
    wanted = parse(Compare, "compare", ["runs/a", "runs/b", "--metric", "last-ten", "--json"])
    assert wanted == Compare(Path("runs/a"), Path("runs/b"), "last-ten", json=True)


def test_comparing_needs_no_jax(pair):
    code = (
        "import sys; from swingup.runs.compare import compare; "
        f"compare(*{[str(p) for p in pair]}); assert 'jax' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
