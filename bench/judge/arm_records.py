"""What report.json holds of one arm: what it is, what it reached and when, how it ran."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from bench.ledger.json_records import Record, meaning, stored_as
from bench.ledger.records import Pretraining, Status

Bottleneck = Literal["data", "communication", "compute"]
StoredOutcome = Literal["too good", "too slow", "as stored"]


@dataclass(frozen=True, kw_only=True)
class Spread(Record):
    """Median and extremes of runs, of counts whole ones; null where there is nothing."""

    median: int | float | None
    low: int | float | None
    high: int | float | None


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
    runs: Annotated[int, meaning("finished ones")]
    statuses: Mapping[Status, int]
    thresholds: Sequence[ThresholdSummary]
    images_per_s: float | None
    step: StepSplit | None
    compile: CompileSummary | None
    final_accuracy: Spread
    optimism_gap: Annotated[Spread, meaning("val accuracy above test accuracy, a fraction")]
    area_log_flops: Spread
    stored_epochs: Annotated[StoredEpochs | None, stored_as("reference")]
    classes: ClassSummary | None

    def at(self, threshold: float) -> ThresholdSummary:
        """Return how the runs did at a threshold. Raises KeyError for one that was not asked."""
        for summary in self.thresholds:
            if summary.threshold == threshold:
                return summary
        raise KeyError(threshold)
