"""The tables of what comes on top of a run: tuning and pretraining."""

from bench.config.load import arm_config
from bench.judge.records import ArmTuning, BreakEven, Report, TrialSummary, TuningCost
from bench.judge.study import Study
from bench.report.table import Entry, Table, make_table
from bench.report.words import NOT_REACHED, accuracy_label, number, seconds


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
    rates = [_trial_text(trial, tuning) for trial in tuning.trials]
    best_scores = [f"{score:.3f}" for score in tuning.expected_best]
    return {
        "arm": cost.arm,
        "learning rates tried": "; ".join(rates),
        "trials": str(len(tuning.trials)),
        "best val accuracy": number(best_score, "{:.4f}"),
        "expected best of 1, 2, ...": ", ".join(best_scores),
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
