"""The report's tables as text, built once from the summary and the runs, and rendered by bench.results.report."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.results.fold import RunResult
from bench.results.verdict import accuracy_label

NOTHING = "—"
# Config keys that every arm shares unless they are factors; the rest names, stores or pays for an experiment.
SHARED_ROOTS = (
    "data", "model", "weights", "optim", "schedule", "train", "evaluation", "precision", "compile", "kind", "confirm_looks",
)  # fmt: skip
PLACES = ("data.dir", "data.download", "data.urls")  # where files came from, not what they hold


@dataclass(frozen=True, kw_only=True)
class Table:
    """Text cells in rows. The first `words` columns are words, the others figures; a marked row stands out."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int
    note: str = ""
    marked: frozenset[int] = frozenset()
    grouped: bool = False


def time_table(report: Mapping[str, Any]) -> Table:
    """Time to accuracy by threshold and arm, with the ratio against the baseline."""
    baseline, clock, primary = report["primary"]["baseline"], report["clock"], report["primary"]["threshold"]
    ratios = {(row["arm"], row["threshold"]): row for row in report["comparisons"]}
    entries = [
        (arm["name"], arm["thresholds"][index])
        for index in range(len(report["arms"][0]["thresholds"]))
        for arm in report["arms"]
    ]  # fmt: skip
    return Table(
        title="Time to accuracy",
        columns=(
            "threshold", "arm", "reached", f"seconds, {clock} clock", "epochs", f"ratio against {baseline}", "blocks sooner",
        ),
        rows=[(*_threshold_cells(name, row), *_ratio_cells(name, ratios.get((name, row["threshold"])))) for name, row in entries],
        words=2,
        marked=frozenset(index for index, (_, row) in enumerate(entries) if row["threshold"] == primary),
        grouped=True,
        note=(
            "Median (low to high) of the runs that reached. Low and high are the extremes over runs, for a ratio over blocks: "
            f"they are no confidence interval. Ratio: {baseline}'s time / the arm's, so above 1 the arm is sooner; given only "
            f"where every compared run reached. METHOD {report['method_version']} gives no verdict: every comparison stands "
            "as undecided."
        ),
    )  # fmt: skip


def _threshold_cells(arm: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    missing = "not reached" if row["runs"] else "no finished run"
    return (
        accuracy_label(row["threshold"]), arm, f"{row['reached']}/{row['runs']}",
        spread(row["time_to_accuracy_s"], seconds, missing), spread(row["epochs_to_accuracy"], "{:.2f}".format, missing),
    )  # fmt: skip


def _ratio_cells(arm: str, row: Mapping[str, Any] | None) -> tuple[str, str]:
    if row is None:
        return "baseline", NOTHING
    ratio = {"median": row["ratio"], "low": row["low"], "high": row["high"]}
    return spread(ratio, "{:.2f}x".format), f"{row['blocks_sooner']} of {row['blocks']}"


def arm_table(report: Mapping[str, Any]) -> Table:
    """What each arm is and how it ran: one column an arm."""
    facts = [_arm_facts(arm) for arm in report["arms"]]
    return Table(
        title="Arms",
        columns=("", *(arm["name"] for arm in report["arms"])),
        rows=[(label, *(fact[label] for fact in facts)) for label in facts[0]],
        words=1,
        note=(
            "Throughput and waiting for data are medians over runs, of the train segment; throughput leaves the first epoch out. "
            "Bottleneck: data where more than 5 % of the train segment waits for it, else compute. "
            "Test accuracy never steers a run. Diverged runs count as not reached; failed and interrupted runs are told apart "
            "and not compared."
        ),
    )


def _arm_facts(arm: Mapping[str, Any]) -> dict[str, str]:
    weights = arm["weights"] or {}
    origin = [weights.get("source"), weights.get("tag"), f"sha256 {weights['sha256'][:12]}" if weights.get("sha256") else None]
    return {
        "network": arm["network"] or NOTHING,
        "parameters": number(arm["parameters"], "{:,}"),
        "forward MFLOP/image": number(arm["flops_per_image"], "{:,.1f}", scale=1e-6),
        "weights": ", ".join(filter(None, origin)) or NOTHING,
        "images/s": number(arm["images_per_s"], "{:,.0f}"),
        "waiting for data": number(arm["step"]["data_wait"] if arm["step"] else None, "{:.1f} %", scale=100),
        "bottleneck": (arm["step"] or {}).get("bottleneck") or NOTHING,
        "compile s": number(arm["compile"]["compile_s"] if arm["compile"] else None, "{:.1f}"),
        "test accuracy": spread(arm["final_accuracy"], "{:.4f}".format),
        "runs": ", ".join(f"{count} {status}" for status, count in arm["statuses"].items() if count) or "none yet",
    }


def run_table(config: Mapping[str, Any], results: Sequence[RunResult]) -> Table:
    """Every run, those that failed included, block by block."""
    order = list(config["arms"])
    runs = sorted(results, key=lambda run: (run.block, order.index(run.arm) if run.arm in order else len(order), run.run_id))
    return Table(
        title="Every run",
        columns=("run", "status", "block", "seed", "attempts", "last val accuracy", "test accuracy", "train s", "images/s"),
        rows=[_run_cells(run) for run in runs],
        words=2,
        marked=frozenset(index for index, run in enumerate(runs) if run.status != "completed"),
    )


def _run_cells(run: RunResult) -> tuple[str, ...]:
    test = run.test_correct / run.test_total if run.test_correct is not None and run.test_total else None
    train_s = run.segments_s.get("train")
    return (
        run.run_id, f"{run.status}: {run.error}" if run.error else run.status,
        str(run.block), str(run.seed), f"{run.attempts}{', resumed' if run.resumed else ''}",
        number(run.looks[-1].accuracy if run.looks else None, "{:.4f}"), number(test, "{:.4f}"),
        NOTHING if train_s is None else seconds(train_s), number(run.images_per_s, "{:,.0f}"),
    )  # fmt: skip


def factor_table(config: Mapping[str, Any]) -> Table:
    """Where the arms differ, and by how much: declared factors that some arm sets."""
    keys = list(dict.fromkeys(key for overrides in config["arms"].values() for key in overrides))
    shared = flatten(config)
    return Table(
        title="What differed",
        columns=("factor", *config["arms"]),
        rows=[(key, *(_value(overrides.get(key, shared.get(key))) for overrides in config["arms"].values())) for key in keys],
        words=1 + len(config["arms"]),
    )


def shared_table(config: Mapping[str, Any]) -> Table:
    """What was held equal, a section of the config a row; nulls left out, and where the data lies."""
    differing = tuple(key for overrides in config["arms"].values() for key in overrides)
    rows = []
    for root in SHARED_ROOTS:
        leaves = {key: value for key, value in flatten({root: config[root]}).items() if key not in (*differing, *PLACES)}
        told = [f"{key.partition('.')[2]} {_value(value)}".strip() for key, value in leaves.items() if value is not None]
        if told:
            rows.append((root, ", ".join(told)))
    return Table(title="What was held equal", columns=("section", "values"), rows=rows, words=2)


def environment_table(results: Sequence[RunResult]) -> Table:
    """Environment facts and the precision found; where runs differ, each value with its number of runs."""
    facts: dict[str, Counter[str]] = {}
    for run in results:
        for key, value in {
            "precision": run.start["precision"]["name"],
            **run.start["environment"],
            "self_check": run.start.get("self_check"),
        }.items():
            facts.setdefault(key, Counter())[NOTHING if value is None else str(value)] += 1
    rows = [(key, _counted(values)) for key, values in facts.items()]
    differing = frozenset(index for index, values in enumerate(facts.values()) if len(values) > 1)
    return Table(title="Environment", columns=("fact", "value"), rows=rows, words=2, marked=differing)


def _counted(values: Counter[str]) -> str:
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{value} ({count} run{'' if count == 1 else 's'})" for value, count in values.most_common())


def spread(values: Mapping[str, float | None], show: Any, missing: str = NOTHING) -> str:
    """`median (low to high)`; the median alone where all three read the same."""
    if values["median"] is None:
        return missing
    if values["low"] is None:
        return show(values["median"])
    median, low, high = (show(values[key]) for key in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def seconds(value: float) -> str:
    """Seconds with the digits that a reader needs."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def number(value: float | None, form: str, *, scale: float = 1) -> str:
    """A number in a form, or a dash for what is not known."""
    return NOTHING if value is None else form.format(value * scale)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested config as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _value(value: Any) -> str:
    """A config value as its YAML would have it."""
    return value if isinstance(value, str) else json.dumps(value)
