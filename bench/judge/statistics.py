"""What runs and blocks say, in numbers: speed where some runs never reach, and evidence (docs/METHOD.md, sections 3 and 4).

Pure functions. Times and tau (the common budget, at most every unreached run's own) are seconds or any other unit of one axis;
differences are log T_baseline - log T_arm, one a block. Too little data gives None or 1.0, never a verdict; data that are NaN,
or else cannot be, raise ValueError. What a user sets (alpha, ratio, spread) was checked as the config was read.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

import numpy as np
import scipy  # its parts are imported where they are used: `bench plan` needs none

ARRANGEMENTS = 20_000  # of the data in a permutation test: up to this many are all taken, of more so many are drawn


@dataclass(frozen=True, kw_only=True)
class Span:
    """A crossing time in (after, by], or exactly at both where they are equal.

    Not reached: by = inf, and after = the run's budget, or inf if it diverged (never reaches).
    """

    after: float
    by: float

    def __post_init__(self) -> None:
        if not 0 <= self.after <= self.by:
            raise ValueError(
                f"a crossing lies in (after, by] with 0 <= after <= by, not in ({self.after}, {self.by}]"
            )

    @property
    def reached(self) -> bool:
        """Whether the run reached within its own budget."""
        return self.by < math.inf


def sooner(a: Span, b: Span) -> float:
    """1.0 where a certainly crossed before b, 0.0 where b before a, 0.5 where that is open or neither reached."""
    return (1 + (a.by <= b.after and a.by < b.by) - (b.by <= a.after and b.by < a.by)) / 2


def win_probability(a: Sequence[Span], b: Sequence[Span]) -> float | None:
    """Mean of `sooner` over all pairs (Mann-Whitney's U over its greatest value); None where a side is empty."""
    if not (a and b):
        return None
    (a_after, a_by), (b_after, b_by) = (
        np.array([(span.after, span.by) for span in side]).T for side in (a, b)
    )
    won = (a_by[:, None] <= b_after) & (a_by[:, None] < b_by)
    lost = (b_by <= a_after[:, None]) & (b_by < a_by[:, None])
    return float(1 + won.mean() - lost.mean()) / 2


def rmst(spans: Sequence[Span], tau: float) -> float | None:
    """Restricted mean time, mean(min(T, tau)): the area under Kaplan-Meier up to tau. None without runs."""
    return fmean(min(span.by, tau) for span in spans) if spans else None


def ert(spans: Sequence[Span], tau: float) -> float | None:
    """Expected running time with restarts: all time spent over the number reached (Auger and Hansen 2005); None if that is 0.

    Unreached runs spent their own budget, diverged ones tau.
    """
    spent = math.fsum(
        next(time for time in (span.by, span.after, tau) if time < math.inf) for span in spans
    )
    reached = sum(span.reached for span in spans)
    return spent / reached if reached else None


def ert_floor(n: int, tau: float, alpha: float = 0.05) -> float | None:
    """What the ERT exceeds at level 1 - alpha when none of n runs reached: success is no likelier than 1 - alpha^(1/n)."""
    return (
        tau / math.expm1(-math.log(alpha) / n) if n > 0 else None
    )  # (1 - p) / p at p = 1 - alpha^(1/n), without cancelling


def ert_interval(spans: Sequence[Span], tau: float, alpha: float) -> tuple[float, float] | None:
    """Interval for ERT = m + (1 - p)/p tau, reached meaning by <= tau; its upper end is inf if none did. None without runs.

    Clopper-Pearson for the success rate p and Student's t for the mean successful time m, each at alpha / 2 (Bonferroni);
    m also lies in [0, tau], which is all that fewer than two successes tell, and keeps the interval honest there.
    At alpha = .05 on lognormal times (sigma .5) the t part alone misses up to 5 % instead of 2.5 %, but the whole at most 1.5 %
    (n = 5, 10, 20; p = .5, .8, 1), since Clopper-Pearson and the split give more away; so plain t stays.
    """
    times, n = [span.by for span in spans if span.by <= tau], len(spans)
    if not n:
        return None
    k, tail = len(times), alpha / 4
    p_low = float(scipy.special.betaincinv(k, n - k + 1, tail)) if k else 0.0
    p_high = float(scipy.special.betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    _, low, high = mean_interval(times, alpha / 2) or (0.0, 0.0, tau)
    upper = min(high, tau) + (1 - p_low) / p_low * tau if k else math.inf
    return max(low, 0.0) + (1 - p_high) / p_high * tau, upper


def sign_evidence(scores: Sequence[float]) -> float:
    """Evidence E_n that one arm is sooner, from a score of `sooner` a block; E_n >= 1/alpha decides, at any look.

    2^n B(1/2 + s, 1/2 + n - s) / B(1/2, 1/2), s the sum: the Beta(1/2, 1/2) mixture over p of (2p)^w (2(1 - p))^(1 - w).
    """
    if not set(scores) <= {0, 0.5, 1}:
        raise ValueError(f"a block's score is 0, 0.5 or 1: {list(scores)}")
    return math.exp(
        min(float(_log_sign_evidence(sum(scores), len(scores))), 700)
    )  # of floats, e^709 is the last


def _log_sign_evidence(won: float | np.ndarray, n: float | np.ndarray) -> np.ndarray:
    log_gamma = np.vectorize(math.lgamma, otypes=[float])
    return (
        n * math.log(2)
        - math.log(math.pi)
        + log_gamma(0.5 + won)
        + log_gamma(0.5 + n - won)
        - log_gamma(1.0 + n)
    )


def deciding_blocks(alpha: float) -> int:
    """The least number of blocks that decides when one arm wins them all: 7 at .05."""
    return next(n for n in itertools.count(1) if _log_sign_evidence(n, n) >= -math.log(alpha))


def confidence_sequence(
    differences: Sequence[float], alpha: float, g: float = 1.0
) -> tuple[float, float] | None:
    """All means that the t e-process does not rule out at alpha: holds at all looks at once. None: all reals (too few blocks).

    The process, with a right Haar prior on sigma and N(0, g) on mean/sigma, has for r = t^2/(n - 1) the evidence
    (1 + n g)^(-1/2) ((1 + r)/(1 + r/(1 + n g)))^(n/2); the ends of the interval are where that is 1/alpha.
    Differences should be normal: heavy tails only widen it, but of exponential ones (one-sided skew) it misses the mean in 10 %.
    """
    d = _finite(differences, "differences")
    n = len(d)
    bound = (math.sqrt(1 + n * g) / alpha) ** (2 / n) if n else math.inf
    if bound >= 1 + n * g:
        return None
    half = math.sqrt(((d - d.mean()) ** 2).mean() * (bound - 1) / (1 - bound / (1 + n * g)))
    return float(d.mean()) - half, float(d.mean()) + half


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of the paired sign-flip test on the mean: all 2^n sign patterns up to n = 14, else drawn ones. None without.

    SciPy's permutation_test refuses one block, and its tolerance for ties vanishes where the mean is nearly 0.
    """
    d, n = _finite(differences, "differences"), len(differences)
    draws = max(
        1000, min(ARRANGEMENTS, 4_000_000 // max(1, n))
    )  # fewer of very many blocks, which memory would not hold
    every = itertools.product((-1.0, 1.0), repeat=n)
    signs = _arrangements(2**n, every, np.ones(n), lambda rng: rng.choice((-1.0, 1.0), (draws, n)))
    return float((abs(signs @ d) >= abs(d.sum()) - 1e-12 * abs(d).sum()).mean()) if n else None


def unlike(reference: Sequence[float], found: Sequence[float]) -> tuple[float, float]:
    """One-sided permutation p that `found` is smaller than `reference`, and that it is larger, by the mean of logs.

    Takes positive numbers. Exact up to ARRANGEMENTS splits, else drawn with a fixed seed. (1.0, 1.0) where a side is empty.
    """
    if min([*found, *reference], default=1) <= 0:
        raise ValueError("unlike compares positive numbers")
    logs, n, k = (
        np.log(_finite([*found, *reference], "numbers to compare")),
        len(found) + len(reference),
        len(found),
    )
    if k in (0, n):
        return 1.0, 1.0
    picked = _arrangements(
        math.comb(n, k), itertools.combinations(range(n), k), np.arange(k),
        lambda rng: rng.random((ARRANGEMENTS, n)).argsort(axis=1)[:, :k],
    )  # fmt: skip
    sums = logs[picked].sum(axis=1)
    seen, tie = logs[:k].sum(), 1e-12 * abs(logs).sum()
    return float((sums <= seen + tie).mean()), float((sums >= seen - tie).mean())


def _arrangements(
    count: int,
    every: Iterable[Sequence[float]],
    own: np.ndarray,
    draw: Callable[[np.random.Generator], np.ndarray],
) -> np.ndarray:
    """A permutation test's rows: every one where they are few, else drawn ones with the data's own, so that no p is 0."""
    if count <= ARRANGEMENTS:
        return np.array(list(every))
    return np.vstack([own, draw(np.random.default_rng(0))])


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p-values, in the order given; None stays None and is not counted."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    if not all(0 <= p <= 1 for p, _ in known):
        raise ValueError(f"a p-value lies in [0, 1]: {list(p_values)}")
    steps = itertools.accumulate(
        (min(1.0, p * (len(known) - rank)) for rank, (p, _) in enumerate(known)), max
    )
    adjusted = {index: step for (_, index), step in zip(known, steps, strict=True)}
    return [adjusted.get(index) for index in range(len(p_values))]


def mean_interval(differences: Sequence[float], alpha: float) -> tuple[float, float, float] | None:
    """Mean, low and high by Student's t, for one look at a planned n; the reals for n = 1, None for n = 0."""
    d = _finite(differences, "differences")
    if len(d) < 2:
        return (float(d[0]), -math.inf, math.inf) if len(d) else None
    mean, half = (
        float(d.mean()),
        float(scipy.special.stdtrit(len(d) - 1, 1 - alpha / 2) * d.std(ddof=1) / math.sqrt(len(d))),
    )
    return mean, mean - half, mean + half


def log_area(xs: Sequence[float], accuracies: Sequence[float]) -> float | None:
    """Mean accuracy over log x (trapezoids over the log span); points with x <= 0 are left out. None for fewer than two xs."""
    x, height = _finite(list(zip(xs, accuracies, strict=True)), "points").reshape(-1, 2).T
    order = np.argsort(x, kind="stable")[np.count_nonzero(x <= 0) :]
    logs = np.log(x[order])
    return float(np.trapezoid(height[order], logs) / np.ptp(logs)) if len(set(logs)) > 1 else None


def plan_blocks(
    *, spread: float, ratio: float, alpha: float, most: int, power: float = 0.9
) -> int | None:
    """Least number of blocks by which the sign e-process, looked at after each, has chosen the right arm with chance `power`.

    Log ratios of blocks are normal(log ratio, spread). A study ends where it first decides; one for the wrong arm is lost.
    None when `most` blocks are too few.
    """
    wins = NormalDist().cdf(abs(math.log(ratio)) / spread) if spread else float(ratio != 1)
    chosen, undecided = 0.0, np.ones(1)  # undecided: the chance of each number of blocks won
    for n in range(1, most + 1):
        undecided = np.convolve(undecided, [1 - wins, wins])
        won = np.arange(n + 1)
        decides = _log_sign_evidence(won, n) >= -math.log(alpha)
        chosen += undecided[decides & (won > n / 2)].sum()
        if chosen >= power:
            return n
        undecided[decides] = 0.0
    return None


def _finite(values: Sequence[float] | Sequence[tuple[float, float]], what: str) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite: {array.tolist()}")
    return array
