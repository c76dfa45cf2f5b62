"""The tables of what was recorded: every run, and where the runs were made."""

from collections import Counter
from collections.abc import Sequence

from bench.ledger.result import RunResult
from bench.report.table import Entry, Table, make_table
from bench.report.words import NOTHING, number

TRAIN = "train"  # the segment


def runs_table(runs: Sequence[RunResult]) -> Table:
    """Build a row for every run; one that did not complete stands out."""
    entries = []
    for run in runs:
        entries.append(Entry(cells=_run_cells(run), marked=run.status != "completed"))
    return make_table("Every run", entries, words=2, folded=True)


def _run_cells(run: RunResult) -> dict[str, str | None]:
    last_accuracy = run.evaluations[-1].accuracy if run.evaluations else None
    return {
        "run": run.run_id,
        "status": _status_text(run),
        "block": str(run.block),
        "seed": str(run.seed),
        "attempts": f"{run.attempts}, resumed" if run.resumed else str(run.attempts),
        "last val": number(last_accuracy, "{:.4f}"),
        "restored from step": number(run.best_step, "{}"),
        "test": number(run.test_accuracy, "{:.4f}"),
        "train s": number(run.segments_s.get(TRAIN), "{:,.2f}"),
        "wall s": _wall_cell(run),
        "images/s": number(run.images_per_s, "{:,.0f}"),
        "ledger sha256": run.ledger_sha256[:12],
    }


def _status_text(run: RunResult) -> str:
    text: str = run.status
    if run.error:
        text += f": {run.error}"
    if run.stopped_step is not None:
        text += ", by its own rule"
    return text


def _wall_cell(run: RunResult) -> str | None:
    """Write the seconds on the wall clock, or why there are none; curves from elsewhere tell none.

    A process that made several runs, or several that made one, do not tell what one run takes.
    """
    if run.wall_s is not None:
        return f"{run.wall_s:,.1f}"
    process_runs = run.start.process_runs
    if process_runs == 0:
        return None
    if not run.is_finished:
        return "not finished"
    if process_runs > 1:
        return f"{process_runs} runs a process"
    return "several attempts"


def environment_table(runs: Sequence[RunResult]) -> Table:
    """Build the environment facts of all runs; one that differs between runs stands out."""
    entries = []
    for fact, values in _facts(runs).items():
        cells = {"fact": fact, "value": _values_text(values)}
        entries.append(Entry(cells=cells, marked=len(set(values)) > 1))
    return make_table(
        "Environment",
        entries,
        words=2,
        folded=True,
        note="A marked fact differs between runs.",
    )


def _values_text(values: Sequence[str]) -> str:
    """Write the value that all runs have, or each one with its number of runs."""
    counts = Counter(values).most_common()
    if len(counts) == 1:
        return values[0]
    return "; ".join(f"{value} (runs: {count})" for value, count in counts)


def _facts(runs: Sequence[RunResult]) -> dict[str, list[str]]:
    """Return the runs' values of each fact; a fact that none of them knows is left out."""
    values: dict[str, list[str]] = {}
    for run in runs:
        start = run.start
        facts = {
            "precision": start.precision.name,
            **start.environment,
            "self_check": start.self_check,
        }
        for fact, value in facts.items():
            text = NOTHING if value is None else str(value)
            values.setdefault(fact, []).append(text)
    return {fact: texts for fact, texts in values.items() if set(texts) != {NOTHING}}
