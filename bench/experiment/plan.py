"""An experiment's config to blocks of runs.

Pure and without torch, so that `bench plan` answers at once; what the runs cost is in cost.py, and
how the plan reads on a terminal in plan_text.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench import registry
from bench.config.load import arm_config, as_dict, load, run_digest
from bench.config.schema import ExperimentConfig
from bench.judge.clocks import CLOCKS
from bench.judge.plan import primary_record
from bench.ledger.json_records import to_json
from bench.ledger.method import METHOD_VERSION
from bench.ledger.plan_record import PlanRecord, plan_sha256
from bench.runtime.streams import Stream, permutation


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run to make. `run_id` holds a digest of all that decides the run's numbers.

    `config` has the arm's overrides and, of several budgets, this run's.
    """

    run_id: str
    arm: str
    seed: int
    block: int
    config: ExperimentConfig


# One run of every arm (and budget) with one seed, in an order drawn at random.
Block = list[RunSpec]


@dataclass(frozen=True, kw_only=True)
class _Treatment:
    """What each block makes one run of: an arm at a budget, with its digest."""

    arm: str
    config: ExperimentConfig
    digest: str


def plan(config: ExperimentConfig) -> list[Block]:
    """Plan the runs of an experiment.

    Raises ValueError for a clock or a weights recipe that does not exist.
    """
    registry.require(config.clock, CLOCKS, f"clock: no clock {config.clock!r}")
    treatments = _treatments(config)
    return [_block(config, treatments, index) for index in range(block_count(config))]


def block_count(config: ExperimentConfig) -> int:
    """Return how many blocks are made; at the most, where they are added until the verdict."""
    return config.primary.max_blocks if config.until_decided else config.blocks


def run_ids(blocks: Sequence[Block]) -> list[str]:
    """Return every run's id, in the order that the runs are made in."""
    return [run.run_id for block in blocks for run in block]


def plan_record(config: ExperimentConfig, blocks: Sequence[Block]) -> PlanRecord:
    """Make plan.json's content: the config, the runs' ids and the primary comparison."""
    ids_by_block = [run_ids([block]) for block in blocks]
    primary = primary_record(config, ids_by_block)
    return PlanRecord(
        primary=primary,
        sha256=plan_sha256(to_json(primary)),
        amended=(),
        config=as_dict(config),
        blocks=ids_by_block,
    )


def recipe_run(config: ExperimentConfig) -> RunSpec:
    """Return the one run that makes an arm's self-trained weights.

    Raises ValueError where the recipe is not for the arm's network.
    """
    assert config.weights.recipe
    recipe = load(config.weights.recipe)
    needed_stem = config.model.stem
    if config.weights.stem:  # a 3x3 stem is then made of a stock one
        needed_stem = "stock"
    trained_network = f"{recipe.model.name!r} ({recipe.model.stem} stem)"
    needed_network = f"{config.model.name!r} ({needed_stem} stem)"
    where = f"weights.recipe: {config.weights.recipe}"
    if trained_network != needed_network:
        raise ValueError(f"{where} trains {trained_network}, the arm needs {needed_network}")
    first_run = plan(recipe)[0][0]
    if first_run.config.weights.source == "self":
        raise ValueError(f"{where} itself starts from self-trained weights")
    return first_run


def recipe_digests(config: ExperimentConfig) -> list[str]:
    """Return what decides self-trained weights; none where an arm has no such weights.

    Another recipe under the same name then gives other run ids.
    """
    if config.weights.source != "self" or not config.weights.recipe:
        return []
    recipe = load(config.weights.recipe)
    digests = [run_digest(arm_config(recipe, arm)) for arm in recipe.arms]
    return [str(recipe.seed), *digests]


def _treatments(config: ExperimentConfig) -> list[_Treatment]:
    """Return every arm at every budget."""
    treatments = []
    for arm in config.arms:
        shared = arm_config(config, arm)
        for samples in config.budgets or (shared.train.samples,):
            run_config = replace(shared, train=replace(shared.train, samples=samples))
            digest = run_digest(run_config, METHOD_VERSION, *recipe_digests(run_config))
            treatments.append(_Treatment(arm=arm, config=run_config, digest=digest))
    return treatments


def _block(config: ExperimentConfig, treatments: Sequence[_Treatment], index: int) -> Block:
    """Return one run of every treatment with one seed, in an order drawn at random."""
    runs = []
    for place in permutation(len(treatments), config.seed + index, Stream.BLOCK_ORDER):
        treatment = treatments[place]
        seed = treatment.config.seed + index
        run = RunSpec(
            run_id=f"{treatment.arm}-s{seed}-{treatment.digest}",
            arm=treatment.arm,
            seed=seed,
            block=index,
            config=treatment.config,
        )
        runs.append(run)
    return runs
