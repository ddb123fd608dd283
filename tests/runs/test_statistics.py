"""Statistics over seeds: against hand-computed cases, against scipy, and by the coverage of intervals."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from swingup.runs.compare import bootstrapped
from swingup.runs.statistics import (
    ENOUGH,
    bootstrap,
    draws,
    expanded,
    improvement,
    interval,
    iqm,
    percentiles,
    student,
    welch,
)


@pytest.mark.parametrize(
    ("values", "middle"),
    [
        ([5], 5),
        ([1, 3], 2),
        ([9, 1, 2], (0.25 * 1 + 1 * 2 + 0.25 * 9) / 1.5),  # each end keeps a quarter of its weight
        ([1, 2, 3, 100], 2.5),
        ([-1000, 1, 2, 3, 1000], (0.75 * 1 + 2 + 0.75 * 3) / 2.5),
    ],
)
def test_the_interquartile_mean_by_hand(values, middle):
    assert iqm(np.array(values)) == pytest.approx(middle)


@pytest.mark.parametrize("n", [4, 8, 12, 40])
def test_the_interquartile_mean_is_scipys_trimmed_mean(n):
    table = np.random.default_rng(n).normal(size=(n, 3))
    np.testing.assert_allclose(iqm(table), scipy_stats.trim_mean(table, 0.25))


def test_the_probability_of_improvement_is_that_over_all_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, (7, 40)), rng.integers(0, 6, (4, 40))  # small integers: many ties
    for x, y, p in zip(a.T, b.T, improvement(a, b), strict=True):
        assert p == pytest.approx(np.mean([1 if v > u else 0.5 if v == u else 0 for u in x for v in y]))
        assert p == pytest.approx(scipy_stats.mannwhitneyu(y, x).statistic / (7 * 4))


def test_the_probability_of_improvement_by_hand():
    assert improvement([1, 2], [3, 4]) == 1
    assert improvement([3, 4], [1, 2]) == 0
    assert improvement([1, 2], [1, 2]) == 0.5
    assert improvement([1, 2, 3], [2]) == pytest.approx(0.5)


def test_draws_are_always_the_same_and_of_each_size():
    one, two = draws(3, 5)
    assert (one.shape[1], two.shape[1], len(one)) == (3, 5, len(two))
    assert {*np.unique(one)} == {0, 1, 2}
    np.testing.assert_array_equal(one, draws(3)[0])


def test_the_bootstrap_of_a_mean_by_enumeration():
    """Two seeds resample to (x, x), (x, y), (y, x), (y, y); 40 % in the middle are all the mean."""
    values = np.array([1.0, 3.0])
    assert bootstrap(lambda picks: values[picks].mean(), 2) == (1, 3)
    assert bootstrap(lambda picks: values[picks].mean(), 2, level=0.4) == (2, 2)
    low, high = interval(np.array([[7.0, 0.0]] * 3))
    np.testing.assert_allclose(
        [low, high], [[7, 0]] * 2, rtol=1e-15
    )  # BLAS rounds a sum as the processor has it


def covers(n, level, runs=400):
    """How often the interval of the mean of n standard normal seeds holds 0."""
    samples, picks = np.random.default_rng(1).normal(size=(runs, n)), draws(n)[0][:2000]
    low, high = np.array([percentiles(sample[picks].mean(1), level) for sample in samples]).T
    return np.mean((low <= 0) & (high >= 0))


def test_expanded_intervals_hold_the_truth_more_often_where_seeds_are_few():
    assert covers(5, 0.95) < 0.87
    assert 0.90 < covers(5, expanded(5)) < 0.97
    assert 0.93 < covers(20, expanded(20)) < 0.97


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8, 10])
def test_what_is_called_a_95_percent_interval_holds_the_truth_about_95_times_in_100(n):
    """Of normal seeds the mean, the interquartile mean and the difference of two groups are 0."""
    samples, picks = np.random.default_rng(n).normal(size=(1000, 2, n)), draws(n)[0][:2000]
    moments = [[(x.mean(), x.std(ddof=1), n) for x in pair] for pair in samples]
    ends = {
        "mean": [student(a) for a, _ in samples],
        "difference of pairs": [student(b - a) for a, b in samples],
        "difference": [welch(a, b) for a, b in moments],
        "interquartile mean": [bootstrapped(0, iqm(a[picks].T), n) for a, _ in samples],
    }
    few = ends.pop("interquartile mean")
    if n < ENOUGH:
        assert {(x.low, x.high) for x in few} == {(None, None)}
    else:
        ends["interquartile mean"] = [(x.low, x.high) for x in few]
    for name, intervals in ends.items():
        held = np.mean([low <= 0 <= high for low, high in intervals])
        assert 0.92 <= held <= 0.985, (name, held)


def test_students_interval_is_scipys():
    values = np.array([1.0, 5.0, 2.0])
    wanted = scipy_stats.t.interval(0.95, 2, values.mean(), scipy_stats.sem(values))
    assert student(values) == pytest.approx(wanted)
    assert student(values[:1]) is None


def test_expansion_is_students_t_and_vanishes_with_many_seeds():
    n, level = 10, 0.95
    wide = scipy_stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1))
    assert expanded(n, level) == pytest.approx(scipy_stats.norm.cdf(wide) - scipy_stats.norm.cdf(-wide))
    assert expanded(10**6) == pytest.approx(0.95, abs=1e-5)


@pytest.mark.parametrize(
    ("a", "b"), [((-150.0, 80.0, 100), (-140.0, 20.0, 30)), ((1.0, 0.0, 2), (2.0, 3.0, 5))]
)
def test_welchs_interval_is_scipys(a, b):
    low, high = welch(a, b)
    assert (low + high) / 2 == pytest.approx(b[0] - a[0])
    # The p-value of "no difference" is 5 % exactly where an end of the 95 % interval is 0.
    at_end = scipy_stats.ttest_ind_from_stats(b[0] - low, *b[1:], *a, equal_var=False)
    assert at_end.pvalue == pytest.approx(0.05)


def test_welch_of_equal_returns_is_a_point():
    assert welch((1.0, 0.0, 10), (3.0, 0.0, 10)) == (2, 2)
