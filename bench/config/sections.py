"""The sections of a config that say what one run does: its images, network, training and machine.

Below each field stands its meaning; its type is its check. Defaults are in configs/base.yaml.
"""

from dataclasses import dataclass
from typing import Literal

from bench.config.fields import (
    FractionBelowOne,
    NonNegativeFloat,
    NonNegativeInt,
    OpenFraction,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Section,
    Sha256,
)


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Where images come from, and how they reach the device."""

    source: str
    """cifar10 | digits | letters | image_folder | synthetic (noise, to measure throughput)."""

    dir: str | None
    """Folder with the source's files; null: CIFAR10_DIR for cifar10."""

    download: bool
    """Fetch CIFAR-10 once into the cache, where no folder is named."""

    urls: tuple[str, ...]
    """Mirrors of cifar-10-python.tar.gz, in this order; its checksum is known."""

    image_size: PositiveInt | None
    """Pixels a side; image_folder: resize to this, null: all images must have one size; synthetic:
    the size of its images."""

    loader: str
    """dali | resident | torch: the same images and numbers from each."""

    train_samples: PositiveInt | None
    """Use the first so many of the split's fixed permutation; null: all."""

    val_samples: PositiveInt | None
    """The same, of validation images."""

    test_samples: PositiveInt | None
    """The same, of test images."""

    pad: NonNegativeInt
    """Pixels that an image is padded by on each side before a random crop."""

    pad_mode: Literal["zero", "reflect"]
    """What it is padded with: reflect (the image mirrored at its edge) | zero."""

    flip: Literal["none", "random", "alternating"]
    """Mirror images: random | alternating (a random half, then the other half, by epoch) | none."""

    cutout: NonNegativeInt
    """Pixels a side of a square that is set to the mean; 0: none."""

    last_batch: Literal["drop", "partial"]
    """An epoch's incomplete last batch: drop | partial (train on it)."""

    normalization: Literal["network", "unit"]
    """network (timm's: as its weights need it; others: the data's mean and standard deviation) |
    unit (pixels as fractions of 255)."""

    labels: Literal["given", "shuffled"]
    """given | shuffled (training labels dealt anew: nothing can be learned)."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """The network, its first layers, and the size of the images that it sees."""

    name: str
    """small_cnn | maxpool_cnn, or the name of any timm network."""

    stem: Literal["stock", "3x3"]
    """stock | 3x3 (ResNets: a 3x3 convolution of stride 1, no max-pool)."""

    input_size: PositiveInt | None
    """Pixels a side, to which the device resizes images; null: as they are."""

    interpolation: Literal["bilinear", "bicubic"]
    """bicubic | bilinear, both antialiased."""

    checkpoint_activations: bool
    """Compute activations again in the backward pass, to save memory."""


@dataclass(frozen=True, kw_only=True)
class WeightsConfig(Section):
    """What the network starts from."""

    source: Literal["random", "hub", "file", "self"]
    """random | hub (pretrained weights of timm's) | file | self (trained first, by `recipe`)."""

    tag: str | None
    """hub: timm's tag of the weights, e.g. a1_in1k; null: timm's default. file: for the record."""

    sha256: Sha256 | None
    """hub, file: refuse a file with another digest; null: take any."""

    accept_license: str | None
    """hub: consent by name to a licence that is not open, e.g. cc-by-nc-4.0."""

    file: str | None
    """file: path of a safetensors file, or its name in HEADSTART_WEIGHTS_DIR."""

    recipe: str | None
    """self: the YAML of the training that makes the weights."""

    stem: Literal["crop", "resample", "random"] | None
    """How a 3x3 stem is made of a 7x7 one's weights: crop (its centre) | resample (least squares) |
    random; null: such weights are refused."""

    transform: Literal["shuffled", "random_matched"] | None
    """shuffled (values permuted in each tensor) | random_matched (normal, with each tensor's mean
    and variance); null: the values as they are."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Section):
    """Which layers are trained, and from when."""

    layers: Literal["all", "head"]
    """all | head (the others stay as they are, BatchNorm in eval mode)."""

    head_first_steps: NonNegativeInt
    """all: train the head alone for so many steps at first."""

    batch_norm_momentum: PositiveFraction | None
    """Share of a batch in running statistics; null: the network's."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Section):
    """The optimizer and its numbers."""

    name: str
    """adamw | adam | sgd (with Nesterov momentum)."""

    lr: PositiveFloat
    """Learning rate at its highest, after the lr_warmup."""

    weight_decay: NonNegativeFloat
    """Of weights alone: biases and normalisation layers have none."""

    momentum: FractionBelowOne
    """sgd: share of the last step's direction that stays."""

    beta1: FractionBelowOne
    """adam, adamw: decay of the gradient's average."""

    beta2: FractionBelowOne
    """adam, adamw: decay of the squared gradient's average."""

    layer_decay: PositiveFraction
    """Learning rate of a layer / of the next one to the head; 1: all alike."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Section):
    """The learning rate over the steps, and the average of the weights."""

    name: str
    """constant | cosine, both after a linear lr_warmup."""

    lr_warmup_steps: NonNegativeInt
    """Steps over which the learning rate rises; 0: none."""

    plateau_factor: OpenFraction | None
    """Multiply the learning rate by this on a val loss plateau; null: never."""

    plateau_patience: PositiveInt
    """A plateau is so many evaluations without a lower val loss."""

    plateau_min_lr: NonNegativeFloat
    """Plateaus do not take the learning rate below this."""

    average_decay: FractionBelowOne
    """Decay of an exponential average of the weights, which is evaluated; 0: none, they are."""

    average_every_steps: PositiveInt
    """Steps between two updates of the average."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """One run's budget and its steps, and whether it may end sooner."""

    global_batch_size: PositiveInt
    """Images a step, over all ranks."""

    samples: PositiveInt
    """Budget of a run, in training images; a multiple of evaluation.every_samples."""

    accumulate_steps: PositiveInt
    """Parts that a step's images pass through the network in, to save memory; with BatchNorm that
    is another training, and refused unless it is a factor."""

    stop_patience: PositiveInt | None
    """End after so many evaluations without a lower val loss; null: never."""

    restore_best: bool
    """Score test with the weights of the lowest val loss, not the last ones."""

    label_smoothing: FractionBelowOne
    """Share of a label that is spread over all classes."""

    check_every_steps: PositiveInt
    """Steps between two looks for NaN and Inf; every evaluation is one too."""

    checkpoint_every_looks: NonNegativeInt
    """Evaluations between two checkpoints; 0: none, and a run that was killed starts again."""


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig(Section):
    """How many checkpoints a run keeps; train.checkpoint_every_looks says when it saves one."""

    keep: PositiveInt
    """Checkpoints that are kept while a run goes on, the newest ones: where one is damaged, the
    next older one is gone on from."""

    keep_at_end: bool
    """Keep the last one when the run has ended; false: remove them all."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Section):
    """When a run is evaluated, and on what."""

    every_samples: PositiveInt
    """Training images between two evaluations; a multiple of train.global_batch_size."""

    batch_size: PositiveInt
    """Images that are scored at once, over all ranks."""

    test_every_look: bool
    """Score test at each evaluation too, for the record and dawnbench's rules."""


@dataclass(frozen=True, kw_only=True)
class CompileConfig(Section):
    """torch.compile, always fullgraph and with static shapes."""

    enabled: bool
    """Compile the training step and the evaluation; false: run them eagerly."""

    mode: Literal["default", "max-autotune-no-cudagraphs"]
    """default | max-autotune-no-cudagraphs (compiles longer, tries more)."""


@dataclass(frozen=True, kw_only=True)
class HardwareConfig(Section):
    """What is asked of the machine; what it has is recorded when a run starts."""

    world_size: PositiveInt | None
    """Processes that must have been started; null: any number."""

    cpu_threads: PositiveInt | None
    """torch's CPU threads a rank; null: this machine's cores / its ranks."""

    loader_threads: PositiveInt
    """dali: CPU threads a rank. torch: worker processes a rank."""
