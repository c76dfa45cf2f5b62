"""What a tuning tried, what it found and what that took, from the ledgers of its trials.

Pure; `tuning` in report.json.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from bench.judge.clocks import read_clock
from bench.judge.records import ArmTuning, TrialSummary, TuningSummary
from bench.judge.study import Study
from bench.ledger.records import Status
from bench.ledger.result import RunResult


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A tuning run, made or still to come: its arm, its rate, its budget in training images."""

    arm: str
    learning_rate: float
    budget_images: int


@dataclass(frozen=True, kw_only=True)
class TuningLimits:
    """What each arm may have at the most."""

    learning_rates: int
    runs_per_rate: int
    budget_images: int


@dataclass(frozen=True)
class _LimitedCount:
    """How many of a thing an arm has, and how many it may have."""

    things: str
    count: int
    allowed: int


def summarize_tuning(study: Study, trials: Sequence[RunResult], clock: str) -> TuningSummary | None:
    """Sum up each arm's trials, and say what makes them unfair, a phrase each.

    None without trials.
    """
    limits = tuning_limits(study)
    if not trials or limits is None:
        return None
    arms = {}
    for arm in study.arms:
        arms[arm] = _summarize_arm([run for run in trials if run.arm == arm], clock)
    tried = [made_trial(run) for run in trials if run.arm in study.arms]
    return TuningSummary(arms=arms, unfair=tuning_excesses(tried, limits) + _inequality(arms))


def tuning_limits(study: Study) -> TuningLimits | None:
    """Return what a study's config allows each arm; None where nothing is tuned."""
    if study.tune is None:
        return None
    return TuningLimits(
        learning_rates=study.tune.trials,
        runs_per_rate=study.tune.seeds,
        budget_images=study.tune.samples or study.budget_samples,
    )


def made_trial(run: RunResult) -> Trial:
    """Return the trial that a tuning run is."""
    return Trial(arm=run.arm, learning_rate=run.learning_rate, budget_images=run.budget_samples)


def tuning_excesses(trials: Sequence[Trial], limits: TuningLimits) -> list[str]:
    """Say where an arm was tuned more than is allowed, a phrase for each excess.

    None where all is fair.
    """
    excesses = []
    for arm in sorted({trial.arm for trial in trials}):
        arm_trials = [trial for trial in trials if trial.arm == arm]
        excesses += _arm_excesses(arm, arm_trials, limits)
    return excesses


def best_rate(scores: Mapping[float, float]) -> float:
    """Return the learning rate with the best score.

    Of several the highest, or the lowest where all of them score 0.
    """
    best_score = max(scores.values())
    best_rates = [rate for rate, score in scores.items() if score == best_score]
    return max(best_rates) if best_score else min(best_rates)


def expected_best(scores: Iterable[float]) -> list[float]:
    """Return the mean of the best score over all choices of k of N scores, for k = 1 to N."""
    rising = sorted(scores)
    means = []
    for k in range(1, len(rising) + 1):
        # A score is the best of k where the other k - 1 are among those below it.
        total = sum(comb(below, k - 1) * score for below, score in enumerate(rising))
        means.append(total / comb(len(rising), k))
    return means


def _arm_excesses(arm: str, trials: Sequence[Trial], limits: TuningLimits) -> list[str]:
    runs_by_rate = Counter(trial.learning_rate for trial in trials)
    longest = max(trial.budget_images for trial in trials)
    counts = [
        _LimitedCount("learning rates", len(runs_by_rate), limits.learning_rates),
        _LimitedCount(
            "runs at one learning rate", max(runs_by_rate.values()), limits.runs_per_rate
        ),
        _LimitedCount("images in one run", longest, limits.budget_images),
    ]
    return [
        f"{arm} has {limited.count:,} {limited.things}, {limited.allowed:,} allowed"
        for limited in counts
        if limited.count > limited.allowed
    ]


def _inequality(arms: Mapping[str, ArmTuning]) -> list[str]:
    """Say that arms were not tuned alike, where they were not: in one phrase."""
    efforts = {(len(tuning.trials), tuning.samples) for tuning in arms.values()}
    if len(efforts) <= 1:
        return []
    phrases = ", ".join(
        f"{arm} {len(tuning.trials)} rates and {tuning.samples:,} images"
        for arm, tuning in arms.items()
    )
    return [f"arms were not tuned alike: {phrases}"]


def _summarize_arm(runs: Sequence[RunResult], clock: str) -> ArmTuning:
    """Sum up an arm's trials, the lowest rate first."""
    trials = []
    for rate in sorted({run.learning_rate for run in runs}):
        rate_runs = [run for run in runs if run.learning_rate == rate]
        trials.append(_summarize_trial(rate, rate_runs, clock))
    scores = {trial.lr: trial.score for trial in trials if trial.score is not None}
    best = best_rate(scores) if scores else None
    edges = [trial.lr for trial in (*trials[:1], *trials[-1:])]
    samples = sum(trial.samples for trial in trials)
    seconds = sum(trial.seconds for trial in trials)
    return ArmTuning(
        trials=trials,
        best=best,
        at_edge=best in edges,
        samples=samples,
        seconds=seconds,
        expected_best=expected_best(scores.values()),
    )


def _summarize_trial(rate: float, runs: Sequence[RunResult], clock: str) -> TrialSummary:
    """Score one learning rate by its runs' mean val accuracy at the end.

    Null before all have ended.
    """
    scores = [_score(run) for run in runs if run.is_finished]
    have_all_ended = len(scores) == len(runs)
    samples = sum(run.budget_samples for run in runs)
    seconds = sum(read_clock(clock, run.segments_s) for run in runs)
    return TrialSummary(
        lr=rate,
        scores=scores,
        score=statistics.fmean(scores) if have_all_ended else None,
        status=_trial_status(runs),
        samples=samples,
        seconds=seconds,
    )


def _score(run: RunResult) -> float:
    """Return a finished run's val accuracy at the end, 0 where it diverged."""
    return run.scored_evaluation.accuracy if run.status == "completed" else 0.0


def _trial_status(runs: Sequence[RunResult]) -> Status:
    """Return the status of the first run that is not completed, if there is one."""
    for run in runs:
        if run.status != "completed":
            return run.status
    return "completed"
