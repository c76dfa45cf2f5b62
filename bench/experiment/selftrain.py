"""Weights that the harness trains itself from a recipe, on other classes; cached with a card that says how."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.config.schema import ExperimentConfig
from bench.data.cache import cache_root
from bench.experiment.assemble import Assembler
from bench.experiment.execute import execute
from bench.experiment.inputs import Inputs
from bench.experiment.plan import RunSpec, recipe_run
from bench.models.networks import build
from bench.models.weights import Start, file_start, save_weights
from bench.results.fold import RunResult
from bench.results.store import RunStore, sha256_of
from bench.runtime.distributed import World
from bench.trackers import Tracker

TrackersFor = Callable[[ExperimentConfig], list[Tracker]]


def self_trained(config: ExperimentConfig, world: World, facts: dict[str, Any], trackers_for: TrackersFor) -> Start:
    """The recipe's weights, from the cache or trained now. Raises RuntimeError where that training does not complete."""
    spec = recipe_run(config)
    path = cache_root() / "weights" / f"{spec.run_id}-{facts['precision']['name']}.safetensors"
    if not world.from_main(_is_whole(path)):
        _train(spec, path, world, facts, trackers_for)
    return file_start(path, build(config.model.name, 10, config.model.stem), source="self", tag=spec.config.name)


def _train(spec: RunSpec, path: Path, world: World, facts: dict[str, Any], trackers_for: TrackersFor) -> None:
    assembly = Assembler(world, Inputs(), _refuse).assemble(spec.config)
    trackers = trackers_for(spec.config) if world.is_main else []
    result = execute(spec, assembly, world, store=RunStore(path.parent / "runs"), trackers=trackers, facts=facts, once_s={})
    for tracker in trackers:
        tracker.close()
    if result is not None:
        with assembly.program.average.applied():
            save_weights(path, assembly.program.raw.state_dict(), _card(result, facts))
    world.barrier()


def _card(result: RunResult, facts: dict[str, Any]) -> dict[str, Any]:
    """How the weights were made. Raises RuntimeError where the training did not complete, so that none are saved."""
    if result.status != "completed" or not result.test_total:
        raise RuntimeError(f"training of the weights of {result.run_id} ended as {result.status}; no weights were saved")
    return {
        "network": result.start["network"]["name"],
        "source": result.start["dataset"],
        "steps": result.looks[-1].step,
        "samples": result.looks[-1].samples,
        "test_accuracy": (result.test_correct or 0) / result.test_total,
        "train_s": result.segments_s["train"],
        "precision": facts["precision"]["name"],
        "recipe": result.start["config"],
    }


def _is_whole(path: Path) -> bool:
    """Whether the file is there and is what its card says."""
    card = path.with_suffix(".json")
    return path.is_file() and card.is_file() and json.loads(card.read_text())["sha256"] == sha256_of(path)


def _refuse(config: ExperimentConfig) -> Start:
    raise AssertionError(f"recipe_run lets no recipe start from self-trained weights: {config.name}")
