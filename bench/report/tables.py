"""The tables that answer: times, how thresholds were reached, tuning, accuracy, prices, rules.

What the arms are stands in arm_tables.py, their configs in config_tables.py, classes in
class_tables.py, runs in run_tables.py.
"""

from collections.abc import Sequence

from bench.config.load import arm_config
from bench.judge.records import (
    ArmSummary,
    ArmTuning,
    BreakEven,
    Comparison,
    FinalAccuracy,
    RankedArm,
    Ranking,
    Report,
    Spread,
    ThresholdSummary,
    TrialSummary,
    TuningCost,
)
from bench.judge.study import Study
from bench.ledger.json_records import JsonObject
from bench.ledger.result import RunResult
from bench.report.arm_tables import arms_table, speed_table
from bench.report.class_tables import classes_table, confused_table
from bench.report.config_tables import audit_table, differing_table, equal_table
from bench.report.run_tables import environment_table, runs_table
from bench.report.table import Entry, Table, make_table, shown
from bench.report.words import (
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

NOT_REACHED = "not reached"
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
    return [{arm.name: arm.at(threshold) for arm in report.arms} for threshold in thresholds]


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
    has_crossings = summary.confirmed + summary.terminal > 0
    win_probability = None if comparison is None else comparison.win_probability
    return {
        "threshold": accuracy_label(summary.threshold),
        "arm": arm,
        "confirmed": str(summary.confirmed) if has_crossings else None,
        "terminal": str(summary.terminal) if has_crossings else None,
        "touched": str(summary.touched),
        "fell back": str(summary.fell_back),
        "ended below": str(summary.ended_below),
        mean_heading: number(summary.mean_s.value, "{:.2f}"),
        "expected s with restarts": _restarts_cell(summary),
        "win probability": number(win_probability, "{:.2f}"),
    }


def _restarts_cell(summary: ThresholdSummary) -> str:
    restarts_s = summary.restarts_s
    spread = Spread(median=restarts_s.value, low=restarts_s.low, high=restarts_s.high)
    return spread_text(spread, seconds, number(restarts_s.floor, "over {:,.1f}"))


def tuning_table(report: Report, study: Study) -> Table:
    """Build what each arm's learning rate took to find, and its time with that included.

    A row is marked where a better rate may lie beyond, or the runs had another one.
    """
    tunings = report.tuning.arms if report.tuning else {}
    entries = []
    for cost in report.tuning_cost:
        tuning = tunings[cost.arm]
        cells = _tuning_cells(report, study, tuning, cost)
        entries.append(Entry(cells=cells, marked=tuning.at_edge or not cost.ran_at_best))
    return make_table(
        "Tuning",
        entries,
        words=2,
        note="Rates are scored by val accuracy at the end of runs with seeds of their own; every "
        "trial on record counts, and an arm over the budget that all have, or tuned unlike the "
        "others, leaves the verdict undecided. Expected best: the mean over all choices of so "
        "many of the trials. A marked row’s best rate lies at the edge of those tried, so a "
        "better one may lie beyond, or its runs had another rate than the best.",
    )


def _tuning_cells(
    report: Report, study: Study, tuning: ArmTuning, cost: TuningCost
) -> dict[str, str | None]:
    best_score = tuning.expected_best[-1] if tuning.expected_best else None
    goal = accuracy_label(report.primary.threshold)
    return {
        "arm": cost.arm,
        "learning rates tried": "; ".join(_trial_text(trial, tuning) for trial in tuning.trials),
        "trials": str(len(tuning.trials)),
        "best val accuracy": number(best_score, "{:.4f}"),
        "expected best of 1, 2, ...": ", ".join(f"{score:.3f}" for score in tuning.expected_best),
        "images": f"{tuning.samples:,}",
        "tuning s": seconds(tuning.seconds),
        f"s to {goal}, tuning included": _tuned_time_cell(study, cost),
    }


def _trial_text(trial: TrialSummary, tuning: ArmTuning) -> str:
    """Write a learning rate, with what is to be said of it in brackets."""
    marks: list[str] = []
    if trial.lr == tuning.best:
        marks.append("best")
        if tuning.at_edge:
            marks.append("at the edge")
    if trial.status != "completed":
        marks.append(trial.status)
    rate = f"{trial.lr:g}"
    return f"{rate} ({', '.join(marks)})" if marks else rate


def _tuned_time_cell(study: Study, cost: TuningCost) -> str:
    if not cost.ran_at_best:
        assert study.config is not None  # curves from elsewhere are not tuned
        return f"ran at {arm_config(study.config, cost.arm).optim.lr:g}"
    if cost.with_tuning_s is None:
        return NOT_REACHED
    return seconds(cost.with_tuning_s)


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


def break_even_table(report: Report) -> Table:
    """Build what pretraining took, and after how many runs it has paid."""
    goal = accuracy_label(report.primary.threshold)
    return make_table(
        "Price of pretraining",
        [Entry(cells=_price_cells(price)) for price in report.break_even],
        words=2,
        note=f"What making the weights took, over what the arm saves of {report.primary.baseline}’s"
        f" median FLOPs to {goal}: after so many trainings pretraining has paid. What is there "
        "already costs its next user nothing.",
    )


def _price_cells(price: BreakEven) -> dict[str, str | None]:
    flops = number(price.pretraining_flops, "{:,.4g}", scale=1e-15)
    return {
        "arm": price.arm,
        "source": price.source,
        "pretraining PFLOP": f"{flops} (estimate)" if price.estimate else flops,
        "saved PFLOP a run": number(price.saved_flops, "{:,.4g}", scale=1e-15),
        "pays after": _pays_after_cell(price),
    }


def _pays_after_cell(price: BreakEven) -> str:
    if price.saved_flops is None:
        return "not known: not all reached"
    return number(price.runs, "{:,.1f} runs", missing="never")


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
