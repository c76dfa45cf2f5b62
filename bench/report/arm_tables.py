"""The tables of what the arms are and how fast they ran."""

from collections.abc import Mapping

from bench.judge.arm_records import (
    ArmSummary,
    CompileSummary,
    StepSplit,
    StoredEpochs,
    WeightsSummary,
)
from bench.judge.records import Report
from bench.ledger.records import Status
from bench.report.table import Entry, Table, make_table, make_turned_table
from bench.report.words import number, number_form, spread_text


def arms_table(report: Report) -> Table:
    """Build what each arm is: its network, its weights, and how its runs ended."""
    return make_turned_table(
        "Arms",
        [Entry(cells=_arm_cells(arm)) for arm in report.arms],
        note="Diverged runs count as not reached; failed and interrupted ones are told apart and "
        "not compared.",
    )


def _arm_cells(arm: ArmSummary) -> dict[str, str | None]:
    return {
        "": arm.name,
        "network": arm.network,
        "forward MFLOP/image": number(arm.flops_per_image, "{:,.1f}", scale=1e-6),
        "weights": _weights_text(arm.weights),
        "stored reference": _stored_epochs_text(arm.stored_epochs),
        "runs": _statuses_text(arm.statuses) or "none yet",
    }


def _weights_text(weights: WeightsSummary | None) -> str | None:
    """Say what the network started from, as far as it is known."""
    if weights is None:
        return None
    parts = [weights.source, weights.tag, weights.transform]
    if weights.stem:
        parts.append(f"{weights.stem} stem")
    if weights.sha256:
        parts.append(f"sha256 {weights.sha256[:12]}")
    return ", ".join(part for part in parts if part)


def _stored_epochs_text(stored: StoredEpochs | None) -> str | None:
    if stored is None:
        return None
    return f"{spread_text(stored.epochs, number_form('{:.2f}'))} epochs: {stored.outcome}"


def _statuses_text(statuses: Mapping[Status, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in statuses.items() if count)


def speed_table(report: Report) -> Table:
    """Build how fast each arm trained, what its steps waited for, and what compiling took."""
    return make_table(
        "Speed",
        [Entry(cells=_speed_cells(arm)) for arm in report.arms],
        note="Medians over runs; shares of the train segment; throughput leaves the first epoch "
        "out. The bottleneck is data where more than 5 % is waited for it. Compilation is on no "
        "clock but algoperf and wall, and pays once the steps it quickened have saved its seconds.",
    )


def _speed_cells(arm: ArmSummary) -> dict[str, str | None]:
    return {
        "arm": arm.name,
        "images/s": number(arm.images_per_s, "{:,.0f}"),
        **_step_cells(arm.step),
        **_compile_cells(arm.compile),
    }


def _step_cells(step: StepSplit | None) -> dict[str, str | None]:
    nothing = StepSplit(data_wait=None, communication=None, compute=None, bottleneck=None)
    step = step or nothing
    return {
        "waits for data": number(step.data_wait, "{:.1f} %", scale=100),
        "communicates": number(step.communication, "{:.1f} %", scale=100),
        "computes": number(step.compute, "{:.1f} %", scale=100),
        "bottleneck": step.bottleneck,
    }


def _compile_cells(summary: CompileSummary | None) -> dict[str, str | None]:
    nothing = CompileSummary(
        enabled=False,
        compile_s=None,
        cache_hits=None,
        cache_misses=None,
        step_s=None,
        eager_step_s=None,
        break_even_runs=None,
    )
    summary = summary or nothing
    return {
        "step ms": number(summary.step_s, "{:.1f}", scale=1000),
        "eager step ms": number(summary.eager_step_s, "{:.1f}", scale=1000),
        "compile s": number(summary.compile_s, "{:.1f}"),
        "found in cache": _cache_cell(summary),
        "compiling pays after": _compiling_pays_cell(summary),
    }


def _cache_cell(summary: CompileSummary) -> str | None:
    if summary.cache_hits is None or summary.cache_misses is None:
        return None
    return f"{summary.cache_hits} of {summary.cache_hits + summary.cache_misses}"


def _compiling_pays_cell(summary: CompileSummary) -> str | None:
    if summary.break_even_runs is not None:
        return f"{summary.break_even_runs:,.1f} runs"
    return "never" if summary.enabled else None
