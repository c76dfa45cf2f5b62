"""All tables of a page in their order, and those that answer: times, accuracy, other rules.

What the arms are stands in arm_tables.py, tuning and pretraining in cost_tables.py, configs in
config_tables.py, classes in class_tables.py, runs in run_tables.py.
"""

from collections.abc import Sequence

from bench.judge.arm_records import ArmSummary, Spread, ThresholdSummary
from bench.judge.records import Comparison, FinalAccuracy, RankedArm, Ranking, Report
from bench.judge.study import Study
from bench.ledger.json_records import JsonObject
from bench.ledger.result import RunResult
from bench.report.arm_tables import arms_table, speed_table
from bench.report.class_tables import classes_table, confused_table
from bench.report.config_tables import audit_table, differing_table, equal_table
from bench.report.cost_tables import break_even_table, tuning_table
from bench.report.run_tables import environment_table, runs_table
from bench.report.table import Entry, Table, make_table, shown
from bench.report.words import (
    NOT_REACHED,
    accuracy_label,
    clock_label,
    level_text,
    number,
    number_form,
    ratio_text,
    seconds,
    spread_text,
    value_text,
)

SAME_ORDER = {True: "the same", False: "another", None: "not judged: no looks on test"}


def result_tables(report: Report, study: Study) -> list[Table]:
    """Build what answers, compares and explains, in a reader's order."""
    return shown(
        [
            times_table(report),
            crossings_table(report),
            tuning_table(report, study),
            final_accuracy_table(report),
            arms_table(report),
            speed_table(report),
            break_even_table(report),
            rankings_table(report),
            differing_table(study),
            audit_table(report),
            equal_table(study),
            amended_table(report),
        ]
    )


def class_tables(report: Report) -> list[Table]:
    """Build what tells of classes."""
    return shown([classes_table(report), confused_table(report)])


def record_tables(runs: Sequence[RunResult]) -> list[Table]:
    """Build what was recorded of each run."""
    return shown([runs_table(runs), environment_table(runs)])


def times_table(report: Report) -> Table:
    """Build the main table: when each arm reached each threshold, and the ratio of times."""
    baseline = report.primary.baseline
    level = level_text(report)
    entries = []
    for summaries in _by_threshold(report):
        for arm, summary in summaries.items():
            cells = _time_cells(report, arm, summary)
            is_primary = summary.threshold == report.primary.threshold
            entries.append(Entry(cells=cells, marked=is_primary))
    return make_table(
        "Time to accuracy",
        entries,
        words=2,
        grouped=True,
        note="Median (low to high) of the runs that reached. "
        f"Ratio: {baseline}’s time / the arm’s, so above 1 the arm is sooner; the geometric mean "
        f"over blocks where every run reached, with its {level} % confidence sequence once there "
        "are blocks enough, else a bound on the ratio of expected times with restarts. The marked "
        "threshold is the primary one, which alone decides; p of the others: paired sign-flip "
        "test, Holm-corrected.",
    )


def _by_threshold(report: Report) -> list[dict[str, ThresholdSummary]]:
    """Return the arms' summaries by name, threshold by threshold."""
    thresholds = [summary.threshold for summary in report.arms[0].thresholds]
    rows = []
    for threshold in thresholds:
        rows.append({arm.name: arm.at(threshold) for arm in report.arms})
    return rows


def _time_cells(report: Report, arm: str, summary: ThresholdSummary) -> dict[str, str | None]:
    comparison = report.comparison(arm, summary.threshold)
    missing = NOT_REACHED if summary.runs else "no finished run"
    epochs = spread_text(summary.epochs_to_accuracy, number_form("{:.2f}"), missing)
    return {
        "threshold": accuracy_label(summary.threshold),
        "arm": arm,
        "reached": f"{summary.reached}/{summary.runs}",
        clock_label(report): spread_text(summary.time_to_accuracy_s, seconds, missing),
        "epochs": epochs,
        f"ratio against {report.primary.baseline}": _ratio_cell(comparison),
        "blocks sooner": _sooner_cell(comparison),
        "p (Holm)": _p_cell(report, comparison),
    }


def _ratio_cell(comparison: Comparison | None) -> str:
    return "baseline" if comparison is None else ratio_text(comparison)


def _sooner_cell(comparison: Comparison | None) -> str | None:
    if comparison is None:
        return None
    return f"{comparison.blocks_sooner} of {comparison.blocks}"


def _p_cell(report: Report, comparison: Comparison | None) -> str | None:
    if comparison is None:
        return None
    if comparison == report.primary_comparison:
        return "decides"
    return number(comparison.p_holm, "{:.3g}")


def crossings_table(report: Report) -> Table:
    """Build how thresholds were reached, and what their times are when misses count."""
    common_budget_s = report.arms[0].thresholds[0].mean_s.tau or 0.0
    mean_heading = f"mean s, budget {seconds(common_budget_s)} s"
    entries = []
    for summaries in _by_threshold(report):
        for arm, summary in summaries.items():
            comparison = report.comparison(arm, summary.threshold)
            cells = _crossing_cells(arm, summary, comparison, mean_heading)
            is_primary = summary.threshold == report.primary.threshold
            entries.append(Entry(cells=cells, marked=is_primary))
    return make_table(
        "How thresholds were reached",
        entries,
        words=2,
        grouped=True,
        folded=True,
        note="Confirmed: the next looks uphold the crossing. "
        "Terminal: reached by the last looks of a whole schedule. "
        "Touched: any look at or above it, held or not; some of those runs fell back, or ended "
        "below. Mean: what was not reached counts as the whole budget. With restarts: expected "
        "seconds when failed runs are paid for until one reaches (95 % interval). "
        "Win probability: that a run is sooner than one of "
        f"{report.primary.baseline}, over all pairs.",
    )


def _crossing_cells(
    arm: str, summary: ThresholdSummary, comparison: Comparison | None, mean_heading: str
) -> dict[str, str | None]:
    """Return a row's cells. Without a crossing that was kept, its kinds are not told."""
    win_probability = None if comparison is None else comparison.win_probability
    return {
        "threshold": accuracy_label(summary.threshold),
        "arm": arm,
        "confirmed": _kind_cell(summary, summary.confirmed),
        "terminal": _kind_cell(summary, summary.terminal),
        "touched": str(summary.touched),
        "fell back": str(summary.fell_back),
        "ended below": str(summary.ended_below),
        mean_heading: number(summary.mean_s.value, "{:.2f}"),
        "expected s with restarts": _restarts_cell(summary),
        "win probability": number(win_probability, "{:.2f}"),
    }


def _kind_cell(summary: ThresholdSummary, count: int) -> str | None:
    has_crossings = summary.confirmed + summary.terminal > 0
    return str(count) if has_crossings else None


def _restarts_cell(summary: ThresholdSummary) -> str:
    restarts_s = summary.restarts_s
    spread = Spread(median=restarts_s.value, low=restarts_s.low, high=restarts_s.high)
    return spread_text(spread, seconds, number(restarts_s.floor, "over {:,.1f}"))


def final_accuracy_table(report: Report) -> Table:
    """Build the arms' test accuracy at the end, all with the same budget."""
    by_arm = {row.arm: row for row in report.final_accuracy}
    entries = []
    for arm in report.arms:
        cells = _final_cells(arm, by_arm.get(arm.name), report.primary.baseline)
        entries.append(Entry(cells=cells))
    return make_table(
        "Final accuracy at the same budget",
        entries,
        note="Median (low to high) over runs. "
        "The difference is the mean over blocks with its t interval. "
        "Test steers nothing; how far val lies above it is what choosing by val flatters. "
        "Area: mean val accuracy over the logarithm of training FLOPs.",
    )


def _final_cells(
    arm: ArmSummary, difference: FinalAccuracy | None, baseline: str
) -> dict[str, str | None]:
    points = number_form("{:+.2f}", scale=100)
    above = None
    if difference is not None:
        spread = Spread(median=difference.difference, low=difference.low, high=difference.high)
        above = spread_text(spread, points)
    return {
        "arm": arm.name,
        "test accuracy": spread_text(arm.final_accuracy, number_form("{:.4f}")),
        f"points above {baseline}": above,
        "val above test, points": spread_text(arm.optimism_gap, points),
        "area over log FLOPs": spread_text(arm.area_log_flops, number_form("{:.3f}")),
        "parameters": number(arm.parameters, "{:,}"),
    }


def rankings_table(report: Report) -> Table:
    """Build the order of the arms under each set of rules.

    Curves from elsewhere have none: they have no test, nor other clocks.
    """
    rankings = report.rankings if report.plan.sha256 else ()
    return make_table(
        "Under other rules",
        [Entry(cells=_ranking_cells(ranking)) for ranking in rankings],
        words=4,
        note="The same runs, judged by the rules of other benchmarks: whether the arms would come "
        "in another order. Only headstart’s rules give a verdict here.",
    )


def _ranking_cells(ranking: Ranking) -> dict[str, str | None]:
    return {
        "rules": ranking.rules,
        "reached is": ranking.meaning,
        "soonest first, median": "; ".join(_ranked_text(arm) for arm in ranking.arms or ()),
        "order": SAME_ORDER[ranking.same],
    }


def _ranked_text(ranked: RankedArm) -> str:
    return f"{ranked.arm} {number(ranked.median_s, '{:.2f} s', missing=NOT_REACHED)}"


def amended_table(report: Report) -> Table:
    """Build what earlier plans of the study had otherwise."""
    entries = []
    for plan in report.plan.amended:
        changes = changes_text(plan.primary, report.plan.primary)
        entries.append(
            Entry(cells={"plan sha256": plan.sha256[:12], "what it had otherwise": changes})
        )
    return make_table(
        "Amended plans",
        entries,
        words=2,
        folded=True,
        note="More or fewer blocks do the verdict no harm; any other change since a run was made "
        "leaves it undecided.",
    )


def changes_text(earlier: JsonObject, later: JsonObject) -> str:
    """Say which values changed from one primary comparison to the other."""
    changes = []
    for key, value in later.items():
        before = earlier.get(key)
        if before != value:
            changes.append(f"{key} {value_text(before)}, now {value_text(value)}")
    return "; ".join(changes)
