"""Weights that the harness trains itself from a recipe, on other classes.

They are cached with a card that says how they were made.
"""

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.config.schema import ExperimentConfig
from bench.data.cache import cache_root
from bench.experiment.assemble import Assembler
from bench.experiment.context import RunContext
from bench.experiment.execute import execute
from bench.experiment.inputs import Inputs
from bench.experiment.plan import RunSpec, recipe_run
from bench.files import sha256_of
from bench.ledger.json_records import JsonObject, Record, parse, to_json
from bench.ledger.records import DatasetFacts, Pretraining
from bench.ledger.result import RunResult
from bench.ledger.store import RunStore
from bench.models.networks import build
from bench.models.weights import InitialWeights, file_weights, save_weights
from bench.trackers import open_trackers

# That another process's training of the same weights is waited for.
LONGEST_TRAINING_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class WeightsCard(Record):
    """How weights were made, as the JSON file beside them says; `sha256` is of the weights'
    file.
    """

    network: str | None
    source: DatasetFacts
    recipe: JsonObject
    steps: int
    samples: int
    test_accuracy: float | None
    train_s: float
    precision: str | None
    train_flops: float | None = None  # None: they were trained on from other weights
    sha256: str = ""


def self_trained(config: ExperimentConfig, context: RunContext) -> InitialWeights:
    """Return the recipe's weights, from the cache or trained now.

    Raises RuntimeError where that training does not complete.
    """
    spec = recipe_run(config)
    file_name = f"{spec.run_id}-{context.precision.name}.safetensors"
    path = cache_root() / "weights" / file_name
    store = RunStore(path.parent / "runs")
    with ExitStack() as lock:
        # Who comes second waits, and then finds the weights there.
        is_there = context.world.on_main(partial(_hold_or_find, spec, path, store, lock))
        if not is_there:
            train_weights(spec, path, store, context)
    card = read_card(path)
    assert card is not None
    pretraining = None
    if card.train_flops is not None:
        pretraining = Pretraining(
            source=f"{spec.config.name}, counted", flops=card.train_flops, estimate=False
        )
    network = build(config.model.name, 10, config.model.stem)
    return file_weights(
        path, network, config.weights, tag=spec.config.name, pretraining=pretraining
    )


def read_card(path: Path) -> WeightsCard | None:
    """Read the card of a weights' file; None unless both are whole and belong together."""
    try:
        card = parse(WeightsCard, path.with_suffix(".json").read_bytes())
        is_its_file = card.sha256 == sha256_of(path)
    except (OSError, ValueError):
        return None
    return card if is_its_file else None


def _hold_or_find(spec: RunSpec, path: Path, store: RunStore, lock: ExitStack) -> bool:
    """Take the lock of the run that makes weights; say whether they are there by then."""
    store.check_writable()
    lock.enter_context(store.hold_runs([spec.run_id], wait_s=LONGEST_TRAINING_S))
    return read_card(path) is not None


def train_weights(spec: RunSpec, path: Path, store: RunStore, context: RunContext) -> None:
    """Train a recipe's weights and store them with their card; rank 0 holds the run's lock."""
    world = context.world
    inputs = Inputs()
    assembler = Assembler(world, inputs)
    assembly = assembler.assemble(spec.config, inputs.initial_weights(spec.config))
    compiled = assembler.compile(spec.config)
    trackers = open_trackers(["console"] if world.is_main else [], spec.config)
    recipe_context = dataclasses.replace(context, store=store, trackers=trackers, once_s={})
    result = execute(spec, assembly, compiled, recipe_context)
    trackers.close()
    if result is not None:
        card = make_card(result)
        with assembly.program.average.applied():
            save_weights(path, assembly.program.raw.state_dict(), to_json(card))
    world.barrier()


def make_card(result: RunResult) -> WeightsCard:
    """Say how weights were made.

    Raises RuntimeError where the training did not complete, so that none are saved.
    """
    if result.status != "completed":
        raise RuntimeError(
            f"training of the weights of {result.run_id} ended as {result.status}; "
            "no weights were saved"
        )
    start = result.start
    last = result.evaluations[-1]
    from_random = start.weights.source == "random"
    return WeightsCard(
        network=start.network.name,
        source=start.dataset,
        recipe=start.config,
        steps=last.step,
        samples=last.samples,
        test_accuracy=result.test_accuracy,
        train_s=result.segments_s["train"],
        precision=start.precision.name,
        train_flops=start.network.train_flops(last.samples) if from_random else None,
    )
