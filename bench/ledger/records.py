"""What a run records when it starts, at each evaluation and when it stops.

Units are in the names; accuracies are made of counts. None says that a thing is not known, as of
curves from elsewhere, or is not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from bench.ledger.json_records import GrownRecord, JsonObject, Record, meaning

Status = Literal["completed", "diverged", "failed", "oom", "rank_lost", "interrupted", "invalid"]
# How a run can end, each with its meaning. Only the first two are evidence; the others are made
# again, or gone on with.
STATUSES: Mapping[Status, str] = {
    "completed": "trained to its budget, or to its own early stop",
    "diverged": "its loss was no longer finite",
    "failed": "an exception ended it",
    "oom": "memory did not suffice, at the batch size that is told",
    "rank_lost": "a process of it died; which, and by what signal, is told where that is known",
    "interrupted": "its ledger has no end: it was killed, or is still under way",
    "invalid": "it cannot be believed: its ranks drifted apart, or its ledger is damaged",
}
FINISHED: tuple[Status, ...] = ("completed", "diverged")
Split = Literal["val", "test"]
Fact = str | int | float | None
# What an arm really is, in flat facts read from the things that run, for the audit.
RealizedConfig = Mapping[str, Fact]
EnvironmentFacts = Mapping[str, Fact]


@dataclass(frozen=True, kw_only=True)
class DatasetFacts(Record):
    """The images that a run used: how many of each split, and a digest over all of them."""

    name: str
    sha256: str | None
    classes: tuple[str, ...]
    train: int = 0
    val: int = 0
    test: int = 0
    val_by_class: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NetworkFacts(Record):
    """The network: its size, what it costs, and how its images are normalised.

    FLOP are 2 per multiply and add; a training image costs a forward pass and two backward ones.
    Where the head alone is trained at first, its first `head_first_samples` images cost less. A
    frozen body whose features are kept is paid once a run.
    """

    name: str | None
    stem: str | None = None
    parameters: int | None
    buffers: int | None = None
    flops_per_image: int | None
    input_size: Annotated[int | None, meaning("pixels a side")] = None
    train_flops_per_image: int = 0
    train_flops_once: int = 0
    head_first_samples: int = 0
    head_first_flops_per_image: int = 0
    mean: Annotated[tuple[float, ...], meaning("of pixels in [0, 1], by channel")] = ()
    std: Annotated[tuple[float, ...], meaning("of pixels in [0, 1], by channel")] = ()
    normalization_of: Annotated[
        str | None, meaning("whose mean and std: the weights', the data's")
    ] = None

    def train_flops(self, samples: float) -> float:
        """FLOP of training on so many images."""
        first_samples = min(samples, self.head_first_samples)
        later_samples = samples - first_samples
        return float(
            self.train_flops_once
            + first_samples * self.head_first_flops_per_image
            + later_samples * self.train_flops_per_image
        )


@dataclass(frozen=True, kw_only=True)
class Pretraining(Record):
    """What pretrained weights cost to make, in FLOP, and who says so."""

    source: str
    flops: float
    estimate: bool


@dataclass(frozen=True, kw_only=True)
class WeightsFacts(Record):
    """What a network started from: the file, what was done to it, and what of it was used."""

    source: str | None
    tag: str | None
    license: str | None = None
    sha256: str | None
    stem: Annotated[str | None, meaning("how a 3x3 stem was made of a 7x7 one")]
    transform: Annotated[str | None, meaning("shuffled | random_matched")]
    pretraining: Pretraining | None
    loaded: Annotated[int, meaning("tensors of the file that were used")] = 0
    skipped: Annotated[tuple[str, ...], meaning("names of the head's tensors, which were not")] = ()


@dataclass(frozen=True, kw_only=True)
class CompileRecord(Record):
    """How a program was compiled and how fast its steps are; `step_s` are the slowest rank's."""

    enabled: bool
    mode: str | None = None
    fullgraph: bool = False
    compile_s: float | None
    graphs: int = 0
    cache_hits: int | None
    cache_misses: int | None
    step_s: float | None
    eager_step_s: float | None
    communication_fraction: Annotated[float, meaning("of a step, spent on exchanging gradients")]


@dataclass(frozen=True, kw_only=True)
class PrecisionFacts(Record):
    """The precision of steps (fp32, bf16, fp16) and why it was taken; `probe_s` by precision."""

    name: str | None
    reason: str | None = None
    probe_s: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class RunBasis(Record):
    """What must be the same for a run to be gone on with: all that its numbers come from."""

    run_id: Annotated[str, meaning("holds a digest of the config")]
    code_sha256: Annotated[str, meaning("of bench, kernels and imported plug-ins")]
    world_size: int
    images_sha256: str | None
    weights_sha256: str | None
    precision: str | None
    torch: str | None
    hardware: Annotated[str, meaning("the GPU, or the CPU with its number of threads")]

    def difference_to(self, other: "RunBasis") -> str | None:
        """Say what is first different in another basis, with both values; None: all is the same."""
        for field in fields(self):
            value = getattr(self, field.name)
            other_value = getattr(other, field.name)
            if value != other_value:
                return f"{field.name} is {_short(other_value)} there, {_short(value)} now"
        return None


def _short(value: Fact) -> str:
    """Cut a digest short."""
    text = str(value)
    return text[:12] if len(text) == 64 else text


@dataclass(frozen=True, kw_only=True)
class RunStart(GrownRecord):
    """All that a result must carry to be read, compared and made again.

    `attempt` counts from 1, those too whose ledgers were set aside; `begun_anew` is why this one
    does not go on from the one before. Older ledgers have neither, nor a basis.
    """

    run_id: str
    arm: str
    seed: int
    block: int
    experiment: str
    method_version: str | None
    # As it was stored; bench.judge types it.
    config: Annotated[JsonObject, meaning("of this run: configs/base.yaml has the keys")]
    dataset: DatasetFacts
    network: NetworkFacts
    reality: RealizedConfig
    weights: WeightsFacts
    compile: CompileRecord
    self_check: str | None
    plan_sha256: str | None
    precision: PrecisionFacts
    process_runs: Annotated[
        int, meaning("that this process was to make; a lone one has the wall clock")
    ]
    environment: EnvironmentFacts
    world_size: int | None
    basis: RunBasis | None = None
    attempt: int | None = None
    begun_anew: str | None = None
    resumed_step: int = 0
    segments_s: Mapping[str, float]

    @property
    def gpu(self) -> Fact:
        """The model of the GPU that the run was made on; None: a CPU."""
        return self.environment.get("gpu")


@dataclass(frozen=True, kw_only=True)
class Scores(GrownRecord):
    """One scoring of a split: counts over all ranks, and seconds by segment so far (slowest rank).

    `confusion` [K, K] counts the images of each class (row) by what they were taken for; at the end
    of a run alone.
    """

    split: Split
    samples: Annotated[int, meaning("training images so far")]
    correct: int
    total: int
    loss: Annotated[float | None, meaning("mean; null where it is not finite")]
    class_correct: tuple[int, ...] | None
    confusion: tuple[tuple[int, ...], ...] | None
    segments_s: Mapping[str, float]
    data_wait_s: float
    train_loss: Annotated[
        float | None,
        meaning("mean of the steps since the evaluation before; null where it is not finite"),
    ] = None
    skipped_steps: Annotated[
        int, meaning("so far, that moved no weight, as a gradient overflowed (fp16)")
    ] = 0


@dataclass(frozen=True, kw_only=True)
class SavedCheckpoint(Record):
    """The name of a checkpoint's folder."""

    path: str


@dataclass(frozen=True, kw_only=True)
class RunStop(Record):
    """How a run ended.

    `stopped_step` is where its own rule ended it; `best_step` that of the evaluation whose weights
    were put back before test was scored.
    """

    status: Status
    error: str | None
    segments_s: Mapping[str, float]
    stopped_step: int | None
    best_step: int | None
