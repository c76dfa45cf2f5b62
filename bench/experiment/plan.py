"""An experiment's config to blocks of runs: pure and without torch, so that `bench plan` answers at once."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bench import registry
from bench.config.load import arm_config, as_dict, load, run_digest
from bench.config.schema import ExperimentConfig
from bench.models.counts import Counts, stored_counts
from bench.results.clocks import CLOCKS, METHOD_VERSION
from bench.results.store import plan_sha256, primary_record
from bench.runtime.streams import Stream, permutation

COLUMNS = 130


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One run to make. `run_id` holds a digest of all that decides the run's numbers."""

    run_id: str
    arm: str
    seed: int
    block: int
    config: ExperimentConfig  # with the arm's overrides and, of several budgets, this run's


@dataclass(frozen=True, kw_only=True)
class Block:
    """One run of every arm (and budget) with one seed, in an order drawn at random."""

    index: int
    seed: int
    runs: tuple[RunSpec, ...]


def plan(config: ExperimentConfig) -> list[Block]:
    """The runs of an experiment. Raises ValueError for a clock or a weights recipe that does not exist."""
    if config.clock not in CLOCKS:
        raise ValueError(f"clock: no clock {config.clock!r}; {registry.nearest(config.clock, CLOCKS)}")
    kinds = [(arm, own, run_digest(own, METHOD_VERSION, *_recipe_digests(own))) for arm, own in _kinds(config)]
    blocks = []
    for index in range(block_count(config)):
        order = permutation(len(kinds), config.seed + index, Stream.BLOCK_ORDER)
        runs = tuple(_run(*kinds[place], index=index) for place in order)
        blocks.append(Block(index=index, seed=config.seed + index, runs=runs))
    return blocks


def _kinds(config: ExperimentConfig) -> Iterator[tuple[str, ExperimentConfig]]:
    """Every arm at every budget."""
    for arm in config.arms:
        own = arm_config(config, arm)
        for samples in config.budgets or (own.train.samples,):
            yield arm, replace(own, train=replace(own.train, samples=samples))


def _run(arm: str, own: ExperimentConfig, digest: str, *, index: int) -> RunSpec:
    seed = own.seed + index
    return RunSpec(run_id=f"{arm}-s{seed}-{digest}", arm=arm, seed=seed, block=index, config=own)


def run_ids(blocks: list[Block]) -> list[str]:
    """Every run's id, in the order the runs are made."""
    return [run.run_id for block in blocks for run in block.runs]


def _recipe_digests(config: ExperimentConfig) -> list[str]:
    """What decides self-trained weights, so that another recipe under the same name gives other runs."""
    if config.weights.source != "self" or not config.weights.recipe:
        return []
    recipe = load(config.weights.recipe)
    return [str(recipe.seed), *(run_digest(arm_config(recipe, arm)) for arm in recipe.arms)]


def recipe_run(config: ExperimentConfig) -> RunSpec:
    """The one run that makes an arm's self-trained weights. Raises ValueError where the recipe is not for the arm's network."""
    assert config.weights.recipe
    recipe = load(config.weights.recipe)
    if (recipe.model.name, recipe.model.stem) != (config.model.name, config.model.stem):
        raise ValueError(
            f"weights.recipe: {config.weights.recipe} trains {recipe.model.name!r} ({recipe.model.stem} stem), the arm is "
            f"{config.model.name!r} ({config.model.stem})"
        )
    spec = plan(recipe)[0].runs[0]
    if spec.config.weights.source == "self":
        raise ValueError(f"weights.recipe: {config.weights.recipe} itself starts from self-trained weights")
    return spec


def plan_record(config: ExperimentConfig, blocks: list[Block]) -> dict[str, Any]:
    """The plan as plain data, for plan.json: the config, every run's id and the one primary comparison with its hash."""
    tree, ids = as_dict(config), [[run.run_id for run in block.runs] for block in blocks]
    primary = primary_record(tree, ids)
    whole = {"schema_version": 2, "primary": primary, "sha256": plan_sha256(primary), "amended": []}
    return {**whole, "config": tree, "blocks": ids}


def cost(config: ExperimentConfig, counts: dict[str, Counts | None]) -> list[dict[str, Any]]:
    """What each arm's runs will compute, a row an arm; training is three forward passes. Null where no count is known."""
    rows = []
    for arm in config.arms:
        own, known = arm_config(config, arm), counts[arm]
        images = (sum(config.budgets) or own.train.samples) * block_count(config)
        rows.append({
            "arm": arm,
            "network": own.model.name,
            "stem": own.model.stem,
            "input_size": own.model.input_size,
            "weights": own.weights.source,
            "parameters": known.parameters if known else None,
            "flops_per_image": known.flops_per_image if known else None,
            "steps": own.train.samples // own.train.global_batch_size,
            "looks": own.train.samples // own.evaluation.every_samples,
            "train_pflop_all_runs": 3 * known.flops_per_image * images / 1e15 if known else None,
        })  # fmt: skip
    return rows


def block_count(config: ExperimentConfig) -> int:
    """How many blocks are made, or are at the most where they are added until the primary comparison decides."""
    return config.primary.max_blocks if config.until_decided else config.blocks


def _enough_text(config: ExperimentConfig) -> str:
    """How many blocks decide, at the stored spread."""
    from bench.results.statistics import plan_blocks

    asked, most = config.primary, 100
    told = []
    for ratio in (asked.smallest_ratio, 1.5, 2.0, 4.0):
        enough = plan_blocks(spread=asked.spread or 0.0, ratio=ratio, alpha=asked.alpha, most=most)
        told.append(f"{ratio:g}x {enough or f'more than {most}'}")
    return f"blocks that decide 9 times in 10, at the stored spread {asked.spread:g}: {', '.join(told)}"


def arm_counts(config: ExperimentConfig) -> dict[str, Counts | None]:
    """Stored counts of every arm's network; None where the table does not hold it."""
    return {arm: stored_counts((own := arm_config(config, arm)).model, own.data) for arm in config.arms}


def plan_text(config: ExperimentConfig, rows: list[dict[str, Any]]) -> str:
    """The plan for a person: question, arms, cost."""
    against = f" against {config.baseline}" if config.primary.arm != config.baseline else ""
    networks = [
        row["network"]
        + ("" if row["stem"] == "stock" else f" {row['stem']} stem")
        + (f" {row['input_size']} px" if row["input_size"] else "")
        for row in rows
    ]
    threshold, blocks, runs = config.primary.threshold, block_count(config), len(config.arms) * max(1, len(config.budgets))
    arm_width, network_width = max(16, *(len(arm) + 2 for arm in config.arms)), max(26, *(len(n) + 2 for n in networks))
    lines = [
        textwrap.fill(f"{config.name}: {config.question}", COLUMNS),
        f"{'at most ' if config.until_decided else ''}{blocks} blocks of {runs} runs ({blocks * runs} runs), "
        f"seeds {config.seed} to {config.seed + blocks - 1}; {config.kind}; primary: {config.primary.arm}{against} "
        f"at {max(f'{threshold:.2f}', repr(threshold), key=len)} on the {config.clock} clock",
        *([_enough_text(config)] if config.primary.spread else []),
        textwrap.fill(f"cost: {config.cost}", COLUMNS),
        f"{'arm':<{arm_width}}{'network':<{network_width}}{'weights':<9}"
        f"{'parameters':>12}{'MFLOP/image':>13}{'steps':>8}{'looks':>7}{'PFLOP':>9}",
    ]
    for row, network in zip(rows, networks, strict=True):
        flops, pflop = row["flops_per_image"], row["train_pflop_all_runs"]
        lines.append(
            f"{row['arm']:<{arm_width}}{network:<{network_width}}{row['weights']:<9}"
            f"{'not stored' if row['parameters'] is None else format(row['parameters'], ','):>12}"
            f"{'--build' if flops is None else format(flops / 1e6, '.1f'):>13}{row['steps']:>8}{row['looks']:>7}"
            f"{'' if pflop is None else format(pflop, '.3f'):>9}"
        )
    return "\n".join(lines)
