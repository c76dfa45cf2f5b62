"""How often the statistics are wrong, counted in simulated studies: coverage, and verdicts where
there is nothing to find.
"""

import math

import numpy as np
import pytest
from scipy import special, stats

from bench.judge.statistics import confidence_sequence, sign_evidence
from bench.judge.times import CensoredTime, ert_interval, sooner
from tests.unit.judge.test_statistics_evidence import t_evidence

pytestmark = pytest.mark.slow
ALPHA = 0.05
SIGMA = 0.5


def assert_rate(wrong: int, studies: int):
    """The error rate is at most ALPHA even with three binomial standard errors of ALPHA on top."""
    print(f"{wrong / studies:.4f} of {studies}")
    assert wrong / studies + 3 * math.sqrt(ALPHA * (1 - ALPHA) / studies) <= ALPHA


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("p", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("tau", [1.5, 5.0, 20.0])
def test_ert_interval_covers(n, p, tau):
    """Times are lognormal, cut at tau; the true ERT is from the cut distribution's mean.

    Tight and wide budgets.
    """
    studies = 4000
    rng = np.random.default_rng(n)
    cut = special.ndtr(math.log(tau) / SIGMA)
    mean = math.exp(SIGMA**2 / 2) * special.ndtr(math.log(tau) / SIGMA - SIGMA) / cut
    truth = mean + (1 - p) / p * tau
    times = np.exp(SIGMA * special.ndtri(rng.random((studies, n)) * cut))
    times[rng.random((studies, n)) >= p] = math.inf
    intervals = []
    for study in times.tolist():
        crossings = [CensoredTime(after=min(time, tau), by=time) for time in study]
        intervals.append(ert_interval(crossings, tau, ALPHA))
    misses = [low for low, high in intervals if not low <= truth <= high]
    assert_rate(len(misses), studies)


@pytest.mark.parametrize("g", [1.0, 0.3])
def test_confidence_sequence_covers_at_all_looks_at_once(g):
    """Normal differences, looked at after every block up to 20; it misses just where the evidence
    against the truth decides.
    """
    studies = 5000
    truth = 0.7
    d = np.random.default_rng(1).normal(truth, 0.3, (studies, 20))
    missed = against = 0
    for study in d:
        looks = [confidence_sequence(study[:n], ALPHA, g) for n in range(1, 21)]
        missed += any(look and not look[0] <= truth <= look[1] for look in looks)
        against += any(t_evidence(study[:n] - truth, g) > 1 / ALPHA for n in range(1, 21))
    assert missed == against
    assert_rate(missed, studies)


def looked_up(times, grid, budget, diverged):
    """Times read on a grid of looks; unreached past the budget."""
    by = np.ceil(times / grid) * grid
    late = by > budget
    after = np.where(diverged, math.inf, np.where(late, budget, by - grid))
    return after, np.where(late | diverged, math.inf, by)


@pytest.mark.parametrize(
    ("grid", "miss", "budget", "shared", "scores_seen"),
    [
        (1e-6, 0.0, 1e9, 0.0, {0, 1}),
        (0.5, 0.0, 1e9, 0.0, {0, 0.5, 1}),
        (0.1, 0.2, 1e9, 0.0, {0, 0.5, 1}),
        (0.1, 0.0, 1.2, 0.5, {0, 0.5, 1}),
        (0.3, 0.1, 2.0, 1.0, {0, 0.5, 1}),
    ],
)
def test_an_arm_against_itself_is_rarely_told_apart(grid, miss, budget, shared, scores_seen):
    """Looked at after every block up to 30: skewed times, ties on the grid, misses, budgets, an
    effect shared in the block.
    """
    studies = 10_000
    rng = np.random.default_rng(2)
    noise = rng.gumbel(0, SIGMA, (2, studies, 30)) + shared * rng.normal(0, 1, (studies, 30))
    after, by = looked_up(np.exp(noise), grid, budget, rng.random((2, studies, 30)) < miss)
    wrong = 0
    distinct_scores = set()
    for study in range(studies):
        scores = []
        for block in range(30):
            a, b = (
                CensoredTime(after=after[arm, study, block], by=by[arm, study, block])
                for arm in (0, 1)
            )
            scores.append(sooner(a, b))
            if sign_evidence(scores) >= 1 / ALPHA:
                wrong += 1
                break
        distinct_scores |= set(scores)
    assert distinct_scores >= scores_seen
    assert_rate(wrong, studies)


def test_a_t_test_after_every_block_would_be_wrong_four_times_as_often():
    """Why the rules are what they are: the same looks, with the usual test."""
    d = np.random.default_rng(3).normal(0, 1, (5000, 30))
    n = np.arange(1, 31)
    mean = d.cumsum(axis=1) / n
    variance = ((d**2).cumsum(axis=1) - n * mean**2)[:, 1:] / (n[1:] - 1)
    p = 2 * stats.t.sf(abs(mean[:, 1:]) / np.sqrt(variance / n[1:]), n[1:] - 1)
    assert (p < ALPHA).any(axis=1).mean() > 0.2
