"""Statistics against independent computations: SciPy's, integrals, enumerations; and what too
little or broken data gives.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from bench.judge.statistics import (
    blocks_needed,
    confidence_sequence,
    holm,
    log_area,
    mean_interval,
    permutation_p_values,
    sign_evidence,
    sign_flip_p,
)
from bench.judge.times import (
    CensoredTime,
    ert,
    ert_floor,
    ert_interval,
    rmst,
    sooner,
    win_probability,
)

NAN = math.nan
INF = math.inf
CLOSE = {"rel": 1e-9, "abs": 1e-9}
SCORES = st.lists(st.sampled_from([0, 0.5, 1]), max_size=40)
# Small grids, so that ties and touching times are common.
TIMES = st.tuples(st.integers(0, 6), st.sampled_from([0, 1, 2, INF])).map(
    lambda pair: CensoredTime(after=pair[0], by=sum(pair))
)
TIMES_OR_DIVERGED = TIMES | st.just(CensoredTime(after=INF, by=INF))
DIFFERENCES = [
    [0.3, -0.1, 0.2],
    [0.41, 0.38, 0.5, 0.44, 0.29, 0.6, 0.33],
    [-1.0, 2.0, 0.5, 0.5, 0.0],
    [0.7, 0.7, 0.6, 0.65, 0.9, 0.1],
]


def exact(*times):
    """Return times without width."""
    return [CensoredTime(after=time, by=time) for time in times]


def missed(*budgets):
    """Return unreached runs with these budgets; inf: diverged."""
    return [CensoredTime(after=budget, by=INF) for budget in budgets]


@pytest.mark.parametrize(
    ("after", "by"), [(NAN, 1), (0, NAN), (NAN, NAN), (2, 1), (-1, 1), (INF, 1)]
)
def test_a_time_that_cannot_be_is_refused(after, by):
    with pytest.raises(ValueError, match="a crossing lies in"):
        CensoredTime(after=after, by=by)


@pytest.mark.parametrize(
    ("a", "b", "score"),
    [
        ((1, 2), (2, 3), 1.0),
        ((1, 2), (5, 6), 1.0),
        ((1, 3), (2, 4), 0.5),
        ((1, 4), (2, 3), 0.5),
        ((2, 2), (2, 2), 0.5),
        ((2, 2), (2, 3), 1.0),
        ((1, 2), (2, INF), 1.0),
        ((1, 2), (1.9, INF), 0.5),
        ((1, 2), (INF, INF), 1.0),
        ((9, INF), (1, INF), 0.5),
        ((9, INF), (INF, INF), 0.5),
        ((INF, INF), (INF, INF), 0.5),
    ],
)
def test_sooner(a, b, score):
    first = CensoredTime(after=a[0], by=a[1])
    second = CensoredTime(after=b[0], by=b[1])
    assert sooner(first, second) == score
    assert sooner(second, first) == 1 - score


@given(TIMES_OR_DIVERGED, TIMES_OR_DIVERGED)
def test_sooner_is_what_every_pair_of_instants_within_the_times_says(a, b):
    assert sooner(a, b) == _score(a, b)
    assert sooner(b, a) == 1 - _score(a, b)


def _score(a, b):
    """Return 1 where a is sooner at every pair of instants, 0 where it is later at every one."""
    signs = {_sign(x, y) for x, y in itertools.product(_instants(a), _instants(b))}
    never_reached = not a.reached and not b.reached
    if never_reached or len(signs) > 1:
        return 0.5
    return (1 + signs.pop()) / 2


def _instants(time):
    """Return instants at which the crossing may have been."""
    if time.after == INF:
        return [INF]
    if time.after == time.by:
        return [time.by]
    return [*np.arange(time.after + 0.25, min(time.by, 12), 0.25), time.by]


def _sign(x, y):
    return np.sign(y - x) if x != y else 0


@given(
    st.lists(TIMES_OR_DIVERGED, min_size=1, max_size=6),
    st.lists(TIMES_OR_DIVERGED, min_size=1, max_size=6),
)
def test_win_probability_swapped_is_the_rest(a, b):
    assert win_probability(a, b) == pytest.approx(1 - win_probability(b, a), **CLOSE)


def test_win_probability_is_mann_whitney_s_u_with_never_last():
    a = [3.0, 5.0, 5.0, 8.0, INF]
    b = [5.0, 6.0, 2.0, INF, INF, 9.0]
    u = stats.mannwhitneyu(b, a).statistic
    assert win_probability(exact(*a), exact(*b)) == pytest.approx(u / 30, **CLOSE)


def test_rmst_is_the_area_under_kaplan_meier():
    times = [2.0, 3.5, 3.5, 7.0, 12.0]
    tau = 10.0
    unreached = 3
    censored = stats.CensoredData(
        uncensored=[t for t in times if t <= tau], right=[tau] * (unreached + 1)
    )
    survival = stats.ecdf(censored).sf
    steps = [0.0, *(t for t in survival.quantiles if t < tau), tau]
    area = sum(survival.evaluate(low) * (high - low) for low, high in itertools.pairwise(steps))
    assert rmst([*exact(*times), *missed(10.0, 11.0, INF)], tau) == pytest.approx(
        float(area), **CLOSE
    )


@given(st.lists(TIMES_OR_DIVERGED, min_size=1, max_size=8), st.sampled_from([1.0, 5.0, 20.0]))
def test_rmst_is_at_most_tau_and_grows_with_it(times, tau):
    assert 0 <= rmst(times, tau) <= min(tau, rmst(times, tau + 1))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (exact(2.0, 4.0), 3.0),
        ([*exact(2.0, 4.0), *missed(9.0)], 7.5),
        ([*exact(2.0), *missed(9.0, INF)], 21.0),
        ([CensoredTime(after=1, by=3)], 3.0),
        (missed(9.0, INF), None),
        ([], None),
    ],
)
def test_ert_on_worked_tables(times, expected):
    assert ert(times, 10.0) == expected


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_ert_floor_is_at_the_bound_on_zero_successes(n):
    p = stats.binomtest(0, n, alternative="less").proportion_ci(0.95, "exact").high
    assert ert_floor(n, 60.0) == pytest.approx(60 * (1 - p) / p, **CLOSE)
    assert ert_floor(0, 60.0) is None


@pytest.mark.parametrize(
    ("times", "misses"),
    [
        ([3.0, 4.0, 7.0], 0),
        ([3.0, 4.0, 7.0, 5.5], 3),
        ([1.0, 9.9], 1),
        ([5.0, 5.0], 5),
        ([9.0, 9.9, 0.1], 9),
    ],
)
def test_ert_interval_is_clopper_pearson_and_t(times, misses):
    tau = 10.0
    n = len(times) + misses
    p = stats.binomtest(len(times), n).proportion_ci(0.975, "exact")
    mean = np.mean(times)
    error = stats.sem(times)
    low, high = stats.t.interval(0.975, len(times) - 1, mean, error) if error else (mean, mean)
    wanted = max(low, 0) + (1 - p.high) / p.high * tau, min(high, tau) + (1 - p.low) / p.low * tau
    runs = [*exact(*times), *missed(*[12.0] * misses)]
    assert ert_interval(runs, tau, 0.05) == pytest.approx(wanted, **CLOSE)
    assert wanted[0] <= np.mean(times) + misses / len(times) * tau <= wanted[1]


def test_ert_interval_with_less_than_two_successes_rests_on_tau_alone():
    def p(k, n):
        return stats.binomtest(k, n).proportion_ci(0.975, "exact")

    assert ert_interval([], 10.0, 0.05) is None
    assert ert_interval(exact(4.0), 10.0, 0.05) == pytest.approx((0.0, 10 / p(1, 1).low), **CLOSE)
    assert ert_interval([*exact(4.0), *missed(10.0)], 10.0, 0.05) == pytest.approx(
        (10 * (1 / p(1, 2).high - 1), 10 / p(1, 2).low), **CLOSE
    )
    low, high = ert_interval(missed(10.0, INF, 10.0), 10.0, 0.05)
    assert (low, high) == (pytest.approx(10 * (1 / p(0, 3).high - 1), **CLOSE), INF)
    assert ert_interval(exact(11.0), 10.0, 0.05) == ert_interval(
        missed(10.0), 10.0, 0.05
    )  # later than tau: not reached


@given(st.lists(st.none() | st.floats(0, 1), max_size=6))
def test_holm_is_closed_testing_by_bonferroni(p_values):
    tested = [index for index, p in enumerate(p_values) if p is not None]
    families = []
    for size in range(1, len(tested) + 1):
        families += itertools.combinations(tested, size)
    adjusted = holm(p_values)
    assert len(adjusted) == len(p_values)
    assert [index for index, p in enumerate(adjusted) if p is not None] == tested
    expected = [_closed_p(index, families, p_values) for index in tested]
    assert [p for p in adjusted if p is not None] == pytest.approx(expected, **CLOSE)


def _closed_p(index, families, p_values):
    """Return the greatest Bonferroni p of the families that an index is in."""
    bounds = []
    for family in families:
        if index in family:
            least = min(p_values[member] for member in family)
            bounds.append(min(1.0, len(family) * least))
    return max(bounds)


def test_log_area_is_the_integral_of_the_line_through_the_points():
    xs = [100.0, 1.0, 0.0, 10.0, 1000.0]
    accuracies = [0.6, 0.2, 0.1, 0.5, 0.9]
    area = integrate.quad(
        lambda u: np.interp(u, [0, 1, 2, 3], [0.2, 0.5, 0.6, 0.9]), 0, 3, points=[1, 2]
    )[0]
    assert log_area(xs, accuracies) == pytest.approx(area / 3, **CLOSE)
    for few in ([], [3.0], [3.0, 3.0], [0.0, 3.0], [-1.0, -2.0]):
        assert log_area(few, [0.5] * len(few)) is None
    with pytest.raises(
        ValueError, match="2 xs must be as many as accuracies, of which there are 1"
    ):
        log_area([1.0, 2.0], [0.5])


SURE = {"spread": 0.2, "ratio": 1.3, "alpha": 0.05, "most": 50}


@pytest.mark.parametrize(
    "broken",
    [
        lambda: sign_evidence([1] * 9 + [NAN]),
        lambda: sign_evidence([2]),
        lambda: confidence_sequence([1.0] * 9 + [NAN], 0.05),
        lambda: sign_flip_p([1.0] * 9 + [NAN]),
        lambda: holm([0.01, NAN]),
        lambda: holm([1.01]),
        lambda: mean_interval([1.0, NAN], 0.05),
        lambda: log_area([1.0, 2.0], [0.1, NAN]),
        lambda: log_area([1.0, NAN], [0.1, 0.2]),
        lambda: permutation_p_values([1.0, NAN], [1.0]),
        lambda: permutation_p_values([1.0], [NAN, 0.1]),
        lambda: permutation_p_values([1.0, 2.0], [0.0]),
    ],
)
def test_data_that_are_nan_or_impossible_are_refused_in_a_sentence(broken):
    with pytest.raises(ValueError, match=r"must|is 0, 0\.5 or 1|lies in|positive"):
        broken()


def test_results_are_plain_floats_that_json_takes():
    d = np.array(DIFFERENCES[1])
    times = [*exact(2.0, 3.0), *missed(9.0)]
    numbers = [
        sooner(*times[:2]),
        win_probability(times, times),
        rmst(times, 9.0),
        ert(times, 9.0),
        ert_floor(3, 9.0),
        *ert_interval(times, 9.0, 0.05),
        sign_evidence(np.ones(7)),
        *confidence_sequence(d, 0.05),
        sign_flip_p(d),
        *holm([0.1, 0.2]),
        *mean_interval(d, 0.05),
        log_area(d, d),
        *permutation_p_values(d, d),
    ]
    assert {type(number) for number in numbers} == {float}
    assert type(blocks_needed(**SURE)) is int
