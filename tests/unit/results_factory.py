"""Hand-made configs, plans, events and results for tests: typed records, without any training."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.config.load import as_dict, from_stored, load
from bench.config.schema import ExperimentConfig
from bench.judge.plan import primary_record
from bench.judge.study import Study, planned_study
from bench.ledger.events import (
    NO_DATA,
    SCHEMA_VERSION,
    Evaluated,
    EventType,
    RunStarted,
)
from bench.ledger.json_records import Record
from bench.ledger.method import METHOD_VERSION
from bench.ledger.plan_record import PlanRecord
from bench.ledger.records import (
    CompileRecord,
    DatasetFacts,
    NetworkFacts,
    PrecisionFacts,
    RunStart,
    Scores,
    Split,
    WeightsFacts,
)
from bench.ledger.result import Evaluation, RunResult

EXPERIMENT = Path(__file__).parents[2] / "configs" / "experiments" / "embedded.yaml"
EVERY_SAMPLES = 320
BATCH = 64
TRAIN_SAMPLES = 1200  # of the data set
VAL_SAMPLES = 1000
TEST_SAMPLES = 500
BUDGET_SAMPLES = 12_800  # of a run
FLOPS_PER_IMAGE = 37_000_000
PLAN_SHA256 = "p" * 64
RUN_CONFIG = {"optim": {"name": "adamw", "lr": 1e-3}, "train": {"samples": BUDGET_SAMPLES}}

DATASET = DatasetFacts(
    name="digits",
    sha256="d" * 64,
    classes=("cat", "dog"),
    train=TRAIN_SAMPLES,
    val=VAL_SAMPLES,
    test=TEST_SAMPLES,
    val_by_class=(500, 500),
)
NETWORK = NetworkFacts(
    name="resnet18",
    parameters=11_181_642,
    buffers=9_600,
    flops_per_image=FLOPS_PER_IMAGE,
    input_size=32,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    train_flops_per_image=3 * FLOPS_PER_IMAGE,
    head_first_flops_per_image=37_010_240,
)

# What makes the probe of the tests out of an experiment that exists.
PROBE = {
    "name": "probe",
    "question": "How much sooner?",
    "cost": "14 runs of a second",
    "command": "make bench EXP=probe",
    "expected": "sooner",
    "arms": {"pretrained": {"weights.source": "file"}, "random": {}},
    "factors": ("weights",),
    "primary": {
        "arm": "pretrained",
        "threshold": 0.9,
        "alpha": 0.05,
        "max_blocks": 21,
        "spread": None,
        "smallest_ratio": 1.05,
        "interval_width": None,
    },
    "thresholds": (0.8, 0.9),
    "confirm_looks": 2,
    "reference": {},
    "train": {"global_batch_size": BATCH, "samples": BUDGET_SAMPLES},
    "evaluation": {"every_samples": EVERY_SAMPLES, "batch_size": 500, "test_every_look": False},
    "wandb": {"tags": ("cpu", "probe")},
}


def make_config(**changes: object) -> ExperimentConfig:
    """Make a probe's config; of a section, the keys that are named are changed."""
    tree = _probe_tree()
    for key, value in changes.items():
        tree[key] = _merged(key, tree[key], value)
    return from_stored(tree)


def _probe_tree() -> dict[str, object]:
    tree = as_dict(_experiment())
    for key, value in PROBE.items():
        tree[key] = _merged(key, tree[key], value)
    return tree


@functools.cache
def _experiment() -> ExperimentConfig:
    return load(EXPERIMENT)


def _merged(key: str, section: object, changes: object) -> object:
    """Change keys of a section; mappings by arm are replaced."""
    if key in ("arms", "controls", "reference") or not isinstance(changes, Mapping):
        return changes
    assert isinstance(section, Mapping)
    return {**section, **changes}


def make_plan(config: ExperimentConfig | None = None, **changes: object) -> PlanRecord:
    """Make the plan that the runs of `make_run_start` were made under."""
    config = config or make_config()
    blocks = []
    for seed in range(config.blocks):
        blocks.append([make_run_id(arm, seed) for arm in config.arms])
    plan = PlanRecord(
        primary=primary_record(config, blocks),
        sha256=PLAN_SHA256,
        amended=(),
        config=as_dict(config),
        blocks=blocks,
    )
    return dataclasses.replace(plan, **changes)


def make_study(**changes: object) -> Study:
    """Make a probe's study, from its config with changes."""
    return planned_study(make_plan(make_config(**changes)))


def make_run_id(arm: str, seed: int) -> str:
    """Make the id of a run; every run of a test has the same digest."""
    return f"{arm}-s{seed}-1a2b3c4d"


def make_start(
    arm: str = "pretrained", *, seed: int = 0, block: int = 0, **changes: object
) -> RunStart:
    """Make what a run records when it starts."""
    start = RunStart(
        run_id=make_run_id(arm, seed),
        arm=arm,
        seed=seed,
        block=block,
        experiment="probe",
        method_version=METHOD_VERSION,
        config=RUN_CONFIG,
        dataset=DATASET,
        network=NETWORK,
        reality={
            "network.class": "ResNet",
            "init.rms": "0.03",
            "optimizer.groups": "62 tensors",
            "data.mean": "[0.5]",
        },
        weights=WeightsFacts(
            source="file" if arm == "pretrained" else "random",
            tag=None,
            sha256=None,
            stem=None,
            transform=None,
            pretraining=None,
        ),
        compile=CompileRecord(
            enabled=True,
            mode="default",
            compile_s=21.5,
            cache_hits=0,
            cache_misses=3,
            step_s=0.1,
            eager_step_s=0.2,
            communication_fraction=0.0,
        ),
        self_check=None,
        plan_sha256=PLAN_SHA256,
        precision=PrecisionFacts(name="fp32"),
        process_runs=14,
        environment={"device": "cpu", "gpu": None},
        world_size=1,
        segments_s={},
    )
    return dataclasses.replace(start, **changes)


def make_event(
    event_type: Callable[..., EventType],
    data: Record = NO_DATA,
    *,
    epoch: float = 0.0,
    step: int = 0,
) -> EventType:
    """Make any event."""
    return event_type(
        schema_version=SCHEMA_VERSION, rank=0, seq=0, epoch=epoch, step=step, mono_ns=0, data=data
    )


def make_run_start(
    arm: str = "pretrained", *, seed: int = 0, block: int = 0, **changes: object
) -> RunStarted:
    """Make the event of a run's start."""
    return make_event(RunStarted, make_start(arm, seed=seed, block=block, **changes))


def make_look(
    number: int,
    accuracy: float,
    *,
    train_s: float | None = None,
    split: Split = "val",
    **changes: object,
) -> Evaluated:
    """Make the event of a run's evaluation `number`, counted from 1.

    It comes after a second of training each, where `train_s` is not given.
    """
    samples = number * EVERY_SAMPLES
    scores = Scores(
        split=split,
        samples=samples,
        correct=round(accuracy * VAL_SAMPLES),
        total=VAL_SAMPLES,
        loss=2.3 * (1 - accuracy),
        segments_s={
            "train": float(number) if train_s is None else train_s,
            "evaluate": 0.1 * number,
        },
        data_wait_s=0.05 * number,
        class_correct=(round(accuracy * VAL_SAMPLES / 2),) * 2,
        confusion=None,
    )
    return make_event(
        Evaluated,
        dataclasses.replace(scores, **changes),
        epoch=samples / TRAIN_SAMPLES,
        step=samples // BATCH,
    )


def make_looks(accuracies: Sequence[float]) -> list[Evaluated]:
    """Make a curve of evaluations."""
    return [make_look(number, accuracy) for number, accuracy in enumerate(accuracies, 1)]


def make_evaluation(number: int, accuracy: float, **changes: object) -> Evaluation:
    """Make a run's evaluation `number`, counted from 1, as a result holds it."""
    event = make_look(number, accuracy)
    scores = event.data
    evaluation = Evaluation(
        step=event.step,
        epoch=event.epoch,
        samples=scores.samples,
        segments_s=scores.segments_s,
        data_wait_s=scores.data_wait_s,
        correct=scores.correct,
        total=scores.total,
        loss=scores.loss,
        class_correct=scores.class_correct,
    )
    return dataclasses.replace(evaluation, **changes)


def make_result(
    accuracies: Sequence[float],
    arm: str = "pretrained",
    *,
    seed: int = 0,
    block: int = 0,
    **changes: object,
) -> RunResult:
    """Make a completed run's result from its curve."""
    evaluations = [make_evaluation(number, value) for number, value in enumerate(accuracies, 1)]
    result = RunResult(
        run_id=make_run_id(arm, seed),
        arm=arm,
        seed=seed,
        block=block,
        status="completed",
        evaluations=evaluations,
        test_evaluations=[],
        segments_s=evaluations[-1].segments_s if evaluations else {},
        test_correct=460,
        test_total=TEST_SAMPLES,
        test_loss=0.3,
        confusion=[[240, 10], [30, 220]],
        images_per_s=320.0,
        data_wait_fraction=0.05,
        ledger_sha256="e" * 64,
        start=make_start(arm, seed=seed, block=block),
    )
    return dataclasses.replace(result, **changes)


def with_start(run: RunResult, **changes: object) -> RunResult:
    """Return a run whose start says other things."""
    return dataclasses.replace(run, start=dataclasses.replace(run.start, **changes))


def with_fact(run: RunResult, section: str, **changes: object) -> RunResult:
    """Return a run of which a record in its start, as `dataset`, says other things."""
    record = getattr(run.start, section)
    return with_start(run, **{section: dataclasses.replace(record, **changes)})
