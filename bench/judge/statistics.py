"""What blocks say, in numbers: evidence, intervals, permutation tests (docs/METHOD.md, section 4).

Pure functions. Differences are log T_baseline - log T_arm, one a block. Too little data gives None
or 1.0, never a verdict; data that are NaN, or else cannot be, raise ValueError. What a user sets
(alpha, ratio, spread) was checked as the config was read. Times are in times.py.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from statistics import NormalDist
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported where they are used: `bench plan` needs none

# Of the data in a permutation test: up to this many are all taken, of more so many are drawn.
ARRANGEMENTS = 20_000
GREATEST_EXPONENT = 700  # of floats, e^709 is the last
FloatArray = npt.NDArray[np.float64]
Number = TypeVar("Number", np.float64, np.int64)


class MeanInterval(NamedTuple):
    """A mean and the ends of its interval."""

    mean: float
    low: float
    high: float


class PermutationPValues(NamedTuple):
    """One-sided p that a sample is smaller than the reference, and that it is larger."""

    smaller: float
    larger: float


def sign_evidence(scores: Sequence[float]) -> float:
    """Return the evidence E_n that one arm is sooner, from a score of `sooner` a block.

    E_n >= 1/alpha decides, at any look: 2^n B(1/2 + s, 1/2 + n - s) / B(1/2, 1/2), s the sum, is
    the Beta(1/2, 1/2) mixture over p of (2p)^w (2(1 - p))^(1 - w).
    """
    if not set(scores) <= {0, 0.5, 1}:
        raise ValueError(f"a block's score is 0, 0.5 or 1: {list(scores)}")
    log_evidence = float(_log_sign_evidence(sum(scores), len(scores)))
    return math.exp(min(log_evidence, GREATEST_EXPONENT))


def _log_sign_evidence(won: float | npt.NDArray[np.int64], n: int) -> FloatArray:
    """Return log E_n of `sign_evidence`, for `won` of n blocks; B(1/2, 1/2) is pi."""
    log_gamma = np.vectorize(math.lgamma, otypes=[float])
    log_evidence: FloatArray = (
        n * math.log(2)
        - math.log(math.pi)
        + log_gamma(0.5 + won)
        + log_gamma(0.5 + n - won)
        - log_gamma(1.0 + n)
    )
    return log_evidence


def deciding_blocks(alpha: float) -> int:
    """Return the least number of blocks that decides when one arm wins them all: 7 at .05."""
    blocks = 1
    while _log_sign_evidence(blocks, blocks) < -math.log(alpha):
        blocks += 1
    return blocks


def confidence_sequence(
    differences: Sequence[float], alpha: float, g: float = 1.0
) -> tuple[float, float] | None:
    """Return the ends of all means that the t e-process does not rule out at alpha.

    Holds at all looks at once. None: all reals (too few blocks). The process, with a right Haar
    prior on sigma and N(0, g) on mean/sigma, has for r = t^2/(n - 1) the evidence
    (1 + n g)^(-1/2) ((1 + r)/(1 + r/(1 + n g)))^(n/2); the ends of the interval are where that is
    1/alpha. Differences should be normal: heavy tails only widen it, but of exponential ones
    (one-sided skew) it misses the mean in 10 %.
    """
    d = _finite(differences, "differences")
    n = len(d)
    if n == 0:
        return None
    bound = (math.sqrt(1 + n * g) / alpha) ** (2 / n)
    if bound >= 1 + n * g:
        return None
    mean = float(d.mean())
    variance = ((d - d.mean()) ** 2).mean()
    half_width = math.sqrt(variance * (bound - 1) / (1 - bound / (1 + n * g)))
    return mean - half_width, mean + half_width


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of the paired sign-flip test on the mean; None without differences.

    All 2^n sign patterns up to n = 14, else drawn ones. SciPy's permutation_test refuses one block,
    and its tolerance for ties vanishes where the mean is nearly 0.
    """
    d = _finite(differences, "differences")
    n = len(d)
    if n == 0:
        return None
    # Fewer of very many blocks, which memory would not hold.
    draws = max(1000, min(ARRANGEMENTS, 4_000_000 // n))
    signs = _arrangements(
        count=2**n,
        every=itertools.product((-1.0, 1.0), repeat=n),
        observed=np.ones(n),
        draw=lambda rng: rng.choice((-1.0, 1.0), (draws, n)),
    )
    tie = 1e-12 * abs(d).sum()
    as_extreme = abs(signs @ d) >= abs(d.sum()) - tie
    return float(as_extreme.mean())


def permutation_p_values(reference: Sequence[float], sample: Sequence[float]) -> PermutationPValues:
    """Return one-sided permutation p that a sample is smaller, and larger, than a reference.

    By the mean of logs of positive numbers. Exact up to ARRANGEMENTS splits, else drawn with a
    fixed seed. 1.0 for both where a side is empty.
    """
    numbers = _finite([*sample, *reference], "numbers to compare")
    if (numbers <= 0).any():
        raise ValueError(f"permutation_p_values compares positive numbers: {numbers.tolist()}")
    n = len(numbers)
    k = len(sample)
    if k in (0, n):
        return PermutationPValues(1.0, 1.0)
    logs = np.log(numbers)
    picked = _arrangements(
        count=math.comb(n, k),
        every=itertools.combinations(range(n), k),
        observed=np.arange(k),
        draw=lambda rng: rng.random((ARRANGEMENTS, n)).argsort(axis=1)[:, :k],
    )
    sums = logs[picked].sum(axis=1)
    observed = logs[:k].sum()
    tie = 1e-12 * abs(logs).sum()
    return PermutationPValues(
        smaller=float((sums <= observed + tie).mean()),
        larger=float((sums >= observed - tie).mean()),
    )


def _arrangements(
    *,
    count: int,
    every: Iterable[Sequence[float]],
    observed: npt.NDArray[Number],
    draw: Callable[[np.random.Generator], npt.NDArray[Number]],
) -> npt.NDArray[Number]:
    """Return a permutation test's rows: every one where they are few.

    Else drawn ones with the observed one, so that no p is 0.
    """
    if count <= ARRANGEMENTS:
        return np.array(list(every), dtype=observed.dtype)
    return np.vstack([observed, draw(np.random.default_rng(0))])


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's step-down adjusted p-values, in the order given.

    None stays None and is not counted.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    greatest = 0.0
    for rank, (p, place) in enumerate(tested):
        if not 0 <= p <= 1:
            raise ValueError(f"a p-value lies in [0, 1]: {list(p_values)}")
        greatest = max(greatest, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = greatest
    return adjusted


def mean_interval(differences: Sequence[float], alpha: float) -> MeanInterval | None:
    """Return a mean and its interval by Student's t, for one look at a planned n.

    The reals for n = 1, None for n = 0.
    """
    d = _finite(differences, "differences")
    n = len(d)
    if n == 0:
        return None
    mean = float(d.mean())
    if n == 1:
        return MeanInterval(mean, -math.inf, math.inf)
    quantile = scipy.special.stdtrit(n - 1, 1 - alpha / 2)
    half_width = float(quantile * d.std(ddof=1) / math.sqrt(n))
    return MeanInterval(mean, mean - half_width, mean + half_width)


def log_area(xs: Sequence[float], accuracies: Sequence[float]) -> float | None:
    """Return the mean accuracy over log x (trapezoids over the log span).

    Points with x <= 0 are left out. None for fewer than two xs.
    """
    if len(xs) != len(accuracies):
        raise ValueError(
            f"{len(xs)} xs must be as many as accuracies, of which there are {len(accuracies)}"
        )
    x = _finite(xs, "xs")
    height = _finite(accuracies, "accuracies")
    order = np.argsort(x, kind="stable")
    positive = order[np.count_nonzero(x <= 0) :]
    logs = np.log(x[positive])
    if len(np.unique(logs)) < 2:
        return None
    return float(np.trapezoid(height[positive], logs) / np.ptp(logs))


def blocks_needed(
    *, spread: float, ratio: float, alpha: float, most: int, power: float = 0.9
) -> int | None:
    """Return the least number of blocks by which the evidence has chosen the right arm.

    That is, the sign e-process, looked at after each block, with chance `power`. Log ratios of
    blocks are normal(log ratio, spread). A study ends where it first decides; one for the wrong arm
    is lost. None when `most` blocks are too few.
    """
    wins = _chance_to_win(spread, ratio)
    chosen = 0.0
    undecided = np.ones(1)  # the chance of each number of blocks won
    for n in range(1, most + 1):
        undecided = np.convolve(undecided, [1 - wins, wins])
        won = np.arange(n + 1)
        decides = _log_sign_evidence(won, n) >= -math.log(alpha)
        chosen += undecided[decides & (won > n / 2)].sum()
        if chosen >= power:
            return n
        undecided[decides] = 0.0
    return None


def _chance_to_win(spread: float, ratio: float) -> float:
    """Return the chance that a block's ratio is on the right side of 1."""
    if spread:
        return NormalDist().cdf(abs(math.log(ratio)) / spread)
    return 0.0 if ratio == 1 else 1.0


def _finite(values: Sequence[float], name: str) -> FloatArray:
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite: {array.tolist()}")
    return array
