"""The report's tables as text, built once from the summary and the runs; the templates beside this file show them."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.results.fold import RunResult
from bench.results.verdict import accuracy_label

NOTHING = "—"
Report = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Text cells in rows. The first `words` columns are words, the others figures; a marked row stands out.

    `grouped`: rows with the same first cell belong together. `folded`: too long to stand open between a reader and the rest.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int
    marked: frozenset[int] = frozenset()
    grouped: bool = False
    folded: bool = False

    def told(self) -> "Table":
        """Itself without the columns that tell nothing in any row; without rows where no figures would stay."""
        kept = [n for n in range(len(self.columns)) if not n or any(row[n] != NOTHING for row in self.rows)]
        rows = [tuple(row[place] for place in kept) for row in self.rows] if len(kept) > 1 else []
        words = sum(place < self.words for place in kept)
        return dataclasses.replace(self, columns=tuple(self.columns[place] for place in kept), rows=rows, words=words)


def result_tables(report: Report) -> dict[str, list[Table]]:
    """The tables that answer, compare and explain, and what arms take for what, each in a reader's order."""
    told = [_times(report), _ways(report), _final(report), _arms(report), _speed(report), _rankings(report)]
    return {"results": told, "classes": [_confused(report)]}


def _table(title: str, cells: Iterable[dict[str, str]], words: int = 1, **options: Any) -> Table:
    """A table from each row's cells by column."""
    rows = list(cells)
    columns = tuple(rows[0]) if rows else ()
    return Table(title=title, columns=columns, rows=[tuple(row.values()) for row in rows], words=words, **options)


def _threshold_table(title: str, report: Report, cells: Callable[[Any, Any], dict[str, str]], **options: Any) -> Table:
    """A row for every threshold of every arm, from the arm's row and its comparison, None for the baseline."""
    compared = {(row["arm"], row["threshold"]): row for row in report["comparisons"]}
    groups = zip(*([(arm["name"], row) for row in arm["thresholds"]] for arm in report["arms"]), strict=True)
    entries = [(name, row, compared.get((name, row["threshold"]))) for group in groups for name, row in group]
    rows = [{"threshold": accuracy_label(row["threshold"]), "arm": name, **cells(row, own)} for name, row, own in entries]
    marked = frozenset(n for n, (_, row, _) in enumerate(entries) if row["threshold"] == report["primary"]["threshold"])
    return _table(title, rows, 2, marked=marked, grouped=True, **options)


def _times(report: Report) -> Table:
    primary = report["primary"]

    def cells(row: Any, compared: Any) -> dict[str, str]:
        missing = "not reached" if row["runs"] else "no finished run"
        asked = compared and (compared["arm"], compared["threshold"]) == (primary["arm"], primary["threshold"])
        return {
            "reached": f"{row['reached']}/{row['runs']}",
            clock_label(report): spread(row["time_to_accuracy_s"], seconds, missing),
            "epochs": spread(row["epochs_to_accuracy"], "{:.2f}".format, missing),
            f"ratio against {primary['baseline']}": ratio(compared) if compared else "baseline",
            "blocks sooner": f"{compared['blocks_sooner']} of {compared['blocks']}" if compared else NOTHING,
            "p (Holm)": "decides" if asked else number(compared and compared["p_holm"], "{:.3g}"),
        }

    return _threshold_table("Time to accuracy", report, cells)


def ratio(row: Mapping[str, Any]) -> str:
    """A comparison's ratio with its interval, or what bounds it where that tells anything."""
    if row["ratio"] is not None:
        return spread({"median": row["ratio"], "low": row["low"], "high": row["high"]}, "{:.2f}x".format)
    bound = {end: value for end, value in (row["bound"] or {}).items() if value and 0.01 <= value < 1000}
    return f"{_between(bound, '{:.2f}x'.format)}, with restarts" if bound else NOTHING


def _ways(report: Report) -> Table:
    budget = f"mean s, budget {seconds(report['arms'][0]['thresholds'][0]['mean_s']['tau'] or 0.0)} s"

    def cells(row: Any, compared: Any) -> dict[str, str]:
        again, held = row["restarts_s"], row["confirmed"] + row["terminal"]
        floor = number(again["floor"], "over {:,.1f}")
        return {
            **{kind: str(row[kind]) if held else NOTHING for kind in ("confirmed", "terminal")},
            **{key.replace("_", " "): str(row[key]) for key in ("touched", "fell_back", "ended_below")},
            budget: number(row["mean_s"]["value"], "{:.2f}"),
            "expected s with restarts": spread({**again, "median": again["value"]}, seconds, floor),
            "win probability": number(compared and compared["win_probability"], "{:.2f}"),
        }

    return _threshold_table("How thresholds were reached", report, cells, folded=True)


def _final(report: Report) -> Table:
    final = {row["arm"]: {**row, "median": row["difference"]} for row in report["final_accuracy"]}
    rows = [
        {
            "arm": arm["name"],
            "test accuracy": spread(arm["final_accuracy"], "{:.4f}".format),
            f"points above {report['primary']['baseline']}": spread(final.get(arm["name"], {}), _points),
            "val above test, points": spread(arm["optimism_gap"], _points),
            "area over log FLOPs": spread(arm["area_log_flops"], "{:.3f}".format),
            "parameters": number(arm["parameters"], "{:,}"),
        }
        for arm in report["arms"]
    ]
    return _table("Final accuracy at the same budget", rows)


def _arms(report: Report) -> Table:
    facts: dict[str, list[str]] = {}
    for arm in report["arms"]:
        weights, stored = arm["weights"] or {}, arm["reference"]
        origin = (weights.get("source"), weights.get("tag"), weights.get("sha256") and f"sha256 {weights['sha256'][:12]}")
        for label, told in {
            "network": arm["network"],
            "forward MFLOP/image": number(arm["flops_per_image"], "{:,.1f}", scale=1e-6),
            "weights": ", ".join(filter(None, origin)),
            "stored reference": f"{spread(stored['epochs'], '{:.2f}'.format)} epochs: {stored['told']}" if stored else None,
            "runs": ", ".join(f"{count} {status}" for status, count in arm["statuses"].items() if count) or "none yet",
        }.items():
            facts.setdefault(label, []).append(told or NOTHING)
    rows = [(label, *told) for label, told in facts.items() if set(told) != {NOTHING}]
    return Table(title="Arms", columns=("", *(arm["name"] for arm in report["arms"])), rows=rows, words=1 + len(report["arms"]))


def _speed(report: Report) -> Table:
    def cells(arm: Any) -> dict[str, str]:
        step, made = arm["step"] or {}, arm["compile"] or {}
        runs, hits = made.get("break_even_runs"), made.get("cache_hits")
        return {
            "arm": arm["name"],
            "images/s": number(arm["images_per_s"], "{:,.0f}"),
            "waits for data": number(step.get("data_wait"), "{:.1f} %", scale=100),
            "communicates": number(step.get("communication"), "{:.1f} %", scale=100),
            "computes": number(step.get("compute"), "{:.1f} %", scale=100),
            "bottleneck": step.get("bottleneck") or NOTHING,
            "step ms": number(made.get("step_s"), "{:.1f}", scale=1e3),
            "eager step ms": number(made.get("eager_step_s"), "{:.1f}", scale=1e3),
            "compile s": number(made.get("compile_s"), "{:.1f}"),
            "found in cache": NOTHING if hits is None else f"{hits} of {hits + made['cache_misses']}",
            "compiling pays after": number(runs, "{:,.1f} runs", missing="never" if made.get("enabled") else NOTHING),
        }

    return _table("Speed", map(cells, report["arms"]))


def _rankings(report: Report) -> Table:
    rows = []
    for row in report["rankings"] if report["plan"]["sha256"] else ():  # curves from elsewhere have no test, nor other clocks
        times = "; ".join(
            f"{arm['arm']} {number(arm['median_s'], '{:.2f} s', missing='not reached')}" for arm in row["arms"] or ()
        )
        same = {True: "the same", False: "another", None: "not judged: no looks on test"}[row["same"]]
        rows.append({"rules": row["rules"], "reached is": row["words"], "soonest first, median": times or NOTHING, "order": same})
    return _table("Under other rules", rows, 4)


def _confused(report: Report) -> Table:
    pairs = [(arm["name"], pair) for arm in report["arms"] if arm["classes"] for pair in arm["classes"]["most_confused"]]
    columns = ("arm", "classes", "test images", "of its errors")
    rows = [(name, " / ".join(p["classes"]), f"{p['count']:,}", f"{100 * p['share_of_errors']:.0f} %") for name, p in pairs]
    return Table(title="Most confused", columns=columns, rows=rows, words=2, grouped=True)


def run_table(config: Mapping[str, Any], results: Sequence[RunResult]) -> Table:
    """Every run, those that failed included, block by block."""
    order = {arm: place for place, arm in enumerate(config["arms"])}
    runs = sorted(results, key=lambda run: (run.block, order.get(run.arm, len(order)), run.run_id))
    broken = frozenset(place for place, run in enumerate(runs) if run.status != "completed")

    def cells(run: RunResult) -> dict[str, str]:
        shared = run.start["process_runs"]
        why = "not finished" if not run.is_finished else f"{shared} runs a process" if shared > 1 else "several attempts"
        return {
            "run": run.run_id,
            "status": f"{run.status}: {run.error}" if run.error else run.status,
            **{name: str(getattr(run, name)) for name in ("block", "seed")},
            "attempts": f"{run.attempts}{', resumed' if run.resumed else ''}",
            "last val": number(run.looks[-1].accuracy if run.looks else None, "{:.4f}"),
            "test": number(run.test_accuracy, "{:.4f}"),
            "train s": number(run.segments_s.get("train"), "{:,.2f}"),
            "wall s": number(run.wall_s, "{:,.1f}", missing=why if shared else NOTHING),
            "images/s": number(run.images_per_s, "{:,.0f}"),
            "ledger sha256": run.ledger_sha256[:12] or NOTHING,
        }

    return _table("Every run", map(cells, runs), 2, marked=broken, folded=True)


def spread(values: Mapping[str, float | None], show: Callable[[float], str], missing: str = NOTHING) -> str:
    """`median (low to high)`; the median alone where nothing else is known, or all three read the same."""
    if (median := values.get("median")) is None:
        return missing
    inside = _between(values, show)
    return show(median) if inside in ("", f"{show(median)} to {show(median)}") else f"{show(median)} ({inside})"


def _between(values: Mapping[str, float | None], show: Callable[[float], str]) -> str:
    low, high = (None if (end := values.get(key)) is None else show(end) for key in ("low", "high"))
    return f"{low} to {high}" if low and high else f"over {low}" if low else f"under {high}" if high else ""


def clock_label(report: Report) -> str:
    """What seconds are measured by; curves from elsewhere have it in the user's words."""
    return f"seconds, {report['clock']} clock" if report["plan"]["sha256"] else f"seconds, {report['clock']}"


def seconds(value: float) -> str:
    """Seconds with the digits that a reader needs."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def number(value: float | None, form: str, *, scale: float = 1, missing: str = NOTHING) -> str:
    """A number in a form, or a dash for what is not known."""
    return missing if value is None else form.format(value * scale)


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"
