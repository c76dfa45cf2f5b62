"""Evidence, permutation tests and plans against independent computations: integrals, enumerations,
SciPy's.
"""

import itertools
import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from bench.judge import statistics
from bench.judge.statistics import (
    blocks_needed,
    confidence_sequence,
    deciding_blocks,
    mean_interval,
    permutation_p_values,
    sign_evidence,
    sign_flip_p,
)

INF = math.inf
CLOSE = {"rel": 1e-9, "abs": 1e-9}
SCORES = st.lists(st.sampled_from([0, 0.5, 1]), max_size=40)
DIFFERENCES = [
    [0.3, -0.1, 0.2],
    [0.41, 0.38, 0.5, 0.44, 0.29, 0.6, 0.33],
    [-1.0, 2.0, 0.5, 0.5, 0.0],
    [0.7, 0.7, 0.6, 0.65, 0.9, 0.1],
]


def t_evidence(differences, g=1.0):
    """The t e-process that the confidence sequence turns round; no product code, for no verdict
    rests on it.
    """
    d = np.asarray(differences, dtype=float)
    n = len(d)
    if n < 2:
        return 1.0
    between = n * d.mean() ** 2
    within = ((d - d.mean()) ** 2).sum()  # r is their ratio
    ratio = (within + between) / (within + between / (1 + n * g)) if within + between else 1.0
    return math.exp(min((n * math.log(ratio) - math.log1p(n * g)) / 2, 700))


def mixture(s, n):
    """The Beta(1/2, 1/2) mixture of likelihood ratios against p = 1/2.

    Integrated over p = sin(x)^2.
    """
    return integrate.quad(
        lambda x: 2 / math.pi * (2 * math.sin(x) ** 2) ** s * (2 * math.cos(x) ** 2) ** (n - s),
        0,
        math.pi / 2,
    )[0]


@pytest.mark.parametrize(
    "scores",
    [
        [1],
        [0],
        [0.5],
        [1, 0],
        [1] * 6,
        [1] * 7,
        [0, 1, 1, 1, 0.5, 0.5, 1],
        [1] * 18 + [0] * 2,
        [0.5] * 9,
    ],
)
def test_sign_evidence_is_the_mixture_s_likelihood_ratio(scores):
    assert sign_evidence(scores) == pytest.approx(mixture(sum(scores), len(scores)), **CLOSE)


def test_seven_straight_wins_decide_and_six_do_not():
    assert sign_evidence([1] * 6) < 20 <= sign_evidence([1] * 7)
    assert sign_evidence([0] * 6) < 20 <= sign_evidence([0] * 7)
    assert (deciding_blocks(0.05), deciding_blocks(0.01), deciding_blocks(0.5)) == (7, 10, 3)
    assert [deciding_blocks(alpha) for alpha in (0.04, 0.037)] == [7, 8]  # about 1 / 26.8


@given(SCORES)
def test_sign_evidence_is_fair_under_the_null(scores):
    """Where a win and a loss are equally likely the mean of the next value is today's, and a tie
    never gains (Ville).
    """
    now, won, lost, tied = (sign_evidence([*scores, *more]) for more in ([], [1], [0], [0.5]))
    assert (won + lost) / 2 == pytest.approx(now, rel=1e-9)
    assert tied <= now * (1 + 1e-9)


@given(SCORES, st.randoms())
def test_sign_evidence_knows_no_order_and_no_side(scores, random):
    shuffled = random.sample(scores, len(scores))
    assert sign_evidence(shuffled) == sign_evidence(scores)
    assert sign_evidence([1 - score for score in scores]) == pytest.approx(
        sign_evidence(scores), rel=1e-9
    )


@given(SCORES)
def test_a_win_of_the_side_that_is_not_behind_never_lowers_the_evidence(scores):
    win = 1 if sum(scores) >= len(scores) / 2 else 0
    assert sign_evidence([*scores, win]) >= sign_evidence(scores) * (1 - 1e-9)


def test_evidence_of_very_many_blocks_stays_finite():
    assert 1e300 < sign_evidence([1] * 5000) < INF
    assert 1e300 < t_evidence([1.0] * 5000) < INF


def haar(d, g):
    """Marginal likelihood with right Haar prior ds/s and mean/s ~ N(0, g), over that with mean 0.

    By integrals only.
    """
    d = np.asarray(d)
    unit = math.sqrt((d**2).mean())

    def likelihood(effect, log_s):
        s = unit * math.exp(log_s)
        return math.exp(-(((d - effect * s) / s) ** 2).sum() / 2 - len(d) * log_s)

    def given_effect(effect):
        return integrate.quad(
            lambda log_s: likelihood(effect, log_s), -4, 12, epsabs=0, epsrel=1e-11, limit=400
        )[0]

    weight = stats.norm(0, math.sqrt(g)).pdf
    above = integrate.quad(
        lambda x: given_effect(x) * weight(x),
        -12,
        12,
        epsabs=0,
        epsrel=1e-10,
        limit=400,
        points=[-1, 0, 1],
    )[0]
    return above / given_effect(0.0)


@pytest.mark.parametrize(
    ("d", "g"), [(DIFFERENCES[0], 1.0), (DIFFERENCES[2], 0.5), (DIFFERENCES[3], 1.0)]
)
def test_t_evidence_is_the_ratio_of_marginal_likelihoods(d, g):
    assert t_evidence(d, g) == pytest.approx(haar(d, g), rel=1e-8)


@pytest.mark.parametrize("d", DIFFERENCES)
@pytest.mark.parametrize("g", [0.3, 1.0, 4.0])
def test_t_evidence_is_the_formula_in_t(d, g):
    n = len(d)
    t2 = stats.ttest_1samp(d, 0).statistic ** 2
    ratio = (1 + t2 / (n - 1)) / (1 + t2 / ((n - 1) * (1 + n * g)))
    assert t_evidence(d, g) == pytest.approx((1 + n * g) ** -0.5 * ratio ** (n / 2), **CLOSE)
    assert t_evidence([17 * x for x in d], g) == pytest.approx(t_evidence(d, g), **CLOSE)


@pytest.mark.parametrize("d", [DIFFERENCES[1], DIFFERENCES[2], DIFFERENCES[3]])
@pytest.mark.parametrize(("alpha", "g"), [(0.05, 1.0), (0.2, 2.0)])
def test_confidence_sequence_ends_where_the_evidence_decides(d, alpha, g):
    low, high = confidence_sequence(d, alpha, g)
    for end, out in ((low, -1), (high, 1)):
        differences = np.array(d) - end
        inside = t_evidence([*(differences + out * 1e-6)], g)
        at_the_end = t_evidence([*differences], g)
        outside = t_evidence([*(differences - out * 1e-6)], g)
        assert at_the_end == pytest.approx(1 / alpha, rel=1e-9)
        assert inside < at_the_end < outside
    assert (low + high) / 2 == pytest.approx(np.mean(d), **CLOSE)


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("g", [0.3, 1.0])
def test_confidence_sequence_is_all_reals_where_even_identical_differences_cannot_decide(n, g):
    d = [*np.linspace(-1, 1, n)]
    most = (1 + n * g) ** ((n - 1) / 2)  # the evidence as t grows without end
    for evidence in (1.001, 0.1 * most, 0.6 * most, 0.99 * most, 1.01 * most, 1.4 * most, 5 * most):
        assert (confidence_sequence(d, 1 / max(evidence, 1.001), g) is None) == (
            max(evidence, 1.001) >= most
        )


def test_few_or_identical_differences():
    assert [t_evidence(d) for d in ([], [0.4], [0.0])] == [1.0] * 3
    assert [confidence_sequence(d, 0.05) for d in ([], [0.4], [0.4, 0.5], [0.25] * 4)] == [None] * 4
    assert confidence_sequence([0.25] * 5, 0.05) == (0.25, 0.25)
    assert t_evidence([0.25] * 4) == pytest.approx(5**1.5, **CLOSE)
    assert t_evidence([0.0] * 4) == pytest.approx(5**-0.5, **CLOSE)
    assert mean_interval([], 0.05) is None
    assert mean_interval([0.4], 0.05) == (0.4, -INF, INF)
    assert mean_interval([0.25] * 3, 0.05) == (0.25, 0.25, 0.25)
    assert [sign_flip_p(d) for d in ([], [0.4], [0.0], [0.0] * 3)] == [None, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("d", DIFFERENCES)
def test_mean_interval_is_scipy_s(d):
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.9)
    assert mean_interval(d, 0.1) == pytest.approx(
        (np.mean(d), interval.low, interval.high), **CLOSE
    )


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=8))
def test_sign_flip_p_is_the_share_of_sign_patterns(tenths):
    totals = []
    for signs in itertools.product((-1, 1), repeat=len(tenths)):
        totals.append(abs(sum(map(operator.mul, tenths, signs))))
    as_extreme = [total for total in totals if total >= abs(sum(tenths))]
    share = len(as_extreme) / len(totals)
    assert sign_flip_p([x / 10 for x in tenths]) == pytest.approx(share, **CLOSE)


@pytest.mark.parametrize("d", DIFFERENCES)
def test_sign_flip_p_is_scipy_s(d):
    test = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=INF)
    assert sign_flip_p(d) == pytest.approx(test.pvalue, **CLOSE)


def test_sign_flip_p_of_many_blocks_is_drawn_and_never_0():
    d = np.random.default_rng(1).normal(0.3, 1, 18)
    exact_p = stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=INF
    ).pvalue
    assert sign_flip_p(d) == pytest.approx(
        exact_p, abs=3 * math.sqrt(exact_p * (1 - exact_p) / 20_000)
    )
    assert sign_flip_p([1.0] * 6) == 2 / 64  # five blocks cannot go under .05
    assert sign_flip_p([1.0] * 5) == 2 / 32
    assert 0 < sign_flip_p([1.0] * 30) < 1e-3


@pytest.mark.parametrize(
    ("reference", "sample"),
    [
        ([10, 12, 11, 14], [5, 6, 7]),
        ([5, 6, 6, 7], [6, 6, 7, 9]),
        ([3, 3], [3, 3]),
        ([1, 2, 3], [90, 80]),
    ],
)
def test_permutation_p_values_is_scipy_s_exact_permutation_test(reference, sample):
    def p(alternative):
        logs = np.log(sample), np.log(reference)
        return stats.permutation_test(
            logs,
            lambda x, y, axis: x.mean(axis) - y.mean(axis),
            n_resamples=INF,
            alternative=alternative,
        )

    assert permutation_p_values(reference, sample) == pytest.approx(
        (p("less").pvalue, p("greater").pvalue), **CLOSE
    )
    assert permutation_p_values(sample, reference) == pytest.approx(
        permutation_p_values(reference, sample)[::-1], **CLOSE
    )


def test_permutation_p_values_with_one_run_or_none():
    assert permutation_p_values([10, 11, 12], [9]) == (0.25, 1.0)
    assert permutation_p_values([10, 11, 12], [11]) == (0.75, 0.75)
    assert [
        permutation_p_values([], [1.0]),
        permutation_p_values([1.0], []),
        permutation_p_values([], []),
    ] == [(1.0, 1.0)] * 3


def test_permutation_p_values_draws_where_arrangements_are_too_many(monkeypatch):
    reference = list(range(10, 19))
    sample = [9, 10, 11, 12, 13, 14, 15, 16, 18]  # 48,620 splits
    drawn = permutation_p_values(reference, sample)
    monkeypatch.setattr(statistics, "ARRANGEMENTS", 50_000)
    exact = permutation_p_values(reference, sample)
    for drawn_p, exact_p in zip(drawn, exact, strict=True):
        error = math.sqrt(exact_p * (1 - exact_p) / 20_000)
        assert drawn_p == pytest.approx(exact_p, abs=3 * error)
        assert drawn_p != exact_p
    monkeypatch.undo()
    assert permutation_p_values([100.0] * 30, [1.0] * 30)[0] == 1 / 20_001  # never 0


def power_curve(p_win, alpha, most):
    """Chance that the right arm is decided for within n blocks, by passing exact probabilities from
    block to block.
    """
    steps = {0: 1 - p_win, 1: p_win}
    undecided = {0: 1.0}
    chosen = 0.0
    curve = [0.0]
    for n in range(1, most + 1):
        after = {}
        for (s, p), (w, q) in itertools.product(undecided.items(), steps.items()):
            after[s + w] = after.get(s + w, 0.0) + p * q
        decided = {s for s in after if mixture(s, n) >= 1 / alpha}
        chosen += sum(after[s] for s in decided if s > n / 2)
        undecided = {s: p for s, p in after.items() if s not in decided}
        curve.append(chosen)
    return curve


@pytest.mark.parametrize(
    ("ratio", "power"), [(1.25, 0.9), (0.8, 0.8), (1.5, 0.9), (1.2, 0.5), (1.1, 0.3)]
)
def test_plan_blocks_finds_the_exact_power(ratio, power):
    n = blocks_needed(spread=0.2, ratio=ratio, alpha=0.05, most=60, power=power)
    curve = power_curve(stats.norm.cdf(abs(math.log(ratio)) / 0.2), 0.05, n)
    assert curve[n - 1] < power <= curve[n]


def first_decided(wins: list[bool]) -> int:
    """After how many blocks the evidence decides; all of them where it never does."""
    for n in range(7, len(wins)):
        if sign_evidence([float(win) for win in wins[:n]]) >= 20:
            return n
    return len(wins)


def test_plan_blocks_is_what_simulated_studies_need():
    rng = np.random.default_rng(0)
    needed = []
    for wins in rng.normal(math.log(1.3), 0.3, (2000, 200)) > 0:
        n = first_decided([*wins])
        needed.append(n if sum(wins[:n]) > n / 2 else INF)
    enough = blocks_needed(spread=0.3, ratio=1.3, alpha=0.05, most=200)
    assert abs(np.mean(np.array(needed) <= enough) - 0.9) < 0.03


def test_plan_blocks_at_its_ends():
    sure = {"spread": 0.0, "ratio": 1.3, "alpha": 0.05}
    assert [blocks_needed(**sure, most=most) for most in (0, 6, 7, 50)] == [None, None, 7, 7]
    nothing = {"spread": 0.2, "ratio": 1.0, "alpha": 0.05, "most": 30}
    assert blocks_needed(**nothing) is None
    assert blocks_needed(**{**nothing, "spread": 0.0}) is None
    assert (
        blocks_needed(**nothing, power=0.02) is None
    )  # 2.6 % decide, half of them for the wrong arm
    noisy = {"spread": 0.3, "alpha": 0.05, "most": 400}
    assert blocks_needed(ratio=1.3, **noisy) > blocks_needed(ratio=2.0, **noisy)
    assert blocks_needed(ratio=1.3, **noisy) == blocks_needed(ratio=1 / 1.3, **noisy)
