"""An experiment's config from top to bottom: the question, how it is decided, and its sections.

Below each field stands its meaning; its type is its check. Defaults are in configs/base.yaml.
Checks that look at several keys are in study_checks.py and run_checks.py.
"""

from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from bench.config.fields import Accuracy, Name, PositiveFloat, PositiveInt, Section, Seed
from bench.config.sections import (
    CheckpointConfig,
    CompileConfig,
    DataConfig,
    EvaluationConfig,
    FinetuneConfig,
    HardwareConfig,
    ModelConfig,
    OptimConfig,
    ScheduleConfig,
    TrainConfig,
    WeightsConfig,
)

__all__ = [
    "FACTOR_ROOTS",
    "PLACES",
    "RUN_ROOTS",
    "CheckpointConfig",
    "CompileConfig",
    "DataConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "FinetuneConfig",
    "HardwareConfig",
    "ModelConfig",
    "OptimConfig",
    "PrimaryConfig",
    "ScheduleConfig",
    "TrainConfig",
    "TuneConfig",
    "WandbConfig",
    "WeightsConfig",
    "section_keys",
]


@dataclass(frozen=True, kw_only=True)
class PrimaryConfig(Section):
    """The one comparison that decides; the experiment names its arm and threshold."""

    arm: str
    """The arm that is compared with the baseline."""

    threshold: Accuracy
    """The accuracy that both race to; one of `thresholds`."""

    alpha: Annotated[float, Field(gt=0, le=0.5)]
    """Accepted share of false verdicts, over all looks after every block."""

    max_blocks: PositiveInt
    """until_decided: end at so many blocks at the latest."""

    spread: PositiveFloat | None
    """Standard deviation of the blocks' log ratios in an earlier study, from which `bench plan`
    says how many blocks decide; null: it does not say."""

    smallest_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    """Equivalent is a ratio whose interval lies within 1 / this and this."""

    interval_width: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None
    """until_decided: go on until the interval, high / low, is this narrow; null: any width."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig(Section):
    """`bench tune`: the learning rates tried for each arm; val accuracy at the end decides."""

    trials: Annotated[int, Field(ge=3)]
    """Learning rates an arm: optim.lr, a tenth and ten times of it, then beyond a best one at the
    edge, and outwards."""

    finer: bool
    """Then try between the best one and the better of its two neighbours."""

    seeds: PositiveInt
    """Runs a trial, with seeds far from those of the blocks."""

    samples: PositiveInt | None
    """Training images of a trial's run; null: train.samples."""


@dataclass(frozen=True, kw_only=True)
class WandbConfig(Section):
    """Where the tracker wandb sends runs."""

    mode: Literal["online", "offline", "disabled"] | None
    """online | offline | disabled; null: WANDB_MODE, else online with a key, offline without."""

    project: str
    """Name of the project in Weights & Biases."""

    entity: str | None
    """User or team; null: the key's own."""

    tags: tuple[str, ...]
    """Words that each run is tagged with."""


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(Section):
    """One question with its arms, seeds and factors.

    A run's config is the same with its arm's overrides applied.
    """

    name: Name
    """Name of the experiment, and of its directory below `output`."""

    question: str
    """What the experiment is to answer, in a sentence."""

    cost: str
    """Runs, images and time that it takes, and on what machine."""

    command: str
    """The shell command that starts it."""

    expected: str
    """What should come out, so that a surprise is seen."""

    kind: Literal["anytime", "annealed"]
    """anytime (every evaluation may decide) | annealed (only a schedule's end)."""

    arms: dict[Name, dict[str, JsonValue]]
    """The treatments that are compared: each arm's overrides, by dotted key."""

    baseline: str
    """The arm that ratios are taken against."""

    factors: tuple[str, ...]
    """Keys or sections in which arms may differ."""

    primary: PrimaryConfig

    thresholds: tuple[Accuracy, ...]
    """Accuracies whose time is reported, rising."""

    confirm_looks: PositiveInt
    """A crossing counts when so many evaluations in a row uphold it."""

    clock: str
    """train | airbench | mlperf | algoperf | wall (docs/METHOD.md, section 1)."""

    blocks: PositiveInt
    """How often every arm is run; a block is one run of each."""

    until_decided: bool
    """`bench run --until-decided`: add blocks until primary is decided, or there are
    primary.max_blocks."""

    seed: Seed
    """Block j runs with seed + j."""

    budgets: tuple[PositiveInt, ...]
    """annealed: training images of each run of an arm in a block, rising to train.samples; []: one
    run of train.samples."""

    controls: dict[Name, Literal["equal", "never"]]
    """Arms that must behave: equal (not told apart from the baseline) | never (does not reach the
    threshold)."""

    reference: dict[Name, tuple[PositiveFloat, ...]]
    """By arm: epochs to the primary threshold in an earlier study; an arm that is sooner is
    doubted. Overrides of what decides a run, or of the threshold, drop it."""

    data: DataConfig
    model: ModelConfig
    weights: WeightsConfig
    finetune: FinetuneConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    train: TrainConfig
    evaluation: EvaluationConfig
    tune: TuneConfig

    precision: Literal["auto", "fp32", "bf16", "fp16"]
    """fp32 | bf16 | fp16 | auto (bf16 on a GPU that has it; on a CPU by a short recorded probe)."""

    compile: CompileConfig
    hardware: HardwareConfig
    checkpoint: CheckpointConfig

    trackers: tuple[str, ...]
    """Where events are shown beside the ledger: console, wandb."""

    wandb: WandbConfig

    output: str
    """Directory of all studies: <output>/<experiment>/<run>/."""

    imports: tuple[str, ...]
    """Modules of third parties to import first, which register plug-ins."""


# What decides a run's numbers. Everything else names, judges or stores them.
RUN_ROOTS = (
    "kind",
    "data",
    "model",
    "weights",
    "finetune",
    "optim",
    "schedule",
    "train",
    "evaluation",
    "precision",
    "compile",
)
# Where files come from, not what they hold.
PLACES = ("data.dir", "data.download", "data.urls", "weights.accept_license")
# What an experiment may declare as a factor, whole or one key of it.
FACTOR_ROOTS = ("data", "model", "weights", "finetune", "optim", "schedule", "train", "seed")


def section_keys(section: str | None = None) -> list[str]:
    """List the keys of a section, or of the experiment itself; none where there is no section."""
    if section is None:
        return [field.name for field in fields(ExperimentConfig)]
    for field in fields(ExperimentConfig):
        if field.name == section and is_dataclass(field.type):
            return [key.name for key in fields(field.type)]
    return []
