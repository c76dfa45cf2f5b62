"""What report.json holds: every number and every word that a page shows, under names.

Field names are the file's keys, but where `stored_as` says another one. An arm's are in
arm_records.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from bench.judge.arm_records import ArmSummary
from bench.ledger.json_records import JsonObject, JsonValue, Record, always, meaning, stored_as
from bench.ledger.plan_record import AmendedPlan
from bench.ledger.records import Status

REPORT_SCHEMA_VERSION = 2
VerdictName = Literal["arm sooner", "baseline sooner", "equivalent", "never reached", "undecided"]
ControlOutcome = Literal["no block yet", "failed", "passed"]


def report_name(rules: str, kind: str) -> str:
    """Return the name of a report's file.

    Rules other than headstart's have reports of their own.
    """
    return f"report.{kind}" if rules == "headstart" else f"report-{rules}.{kind}"


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

    @property
    def interval_width(self) -> float | None:
        """Greatest end over least of the interval that was asked for; None: any will do."""
        width = self.primary.get("interval_width")
        assert width is None or isinstance(width, float)
        return width


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
    reached: Annotated[tuple[int, int], meaning("runs of the arm, of the baseline")]
    evidence: float
    win_probability: float | None
    ratio: float | None
    low: float | None
    high: float | None
    least: float | None
    greatest: float | None
    bound: Interval | None
    correlation: Annotated[float | None, meaning("within blocks, of log times")]
    p_sign_flip: float | None
    p_holm: float | None
    too_wide: Annotated[
        bool, meaning("the interval says nothing about the ratio's size: no figure is shown")
    ]


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
    same: Annotated[bool | None, meaning("as the order by headstart's rules")]


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
    expected_best: Annotated[Sequence[float], meaning("score, of k trials, k = 1 to all")]


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
class CodeCount(Record):
    """How many of the finished runs were made by one state of the code; null: it was not kept."""

    code_sha256: str | None
    runs: int


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

    schema_version: Annotated[int, always(REPORT_SCHEMA_VERSION)] = REPORT_SCHEMA_VERSION
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
    class_order: Annotated[
        Sequence[str], meaning("the hardest first, by the mean of the arms' accuracies")
    ]
    runs: Sequence[RunFacts]
    codes: Annotated[Sequence[CodeCount], meaning("the code that made most runs first")]
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
