"""Weights that the harness trains itself from a recipe, on other classes; cached with a card that says how."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from bench.config.load import as_dict
from bench.config.schema import ExperimentConfig
from bench.data.cache import cache_root
from bench.experiment.assemble import Assembler
from bench.experiment.execute import Study, execute
from bench.experiment.inputs import Inputs
from bench.experiment.plan import RunSpec, recipe_run
from bench.models.networks import build
from bench.models.weights import Start, file_start, save_weights
from bench.judge.arms import train_flops
from bench.ledger.fold import RunResult
from bench.files import sha256_of
from bench.ledger.store import RunStore
from bench.trackers import open_trackers


def self_trained(config: ExperimentConfig, study: Study) -> Start:
    """The recipe's weights, from the cache or trained now. Raises RuntimeError where that training does not complete."""
    spec = recipe_run(config)
    path = (
        cache_root() / "weights" / f"{spec.run_id}-{study.facts['precision']['name']}.safetensors"
    )
    card = path.with_suffix(".json")
    is_whole = (
        path.is_file()
        and card.is_file()
        and json.loads(card.read_text())["sha256"] == sha256_of(path)
    )
    if not study.world.from_main(is_whole):
        _train(spec, path, study)
    name, flops = spec.config.name, json.loads(card.read_text()).get("train_flops")
    price = {"source": f"{name}, counted", "flops": flops, "estimate": False} if flops else None
    network = build(config.model.name, 10, config.model.stem)
    return file_start(path, network, config.weights, tag=name, pretraining=price)


def _train(spec: RunSpec, path: Path, study: Study) -> None:
    inputs = Inputs()
    assembler = Assembler(study.world, inputs)
    assembly = assembler.assemble(spec.config, inputs.start(spec.config))
    assembler.compile(assembly, spec.config)
    trackers = open_trackers(["console"] if study.world.is_main else [], as_dict(spec.config))
    own = dataclasses.replace(
        study, store=RunStore(path.parent / "runs"), trackers=trackers, once_s={}
    )
    result = execute(spec, assembly, own)
    trackers.close()
    if result is not None:
        with assembly.program.average.applied():
            save_weights(path, assembly.program.raw.state_dict(), _card(result))
    study.world.barrier()


def _card(result: RunResult) -> dict[str, Any]:
    """How the weights were made. Raises RuntimeError where the training did not complete, so that none are saved."""
    if result.status != "completed":
        raise RuntimeError(
            f"training of the weights of {result.run_id} ended as {result.status}; no weights were saved"
        )
    samples, from_random = result.looks[-1].samples, result.start["weights"]["source"] == "random"
    return {
        "network": result.start["network"]["name"], "source": result.start["dataset"], "recipe": result.start["config"],
        "steps": result.looks[-1].step, "samples": samples, "test_accuracy": result.test_accuracy,
        "train_s": result.segments_s["train"], "precision": result.start["precision"]["name"],
        "train_flops": train_flops(result.start["network"], samples) if from_random else None,
    }  # fmt: skip
