"""An experiment's config to blocks of runs: pure and without torch, so that `bench plan` answers at once."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench import registry
from bench.config.load import arm_config, as_dict, load, run_digest
from bench.config.schema import ExperimentConfig
from bench.models.counts import Counts, stored_counts
from bench.judge.clocks import CLOCKS
from bench.ledger.method import METHOD_VERSION
from bench.ledger.plan_record import plan_sha256, primary_record
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


Block = list[
    RunSpec
]  # one run of every arm (and budget) with one seed, in an order drawn at random


def plan(config: ExperimentConfig) -> list[Block]:
    """The runs of an experiment. Raises ValueError for a clock or a weights recipe that does not exist."""
    registry.require(config.clock, CLOCKS, f"clock: no clock {config.clock!r}")
    kinds = []  # every arm at every budget
    for arm in config.arms:
        shared = arm_config(config, arm)
        for samples in config.budgets or (shared.train.samples,):
            own = replace(shared, train=replace(shared.train, samples=samples))
            kinds.append((arm, own, run_digest(own, METHOD_VERSION, *recipe_digests(own))))
    blocks: list[Block] = []
    for index in range(block_count(config)):
        blocks.append([])
        for place in permutation(len(kinds), config.seed + index, Stream.BLOCK_ORDER):
            arm, own, digest = kinds[place]
            run_id = f"{arm}-s{own.seed + index}-{digest}"
            blocks[-1].append(
                RunSpec(run_id=run_id, arm=arm, seed=own.seed + index, block=index, config=own)
            )
    return blocks


def run_ids(blocks: list[Block]) -> list[str]:
    """Every run's id, in the order the runs are made."""
    return [run.run_id for block in blocks for run in block]


def recipe_digests(config: ExperimentConfig) -> list[str]:
    """What decides self-trained weights, so that another recipe under the same name gives other runs."""
    if config.weights.source != "self" or not config.weights.recipe:
        return []
    recipe = load(config.weights.recipe)
    return [str(recipe.seed), *(run_digest(arm_config(recipe, arm)) for arm in recipe.arms)]


def recipe_run(config: ExperimentConfig) -> RunSpec:
    """The one run that makes an arm's self-trained weights. Raises ValueError where the recipe is not for the arm's network."""
    assert config.weights.recipe
    recipe = load(config.weights.recipe)
    stems = (
        recipe.model.stem,
        "stock" if config.weights.stem else config.model.stem,
    )  # which a 3x3 one is then made of
    trained, needed = (
        f"{of.model.name!r} ({stem} stem)" for of, stem in zip((recipe, config), stems, strict=True)
    )
    if trained != needed:
        raise ValueError(
            f"weights.recipe: {config.weights.recipe} trains {trained}, the arm needs {needed}"
        )
    spec = plan(recipe)[0][0]
    if spec.config.weights.source == "self":
        raise ValueError(
            f"weights.recipe: {config.weights.recipe} itself starts from self-trained weights"
        )
    return spec


def plan_record(config: ExperimentConfig, blocks: list[Block]) -> dict[str, Any]:
    """The plan as plain data, for plan.json: the config, every run's id and the one primary comparison with its hash."""
    tree, ids = as_dict(config), [[run.run_id for run in block] for block in blocks]
    primary = primary_record(tree, ids)
    whole = {"schema_version": 2, "primary": primary, "sha256": plan_sha256(primary), "amended": []}
    return {**whole, "config": tree, "blocks": ids}


def cost(
    config: ExperimentConfig, counted: Mapping[str, Counts] | None = None
) -> list[dict[str, Any]]:
    """What each arm's runs will compute, a row an arm; training is three forward passes.

    By the counts that were made of an arm's network, else the stored ones; null where there are neither.
    """
    rows = []
    for arm in config.arms:
        own = arm_config(config, arm)
        known = (counted or {}).get(arm) or stored_counts(own.model, own.data)
        model, samples, flops = (
            own.model,
            own.train.samples,
            known.flops_per_image if known else None,
        )
        images = (sum(config.budgets) or samples) * block_count(config)
        rows.append({
            "arm": arm, "network": model.name, "stem": model.stem, "input_size": model.input_size, "weights": own.weights.source,
            "parameters": known.parameters if known else None, "flops_per_image": flops,
            "steps": samples // own.train.global_batch_size, "looks": samples // own.evaluation.every_samples,
            "train_pflop_all_runs": 3 * flops * images / 1e15 if flops else None,
        })  # fmt: skip
    return rows


def block_count(config: ExperimentConfig) -> int:
    """How many blocks are made, or are at the most where they are added until the primary comparison decides."""
    return config.primary.max_blocks if config.until_decided else config.blocks


def _enough_text(config: ExperimentConfig) -> str:
    """How many blocks decide, at the stored spread."""
    from bench.judge.statistics import plan_blocks

    asked = config.primary
    enough = partial(plan_blocks, spread=asked.spread or 0.0, alpha=asked.alpha, most=100)
    told = [
        f"{ratio:g}x {enough(ratio=ratio) or 'more than 100'}"
        for ratio in (asked.smallest_ratio, 1.5, 2.0, 4.0)
    ]
    return f"blocks that decide 9 times in 10, at the stored spread {asked.spread:g}: {', '.join(told)}"


def plan_text(config: ExperimentConfig, rows: list[dict[str, Any]]) -> str:
    """The plan for a person: question, arms, cost."""
    against = f" against {config.baseline}" if config.primary.arm != config.baseline else ""
    threshold, blocks, runs = (
        config.primary.threshold,
        block_count(config),
        len(config.arms) * max(1, len(config.budgets)),
    )
    lines = [
        textwrap.fill(f"{config.name}: {config.question}", COLUMNS),
        f"{'at most ' if config.until_decided else ''}{blocks} blocks of {runs} runs ({blocks * runs} runs), "
        f"seeds {config.seed} to {config.seed + blocks - 1}; {config.kind}; primary: {config.primary.arm}{against} "
        f"at {max(f'{threshold:.2f}', repr(threshold), key=len)} on the {config.clock} clock",
        *([_enough_text(config)] if config.primary.spread else []),
        textwrap.fill(f"cost: {config.cost}", COLUMNS),
    ]
    built = ["GB a rank (estimate)"] if "memory_bytes" in rows[0] else []
    cells = [
        [
            "arm",
            "network",
            "weights",
            "parameters",
            "MFLOP/image",
            "steps",
            "looks",
            "PFLOP",
            *built,
        ]
    ]
    for row in rows:
        size = f" {row['input_size']} px" if row["input_size"] else ""
        network = row["network"] + ("" if row["stem"] == "stock" else f" {row['stem']} stem") + size
        parameters, flops, pflop = "not stored", "--build", ""
        if row["parameters"] is not None:
            parameters, flops = f"{row['parameters']:,}", f"{row['flops_per_image'] / 1e6:.1f}"
            pflop = f"{row['train_pflop_all_runs']:.3f}"
        held = [f"{sum(row['memory_bytes'].values()) / 1e9:.2f}"] if built else []
        cells.append(
            [
                row["arm"],
                network,
                row["weights"],
                parameters,
                flops,
                f"{row['steps']}",
                f"{row['looks']}",
                pflop,
                *held,
            ]
        )
    matched = [
        f"--arms.{row['arm']}.model.input_size={iso['input_size']}: {iso['flops_ratio']:.2f}x the FLOPs an image of {iso['of']}"
        for row in rows
        if (iso := row.get("iso_flops"))
    ]
    return "\n".join([*lines, text_table(cells, words=3), *matched])


def text_table(rows: Sequence[Sequence[str]], words: int) -> str:
    """Rows as lines, each column as wide as its widest cell: the first `words` to the left, figures to the right."""
    columns = []
    for place, column in enumerate(zip(*rows, strict=True)):
        width = 2 + max(len(cell) for cell in column)
        columns.append(
            [cell.ljust(width) if place < words else cell.rjust(width) for cell in column]
        )
    return "\n".join("".join(cells).rstrip() for cells in zip(*columns, strict=True))
