"""What a study promises before its first run: the comparison that decides, and by which rules."""

from collections.abc import Sequence

from bench.config.schema import ExperimentConfig
from bench.ledger.method import METHOD_VERSION
from bench.ledger.plan_record import PrimaryRecord


def primary_record(config: ExperimentConfig, blocks: Sequence[Sequence[str]]) -> PrimaryRecord:
    """Return the comparison that decides, by which rules, and of which runs.

    `blocks`: every run's id, by block. Raises ValueError where there is no block.
    """
    if not blocks:
        raise ValueError("a plan has at least one block of runs, this one has none")
    primary = config.primary
    compared_arms = {config.baseline, primary.arm, *config.controls}
    return PrimaryRecord(
        arm=primary.arm,
        threshold=primary.threshold,
        alpha=primary.alpha,
        max_blocks=primary.max_blocks,
        spread=primary.spread,
        smallest_ratio=primary.smallest_ratio,
        interval_width=primary.interval_width,
        baseline=config.baseline,
        clock=config.clock,
        kind=config.kind,
        confirm_looks=config.confirm_looks,
        controls=config.controls,
        reference=config.reference,
        budget_samples=config.budgets or config.train.samples,
        blocks=len(blocks),
        method_version=METHOD_VERSION,
        first_block=sorted(run_id for run_id in blocks[0] if _arm_of(run_id) in compared_arms),
    )


def _arm_of(run_id: str) -> str:
    return run_id.rpartition("-s")[0]
