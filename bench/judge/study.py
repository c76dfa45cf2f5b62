"""What a study asks, typed, for all of bench.judge: from a stored plan, or of curves from
elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.config.load import from_stored
from bench.config.schema import ExperimentConfig, TuneConfig
from bench.ledger.json_records import JsonObject, JsonValue, to_json
from bench.ledger.plan_record import AmendedPlan, PlanRecord


@dataclass(frozen=True, kw_only=True)
class Study:
    """One question with its arms, and the rules that were agreed before the runs.

    `plan_sha256` None: nothing was planned. `config` None: of curves from elsewhere, whose `clock`
    is in the user's words.
    """

    name: str
    question: str
    kind: Literal["anytime", "annealed"]
    arms: Mapping[str, Mapping[str, JsonValue]]  # overrides of each arm, by dotted key
    baseline: str
    primary_arm: str
    primary_threshold: float
    alpha: float
    smallest_ratio: float
    interval_width: float | None
    thresholds: Sequence[float]
    confirm_looks: int
    clock: str
    clock_label: str
    controls: Mapping[str, Literal["equal", "never"]]
    stored_epochs: Mapping[str, Sequence[float]]
    steps: int  # of a run
    tune: TuneConfig | None
    budget_samples: int  # of a run, the longest where there are several
    plan_sha256: str | None
    primary: JsonObject  # as it was planned
    amended: Sequence[AmendedPlan]
    config: ExperimentConfig | None

    @property
    def other_arms(self) -> list[str]:
        """Every arm but the baseline."""
        return [arm for arm in self.arms if arm != self.baseline]


def planned_study(plan: PlanRecord) -> Study:
    """Type a stored plan. Raises ValueError for a config that this headstart cannot read."""
    study = study_of(from_stored(plan.config))
    return replace(
        study, plan_sha256=plan.sha256, primary=to_json(plan.primary), amended=plan.amended
    )


def study_of(config: ExperimentConfig) -> Study:
    """Say what a config asks; nothing is planned yet."""
    return Study(
        name=config.name,
        question=config.question,
        kind=config.kind,
        arms=config.arms,
        baseline=config.baseline,
        primary_arm=config.primary.arm,
        primary_threshold=config.primary.threshold,
        alpha=config.primary.alpha,
        smallest_ratio=config.primary.smallest_ratio,
        interval_width=config.primary.interval_width,
        thresholds=config.thresholds,
        confirm_looks=config.confirm_looks,
        clock=config.clock,
        clock_label=f"{config.clock} clock",
        controls=config.controls,
        stored_epochs=config.reference,
        steps=config.train.samples // config.train.global_batch_size,
        tune=config.tune,
        budget_samples=config.train.samples,
        plan_sha256=None,
        primary={},
        amended=(),
        config=config,
    )
