"""What report.json holds: every number and every word that a page shows, under names.

Field names are the file's keys, but where `stored_as` says another one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from bench.ledger.json_records import JsonObject, JsonValue, Record, stored_as
from bench.ledger.plan_record import AmendedPlan
from bench.ledger.records import Pretraining, Status

REPORT_SCHEMA_VERSION = 2
VerdictName = Literal["arm sooner", "baseline sooner", "equivalent", "never reached", "undecided"]
Bottleneck = Literal["data", "communication", "compute"]
StoredOutcome = Literal["too good", "too slow", "as stored"]
ControlOutcome = Literal["no block yet", "failed", "passed"]


def report_name(rules: str, kind: str) -> str:
    """Return the name of a report's file.

    Rules other than headstart's have reports of their own.
    """
    return f"report.{kind}" if rules == "headstart" else f"report-{rules}.{kind}"


@dataclass(frozen=True, kw_only=True)
class Spread(Record):
    """Median and extremes of runs, of counts whole ones; null where there is nothing."""

    median: int | float | None
    low: int | float | None
    high: int | float | None


@dataclass(frozen=True, kw_only=True)
class PlanSummary(Record):
    """What was planned before the runs; no hash where nothing was, as of curves from elsewhere."""

    sha256: str | None
    primary: JsonObject
    amended: Sequence[AmendedPlan]

    @property
    def alpha(self) -> float:
        """How often a verdict may be wrong."""
        alpha = self.primary["alpha"]
        assert isinstance(alpha, float)
        return alpha


@dataclass(frozen=True, kw_only=True)
class DatasetName(Record):
    """The images of a study."""

    name: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class PrimaryPair(Record):
    """The comparison that decides: this arm against the baseline, at this threshold."""

    arm: str
    threshold: float
    baseline: str


@dataclass(frozen=True, kw_only=True)
class WeightsSummary(Record):
    """What an arm's network started from."""

    source: str | None
    tag: str | None
    sha256: str | None
    transform: str | None
    stem: str | None
    pretraining: Pretraining | None


@dataclass(frozen=True, kw_only=True)
class MeanTime(Record):
    """Mean seconds, each at most the common budget `tau` (RMST)."""

    value: float | None
    tau: float | None


@dataclass(frozen=True, kw_only=True)
class RestartTime(Record):
    """Expected seconds with restarts (ERT), its interval, and what it exceeds where none
    reached.
    """

    value: float | None
    low: float | None
    high: float | None
    floor: float | None


@dataclass(frozen=True, kw_only=True)
class ThresholdSummary(Record):
    """How an arm's runs did at one threshold: counts of runs, and spreads over those that
    reached.
    """

    threshold: float
    runs: int
    reached: int
    confirmed: int
    terminal: int
    touched: int
    fell_back: int
    ended_below: int
    time_to_accuracy_s: Spread
    epochs_to_accuracy: Spread
    samples_to_accuracy: Spread
    flops_to_accuracy: Spread
    joules_to_accuracy: Spread
    mean_s: MeanTime
    restarts_s: RestartTime


@dataclass(frozen=True, kw_only=True)
class StepSplit(Record):
    """How a step's time splits, as fractions of the train segment, and what could be otherwise."""

    data_wait: float | None
    communication: float | None
    compute: float | None
    bottleneck: Bottleneck | None


@dataclass(frozen=True, kw_only=True)
class CompileSummary(Record):
    """What compiling took, and after how many runs it has paid for itself (null: never)."""

    enabled: bool
    compile_s: float | None
    cache_hits: int | None
    cache_misses: int | None
    step_s: float | None
    eager_step_s: float | None
    break_even_runs: float | None


@dataclass(frozen=True, kw_only=True)
class StoredEpochs(Record):
    """Whether an arm converged as in an earlier study, in epochs to the primary threshold."""

    epochs: Spread
    p_sooner: float
    p_later: float
    outcome: Annotated[StoredOutcome, stored_as("told")]


@dataclass(frozen=True, kw_only=True)
class ConfusedPair(Record):
    """Two classes that were taken for each other; `share_of_errors` is a fraction."""

    classes: tuple[str, str]
    count: int
    share_of_errors: float


@dataclass(frozen=True, kw_only=True)
class ClassSummary(Record):
    """Test images by class (row) and by what they were taken for, over all runs of an arm."""

    names: Sequence[str]
    confusion: Sequence[Sequence[int]]
    accuracy: Sequence[float | None]
    most_confused: Sequence[ConfusedPair]


@dataclass(frozen=True, kw_only=True)
class ArmSummary(Record):
    """All that is known of one arm from its runs."""

    name: str
    network: str | None
    parameters: int | None
    flops_per_image: int | None
    weights: WeightsSummary | None
    runs: int  # finished ones
    statuses: Mapping[Status, int]
    thresholds: Sequence[ThresholdSummary]
    images_per_s: float | None
    step: StepSplit | None
    compile: CompileSummary | None
    final_accuracy: Spread
    optimism_gap: Spread  # val above test, a fraction
    area_log_flops: Spread
    stored_epochs: Annotated[StoredEpochs | None, stored_as("reference")]
    classes: ClassSummary | None

    def at(self, threshold: float) -> ThresholdSummary:
        """Return how the runs did at a threshold. Raises KeyError for one that was not asked."""
        for summary in self.thresholds:
            if summary.threshold == threshold:
                return summary
        raise KeyError(threshold)


@dataclass(frozen=True, kw_only=True)
class Interval(Record):
    """Both ends; null is open."""

    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison(Record):
    """An arm against the baseline at one threshold.

    Ratio = the baseline's time over the arm's; only where every run of both reached, else a bound.
    """

    arm: str
    baseline: str
    threshold: float
    blocks: int
    blocks_sooner: int
    blocks_later: int
    reached: tuple[int, int]  # runs of the arm, of the baseline
    evidence: float
    win_probability: float | None
    ratio: float | None
    low: float | None
    high: float | None
    least: float | None
    greatest: float | None
    bound: Interval | None
    correlation: float | None  # within blocks, of log times
    p_sign_flip: float | None
    p_holm: float | None
    too_wide: bool  # the interval says nothing about the ratio's size: no figure is shown


@dataclass(frozen=True, kw_only=True)
class FinalAccuracy(Record):
    """Test accuracy at the same budget, arm less baseline, as a fraction, paired by block."""

    arm: str
    baseline: str
    blocks: int
    difference: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Crossover(Record):
    """The threshold from which on the baseline is the sooner one; null: there is none."""

    arm: str
    baseline: str
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class RankedArm(Record):
    """An arm's median time under some rules; null where it did not get there."""

    arm: str
    median_s: float | None


@dataclass(frozen=True, kw_only=True)
class Ranking(Record):
    """The arms under one set of rules, the soonest first; null where runs have no such
    evaluations.
    """

    rules: str
    meaning: Annotated[str, stored_as("words")]
    clock: str
    arms: Sequence[RankedArm] | None
    same: bool | None  # the order of headstart's rules


@dataclass(frozen=True, kw_only=True)
class Difference(Record):
    """A fact in which an arm is not as the baseline, and the config keys that explain it."""

    arm: str
    fact: str
    value: JsonValue
    baseline: JsonValue
    explained_by: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class TrialSummary(Record):
    """One learning rate of an arm: the score of each run that ended, their mean, and what it
    took.
    """

    lr: float
    scores: Sequence[float]
    score: float | None
    status: Status
    samples: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ArmTuning(Record):
    """An arm's trials, the lowest rate first, with the best of them and what all took."""

    trials: Sequence[TrialSummary]
    best: float | None
    at_edge: bool
    samples: int
    seconds: float
    expected_best: Sequence[float]  # of k trials, k = 1 to all


@dataclass(frozen=True, kw_only=True)
class TuningSummary(Record):
    """How each arm was tuned, and what makes that unfair: a phrase each."""

    arms: Mapping[str, ArmTuning]
    unfair: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class BreakEven(Record):
    """After how many runs pretraining has paid for itself, in FLOP (METHOD's N*).

    `saved_flops` a run, to the primary threshold; null where not all runs reached it. `runs` is
    null where nothing is saved, or not known.
    """

    arm: str
    source: str
    pretraining_flops: float
    estimate: bool
    saved_flops: float | None
    runs: float | None


@dataclass(frozen=True, kw_only=True)
class TuningCost(Record):
    """An arm's time to the primary threshold with its tuning in it.

    `ran_at_best` is whether its runs have the rate that tuning found best.
    """

    arm: str
    ran_at_best: bool
    with_tuning_s: float | None


@dataclass(frozen=True, kw_only=True)
class RunFacts(Record):
    """One run, as the report lists it."""

    run_id: str
    arm: str
    seed: int
    block: int
    status: Status
    attempts: int
    resumed: bool
    ledger_sha256: str
    test_accuracy: float | None
    images_per_s: float | None
    wall_s: float | None
    segments_s: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Control(Record):
    """An arm that must equal the baseline, or never reach the threshold, and whether it did so."""

    arm: str
    expected: Literal["equal", "never"]
    outcome: Annotated[ControlOutcome, stored_as("told")]


@dataclass(frozen=True, kw_only=True)
class Verdict(Record):
    """One of METHOD's five verdicts, and why."""

    verdict: VerdictName
    reason: str


@dataclass(frozen=True, kw_only=True)
class Report(Record):
    """The content of report.json."""

    schema_version: int = REPORT_SCHEMA_VERSION
    method_version: str
    experiment: str
    rules: str
    plan: PlanSummary
    dataset: DatasetName | None
    clock: str
    primary: PrimaryPair
    environment: Mapping[str, JsonValue] | None
    arms: Sequence[ArmSummary]
    comparisons: Sequence[Comparison]
    final_accuracy: Sequence[FinalAccuracy]
    crossover: Sequence[Crossover]
    rankings: Sequence[Ranking]
    audit: Sequence[Difference]
    tuning: TuningSummary | None
    tuning_cost: Sequence[TuningCost]
    break_even: Sequence[BreakEven]
    class_order: Sequence[str]  # the hardest first, by the mean of the arms' accuracies
    runs: Sequence[RunFacts]
    controls: Sequence[Control]
    verdict: Verdict

    def arm(self, name: str) -> ArmSummary:
        """Return an arm's summary. Raises KeyError for an arm that is not there."""
        for summary in self.arms:
            if summary.name == name:
                return summary
        raise KeyError(name)

    def comparison(self, arm: str, threshold: float) -> Comparison | None:
        """Return the comparison of an arm at a threshold; None for the baseline."""
        for comparison in self.comparisons:
            if (comparison.arm, comparison.threshold) == (arm, threshold):
                return comparison
        return None

    @property
    def primary_comparison(self) -> Comparison | None:
        """The comparison that decides; None where there is one arm only."""
        return self.comparison(self.primary.arm, self.primary.threshold)
