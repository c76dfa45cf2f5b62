"""The config's shape: frozen dataclasses. Values and their meaning stand in configs/base.yaml; nothing here has a default."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, dataclass_transform

from pydantic import ConfigDict, Field, JsonValue

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Accuracy = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
]  # of a directory: neither hidden nor `..`


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _Section:
    """Makes each subclass a frozen dataclass by keyword, in which an unknown key is refused."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    __pydantic_config__ = ConfigDict(extra="forbid")

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)


class DataConfig(_Section):
    """Where images come from and how they reach the device."""

    source: str
    dir: str | None
    download: bool
    urls: tuple[str, ...]
    image_size: PositiveInt | None
    loader: str
    train_samples: PositiveInt | None
    val_samples: PositiveInt | None
    test_samples: PositiveInt | None
    pad: NonNegativeInt
    pad_mode: Literal["zero", "reflect"]
    flip: Literal["none", "random", "alternating"]
    cutout: NonNegativeInt
    last_batch: Literal["drop", "partial"]
    normalization: Literal["network", "unit"]
    labels: Literal["given", "shuffled"]


class ModelConfig(_Section):
    """The network, its first layers, and the size that images are resized to on the device (null: as they are)."""

    name: str
    stem: Literal["stock", "3x3"]
    input_size: PositiveInt | None
    interpolation: Literal["bilinear", "bicubic"]
    checkpoint_activations: bool


class WeightsConfig(_Section):
    """What the network starts from; how a 3x3 stem is made of 7x7 weights, and what is left of the values."""

    source: Literal["random", "hub", "file", "self"]
    tag: str | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    accept_license: str | None
    file: str | None
    recipe: str | None
    stem: Literal["crop", "resample", "random"] | None
    transform: Literal["shuffled", "random_matched"] | None


class OptimConfig(_Section):
    """Optimizer and its numbers; `momentum` is SGD's, the betas are Adam's; `layer_decay` is each layer's lr / the next one's."""

    name: str
    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    momentum: Fraction
    beta1: Fraction
    beta2: Fraction
    layer_decay: Annotated[float, Field(gt=0, le=1)]


class FinetuneConfig(_Section):
    """Which layers are trained, for how many steps the head alone at first, and how fast BatchNorm's statistics move."""

    layers: Literal["all", "head"]
    head_first_steps: NonNegativeInt
    batch_norm_momentum: Annotated[float, Field(gt=0, le=1)] | None


class ScheduleConfig(_Section):
    """Learning rate over steps, how it reacts to val loss, and the average of weights that looks are taken on (decay 0: none)."""

    name: str
    lr_warmup_steps: NonNegativeInt
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] | None
    plateau_patience: PositiveInt
    plateau_min_lr: NonNegativeFloat
    average_decay: Fraction
    average_every_steps: PositiveInt


class TrainConfig(_Section):
    """One run's budget and step, and whether it may end sooner; patience is counted in looks without a lower val loss."""

    global_batch_size: PositiveInt
    samples: PositiveInt
    accumulate_steps: PositiveInt
    stop_patience: PositiveInt | None
    restore_best: bool
    label_smoothing: Fraction
    check_every_steps: PositiveInt
    checkpoint_every_looks: NonNegativeInt


class EvaluationConfig(_Section):
    """The grid of looks, in training samples, and the batch that a look is taken in; test beside val, for the record, or not."""

    every_samples: PositiveInt
    batch_size: PositiveInt
    test_every_look: bool


class CompileConfig(_Section):
    """torch.compile, always fullgraph and with static shapes."""

    enabled: bool
    mode: Literal["default", "max-autotune-no-cudagraphs"]


class HardwareConfig(_Section):
    """What is asked of the machine. Never what it has: that is recorded when a run starts."""

    world_size: PositiveInt | None
    cpu_threads: PositiveInt | None
    loader_threads: PositiveInt


class WandbConfig(_Section):
    """Weights & Biases; mode null: WANDB_MODE, else online with a key and offline without."""

    mode: Literal["online", "offline", "disabled"] | None
    project: str
    entity: str | None
    tags: tuple[str, ...]


class PrimaryConfig(_Section):
    """The one comparison that decides: this arm against the baseline, at this threshold; and by what rule."""

    arm: str
    threshold: Accuracy
    alpha: Annotated[float, Field(gt=0, le=0.5)]
    max_blocks: PositiveInt
    spread: PositiveFloat | None
    smallest_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    interval_width: Annotated[float, Field(gt=1, allow_inf_nan=False)] | None


class TuneConfig(_Section):
    """`bench tune`: how many learning rates are tried for each arm, and what each trial may cost."""

    trials: Annotated[int, Field(ge=3)]
    finer: bool
    seeds: PositiveInt
    samples: PositiveInt | None


class ExperimentConfig(_Section):
    """One question with its arms, seeds and factors. A run's config is the same with its arm's overrides applied."""

    name: Name
    question: str
    cost: str
    command: str
    expected: str
    kind: Literal["anytime", "annealed"]
    arms: dict[Name, dict[str, JsonValue]]
    baseline: str
    factors: tuple[str, ...]
    primary: PrimaryConfig
    thresholds: tuple[Accuracy, ...]
    confirm_looks: PositiveInt
    clock: str
    blocks: PositiveInt
    until_decided: bool
    seed: Seed
    budgets: tuple[PositiveInt, ...]
    controls: dict[Name, Literal["equal", "never"]]
    reference: dict[Name, tuple[PositiveFloat, ...]]
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
    compile: CompileConfig
    hardware: HardwareConfig
    trackers: tuple[str, ...]
    wandb: WandbConfig
    output: str
    imports: tuple[str, ...]
