"""How a plan, and any table, reads on a terminal. Without torch."""

import math
import textwrap
from collections.abc import Sequence
from functools import partial

from bench.config.load import arm_config
from bench.config.run_checks import step_count
from bench.config.schema import ExperimentConfig
from bench.experiment.cost import ArmCost
from bench.experiment.plan import block_count

COLUMNS = 130
# Ratios of which it is told how many blocks decide, beside the smallest one of interest.
RATIOS = (1.5, 2.0, 4.0)


def plan_text(config: ExperimentConfig, costs: Sequence[ArmCost]) -> str:
    """Tell the plan to a person: question, arms, cost."""
    lines = [
        textwrap.fill(f"{config.name}: {config.question}", COLUMNS),
        _blocks_text(config),
    ]
    if config.primary.spread:
        lines.append(_deciding_blocks_text(config, config.primary.spread))
    lines += _average_lines(config)
    lines += [
        textwrap.fill(f"cost: {config.cost}", COLUMNS),
        _cost_table(costs),
    ]
    for cost in costs:
        if cost.iso_flops is not None:
            iso = cost.iso_flops
            lines.append(
                f"--arms.{cost.arm}.model.input_size={iso.input_size}: "
                f"{iso.flops_ratio:.2f}x the FLOPs an image of {iso.of}"
            )
    return "\n".join(lines)


def text_table(rows: Sequence[Sequence[str]], *, text_columns: int) -> str:
    """Lay rows out as lines, each column as wide as its widest cell.

    The first `text_columns` go to the left, figures to the right.
    """
    widths = []
    for column in zip(*rows, strict=True):
        widths.append(2 + max(map(len, column)))
    lines = []
    for row in rows:
        line = ""
        for place, cell in enumerate(row):
            is_text = place < text_columns
            line += cell.ljust(widths[place]) if is_text else cell.rjust(widths[place])
        lines.append(line.rstrip())
    return "\n".join(lines)


def _blocks_text(config: ExperimentConfig) -> str:
    blocks = block_count(config)
    runs_a_block = len(config.arms) * max(1, len(config.budgets))
    at_most = "at most " if config.until_decided else ""
    against = ""
    if config.primary.arm != config.baseline:
        against = f" against {config.baseline}"
    threshold = f"{config.primary.threshold:.2f}"
    if float(threshold) != config.primary.threshold:
        threshold = repr(config.primary.threshold)
    return (
        f"{at_most}{blocks} blocks of {runs_a_block} runs ({blocks * runs_a_block} runs), "
        f"seeds {config.seed} to {config.seed + blocks - 1}; {config.kind}; "
        f"primary: {config.primary.arm}{against} at {threshold} on the {config.clock} clock"
    )


def _deciding_blocks_text(config: ExperimentConfig, spread: float) -> str:
    """Say how many blocks decide, at the stored spread."""
    from bench.judge.statistics import (
        blocks_needed,
    )  # NumPy and SciPy, which most plans do not need

    blocks_at = partial(blocks_needed, spread=spread, alpha=config.primary.alpha, most=100)
    phrases = []
    for ratio in (config.primary.smallest_ratio, *RATIOS):
        blocks = blocks_at(ratio=ratio) or "more than 100"
        phrases.append(f"{ratio:g}x {blocks}")
    return (
        f"blocks that decide 9 times in 10, at the stored spread {spread:g}: {', '.join(phrases)}"
    )


def _average_lines(config: ExperimentConfig) -> list[str]:
    """Say where an average of the weights never has the decay that is asked for, and whose."""
    arms_by_phrase: dict[str, list[str]] = {}
    for arm in config.arms:
        phrase = _young_average(arm_config(config, arm))
        if phrase is not None:
            arms_by_phrase.setdefault(phrase, []).append(arm)
    lines = []
    for phrase, arms in arms_by_phrase.items():
        lines.append(textwrap.fill(f"{phrase} ({', '.join(arms)})", COLUMNS))
    return lines


def _young_average(config: ExperimentConfig) -> str | None:
    """Say that a run ends before its average is old enough; None where it does not."""
    schedule = config.schedule
    updates = step_count(config) // schedule.average_every_steps
    least = updates_until_decay(schedule.average_decay**schedule.average_every_steps)
    if not schedule.average_decay or updates >= least:
        return None
    return (
        f"schedule.average_decay {schedule.average_decay:g} is in force from update {least:,} on, "
        f"and a run has {updates:,}: the average stays younger"
    )


def updates_until_decay(decay: float) -> int:
    """Return after how many updates an average has a decay: n updates allow (1 + n) / (10 + n)."""
    return math.ceil((10 * decay - 1) / (1 - decay))


def _cost_table(costs: Sequence[ArmCost]) -> str:
    heading = ["arm", "network", "weights", "parameters", "MFLOP/image", "steps", "looks", "PFLOP"]
    is_built = costs[0].memory_bytes is not None
    if is_built:
        heading.append("GB a rank (estimate)")
    rows = [heading]
    for cost in costs:
        rows.append(_cost_row(cost))
    return text_table(rows, text_columns=3)


def _cost_row(cost: ArmCost) -> list[str]:
    network = cost.network
    if cost.stem != "stock":
        network += f" {cost.stem} stem"
    if cost.input_size:
        network += f" {cost.input_size} px"
    row = [cost.arm, network, cost.weights]
    if cost.parameters is None or cost.flops_per_image is None:
        row += ["not stored", "--build"]
    else:
        row += [f"{cost.parameters:,}", f"{cost.flops_per_image / 1e6:.1f}"]
    row += [f"{cost.steps}", f"{cost.evaluations}"]
    pflop = cost.train_pflop_all_runs
    row.append("" if pflop is None else f"{pflop:.3f}")
    if cost.memory_bytes is not None:
        row.append(f"{sum(cost.memory_bytes.values()) / 1e9:.2f}")
    return row
