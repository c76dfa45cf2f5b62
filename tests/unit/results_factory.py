"""Hand-made configs, events and results for tests: pure Python, no training."""

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

from bench.ledger.method import METHOD_VERSION
from bench.ledger.events import Event, SCHEMA_VERSION
from bench.ledger.fold import LOOK_FIELDS, Look, RunResult

EVERY_SAMPLES, BATCH, TRAIN_SAMPLES, VAL_SAMPLES, TEST_SAMPLES = 320, 64, 1200, 1000, 500
CLASSES = [f"class {letter}" for letter in "abcdefghij"]  # of make_study's runs
PLAN_SHA256 = "p" * 64
RULE = {
    "alpha": 0.05,
    "max_blocks": 21,
    "spread": None,
    "smallest_ratio": 1.05,
    "interval_width": None,
}


def make_config(**changes: Any) -> dict[str, Any]:
    """The parts of an experiment's plain dict that results and trackers read."""
    return {
        "name": "probe",
        "question": "How much sooner?",
        "cost": "14 runs of a second",
        "command": "make bench EXP=probe",
        "expected": "sooner",
        "kind": "anytime",
        "arms": {"pretrained": {"weights.source": "file"}, "random": {}},
        "baseline": "random",
        "primary": {"arm": "pretrained", "threshold": 0.9, **RULE},
        "thresholds": [0.8, 0.9],
        "confirm_looks": 2,
        "clock": "train",
        "blocks": 7,
        "until_decided": False,
        "budgets": [],
        "controls": {},
        "reference": {},
        "data": {"source": "digits", "dir": None, "pad": 2, "labels": "given"},
        "model": {"name": "resnet18", "stem": "stock"},
        "weights": {"source": "random", "tag": None},
        "finetune": {"layers": "all", "head_first_steps": 0, "batch_norm_momentum": None},
        "optim": {"name": "adamw", "lr": 0.001},
        "schedule": {"name": "constant", "lr_warmup_steps": 10},
        "train": {"global_batch_size": BATCH, "samples": 12_800},
        "evaluation": {"every_samples": EVERY_SAMPLES, "batch_size": 500, "test_every_look": False},
        "precision": "auto",
        "compile": {"enabled": True, "mode": "default"},
        "wandb": {"mode": None, "project": "headstart", "entity": None, "tags": ["cpu", "probe"]},
        "output": "runs",
        **changes,
    }  # fmt: skip


def make_plan(config: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The plan record that the runs of make_run_start were made under."""
    config = config or make_config()
    primary = {
        **config["primary"],
        **{key: config[key] for key in ("baseline", "clock", "kind", "confirm_looks", "blocks")},
    }
    record = {
        "schema_version": 2,
        "primary": primary,
        "sha256": PLAN_SHA256,
        "amended": [],
        "config": config,
        "blocks": [],
    }
    return {**record, **changes}


def make_event(kind: str, *, epoch: float = 0.0, step: int = 0, **data: Any) -> Event:
    """Any event."""
    return Event(
        schema_version=SCHEMA_VERSION,
        kind=kind,
        rank=0,
        seq=0,
        epoch=epoch,
        step=step,
        mono_ns=0,
        data=data,
    )


def make_run_start(
    arm: str = "pretrained", *, seed: int = 0, block: int = 0, **changes: Any
) -> Event:
    """A run_start event."""
    data = {
        "run_id": f"{arm}-s{seed}-1a2b3c4d",
        "arm": arm,
        "seed": seed,
        "block": block,
        "config": {"optim": {"name": "adamw", "lr": 1e-3}, "seed": 0, "train": {"samples": 12_800}},
        "config_digest": "1a2b3c4d",
        "method_version": METHOD_VERSION,
        "plan_sha256": PLAN_SHA256,
        "process_runs": 14,
        "segments_s": {},
        "experiment": "probe",
        "dataset": {"name": "digits", "sha256": "d" * 64, "train": TRAIN_SAMPLES, "val": VAL_SAMPLES, "test": 500,
                    "classes": ["cat", "dog"], "val_by_class": [500, 500]},
        "network": {
            "name": "resnet18", "parameters": 11_181_642, "buffers": 9_600, "flops_per_image": 37_000_000,
            "input_size": 32, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
            "train_flops_per_image": 3 * 37_000_000, "train_flops_once": 0,
            "head_first_samples": 0, "head_first_flops_per_image": 37_010_240,
        },
        "weights": {
            "source": "file" if arm == "pretrained" else "random", "tag": None, "sha256": None, "transform": None, "stem": None,
            "pretraining": None,
        },
        "reality": {"network.class": "ResNet", "init.rms": "0.03", "optimizer.groups": "62 tensors", "data.mean": "[0.5]"},
        "precision": {"name": "fp32"}, "self_check": None,
        "compile": {
            "enabled": True, "mode": "default", "compile_s": 21.5, "cache_hits": 0, "cache_misses": 3,
            "step_s": 0.1, "eager_step_s": 0.2, "communication_fraction": 0.0,
        },
        "environment": {"device": "cpu", "gpu": None},
        "world_size": 1,
        "resumed_step": 0,
    }  # fmt: skip
    return make_event("run_start", **{**data, **changes})


def make_look(
    number: int,
    accuracy: float,
    *,
    train_s: float | None = None,
    split: str = "val",
    **changes: Any,
) -> Event:
    """The eval_stop event of a run's look `number`, counted from 1; a look takes one second of training unless told."""
    samples = number * EVERY_SAMPLES
    data = {
        "split": split,
        "samples": samples,
        "correct": round(accuracy * VAL_SAMPLES),
        "total": VAL_SAMPLES,
        "loss": 2.3 * (1 - accuracy),
        "segments_s": {
            "train": float(number) if train_s is None else train_s,
            "evaluate": 0.1 * number,
        },
        "data_wait_s": 0.05 * number,
        "class_correct": [round(accuracy * VAL_SAMPLES / 2)] * 2,
        "confusion": None,
    }
    return make_event(
        "eval_stop", epoch=samples / TRAIN_SAMPLES, step=samples // BATCH, **{**data, **changes}
    )


def make_looks(accuracies: Sequence[float]) -> list[Event]:
    """A whole curve of looks."""
    return [make_look(number, accuracy) for number, accuracy in enumerate(accuracies, 1)]


def make_result(
    accuracies: Sequence[float],
    arm: str = "pretrained",
    *,
    seed: int = 0,
    block: int = 0,
    **changes: Any,
) -> RunResult:
    """A completed run's result from its curve."""
    start = make_run_start(arm, seed=seed, block=block)
    looks = [
        Look(step=e.step, epoch=e.epoch, **{name: e.data[name] for name in LOOK_FIELDS})
        for e in make_looks(accuracies)
    ]
    values = {
        "status": "completed", "attempts": 1, "resumed": False, "error": None, "looks": looks,
        "segments_s": looks[-1].segments_s if looks else {},
        "test_correct": 460, "test_total": 500, "test_loss": 0.3, "confusion": [[240, 10], [30, 220]],
        "test_looks": [], "images_per_s": 320.0, "data_wait_fraction": 0.05, "ledger_sha256": "e" * 64,
    }  # fmt: skip
    return RunResult(
        run_id=start.data["run_id"],
        arm=arm,
        seed=seed,
        block=block,
        start=start.data,
        **{**values, **changes},
    )


def make_study(
    config: dict[str, Any], *, blocks: int = 7, looks: int = 18, test_looks: bool = False
) -> Iterator[RunResult]:
    """Every run of a study, block by block, with curves that rise as training's do: each arm slower than the one before it.

    Looks tell their classes, and runs their confusions, of which those of the classes d and f are the most.
    """
    draw = random.Random(0)
    for block in range(blocks):
        for place, arm in enumerate(config["arms"]):
            top, pace = (
                0.975 - 0.012 * place + draw.gauss(0, 0.002),
                (1.1 - 0.06 * block / blocks) / (1.6 + 1.7 * place),
            )
            curve = [
                top * (1 - 0.9 * math.exp(-pace * (18 * n / looks) ** 0.9)) + draw.gauss(0, 0.003)
                for n in range(1, looks + 1)
            ]
            run = make_result(
                curve,
                arm,
                seed=block,
                block=block,
                confusion=_confusion(top, draw),
                test_correct=round(top * 480),
            )
            step_s = (0.3 + 0.02 * draw.random() - 0.08 * (place == 2)) * 18 / looks
            told = [
                dataclasses.replace(
                    look,
                    segments_s={"train": n * step_s, "evaluate": 0.1 * n},
                    class_correct=_by_class(look.correct, draw),
                )
                for n, look in enumerate(run.looks, 1)
            ]
            split = told if test_looks else []
            dataset = {
                **run.start["dataset"],
                "classes": CLASSES,
                "val_by_class": [VAL_SAMPLES // len(CLASSES)] * len(CLASSES),
            }
            start = {**run.start, "dataset": dataset}
            yield dataclasses.replace(
                run, looks=told, test_looks=split, segments_s=told[-1].segments_s, start=start
            )


def _by_class(correct: float, draw: random.Random) -> list[int]:
    each = VAL_SAMPLES // len(CLASSES)
    shares = [
        (correct / VAL_SAMPLES) ** (0.6 + 0.14 * place) + draw.gauss(0, 0.01)
        for place in range(len(CLASSES))
    ]
    return [max(0, min(each, round(each * share))) for share in shares]


def _confusion(top: float, draw: random.Random) -> list[list[int]]:
    each = TEST_SAMPLES // len(CLASSES)
    counts = [[0] * len(CLASSES) for _ in CLASSES]
    for row in range(len(CLASSES)):
        for _ in range(each):
            right, near = draw.random() < top, draw.random() < 0.5
            taken = (
                row
                if right
                else {3: 5, 5: 3}.get(row, row)
                if near
                else draw.randrange(len(CLASSES))
            )
            counts[row][taken] += 1
    return counts
