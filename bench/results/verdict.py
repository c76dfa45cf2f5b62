"""The one verdict that an experiment asks for, and the answer in a sentence (docs/METHOD.md, section 4). Decides nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.results.fold import RunResult
from bench.results.statistics import deciding_blocks

HARMLESS = {"blocks", "max_blocks", "spread", "interval_width"}  # of a plan: the evidence holds at every look
Report = Mapping[str, Any]


def decide(plan: Mapping[str, Any], report: Report, results: Sequence[RunResult]) -> dict[str, str]:
    """The verdict, one of METHOD's five, and why. Anything that makes the runs doubtful leaves it undecided."""
    if doubt := _doubt(plan, report, results):
        return {"verdict": "undecided", "reason": doubt}
    row, asked = primary_row(report), plan["config"]["primary"]
    if row is None or not row["blocks"]:
        return {"verdict": "undecided", "reason": "no block is complete" if row else "there is one arm only"}
    alpha, margin = asked["alpha"], asked["smallest_ratio"]
    told = f"{row['blocks_sooner']} sooner, {row['blocks_later']} later of {row['blocks']} blocks"
    evidence = f"{told}, evidence {row['evidence']:.3g} of {1 / alpha:.3g}"
    if row["low"] is not None and 1 / margin <= row["low"] and row["high"] <= margin:
        return {"verdict": "equivalent", "reason": f"the interval lies within {1 / margin:.2f}x to {margin:.2f}x"}
    if row["evidence"] >= 1 / alpha:
        return {"verdict": "arm sooner" if row["blocks_sooner"] > row["blocks_later"] else "baseline sooner", "reason": evidence}
    if not any(row["reached"]) and row["blocks"] >= deciding_blocks(alpha):
        return {"verdict": "never reached", "reason": f"by neither arm in {row['blocks']} blocks"}
    return {"verdict": "undecided", "reason": evidence}


def _doubt(plan: Mapping[str, Any], report: Report, results: Sequence[RunResult]) -> str | None:
    if report["rules"] != "headstart":
        return f"judged by {report['rules']}'s rules, which describe"
    if plan["sha256"] is None:
        return "no comparison was planned before these runs"
    lasting = plan["primary"].keys() - HARMLESS
    same = [old for old in plan["amended"] if all(old["primary"].get(key) == plan["primary"][key] for key in lasting)]
    known = {record["sha256"] for record in (plan, *same)}
    if other := sum(run.start["plan_sha256"] not in known for run in results if run.is_finished):
        return f"{other} runs were made before the plan was changed to this one"
    if failed := [control["arm"] for control in report["controls"] if control["told"].startswith("failed")]:
        return f"the control {', '.join(failed)} failed"
    if leaks := [arm["name"] for arm in report["arms"] if arm["reference"] and arm["reference"]["told"] == "too good"]:
        return f"{', '.join(leaks)} converged in fewer epochs than its stored reference: is there a leak?"
    seen = [(run.arm, run.block, run.budget) for run in results]
    return "a run is there twice" if len(set(seen)) < len(seen) else None


def is_enough(report: Report) -> bool:
    """Whether `--until-decided` may stop: a verdict, and an interval as narrow as was asked for."""
    row, asked = primary_row(report), report["plan"]["primary"]
    width = asked["interval_width"]
    narrow = width is None or (row is not None and row["low"] is not None and row["high"] / row["low"] <= width)
    return report["verdict"]["verdict"] != "undecided" and narrow


def check_controls(config: Mapping[str, Any], report: Report) -> list[dict[str, str]]:
    """Whether an arm that must equal the baseline differs from it, and whether one that must never reach the threshold did."""
    told = []
    for arm, expected in config["controls"].items():
        row = next(r for r in report["comparisons"] if (r["arm"], r["threshold"]) == (arm, config["primary"]["threshold"]))
        reached = row["reached"][0] > 0 if expected == "never" else row["evidence"] >= 1 / config["primary"]["alpha"]
        state = "no block yet" if not row["blocks"] else "failed" if reached else "passed"
        told.append({"arm": arm, "expected": expected, "told": state})
    return told


def primary_row(report: Report) -> Mapping[str, Any] | None:
    """The comparison that decides; None where there is one arm only."""
    asked = (report["primary"]["arm"], report["primary"]["threshold"])
    return next((row for row in report["comparisons"] if (row["arm"], row["threshold"]) == asked), None)


def accuracy_label(threshold: float) -> str:
    """A threshold as text: two decimals, or as many as it has; never rounded to another threshold."""
    label = f"{threshold:.2f}"
    return label if float(label) == threshold else repr(threshold)


def answer(report: Report) -> str:
    """The primary comparison in one sentence; what was reached where there is one arm only."""
    primary, row = report["primary"], primary_row(report)
    goal = f"{accuracy_label(primary['threshold'])} on {report['dataset']['name'] if report['dataset'] else 'no data yet'}"
    if row is None:
        return f"{goal} reached by {_reached(report, primary['arm'])}; nothing to compare with"
    if row["blocks"] == 0:
        return f"{row['arm']} against {row['baseline']}: no block is complete yet"
    told = report["verdict"]["verdict"]
    verdict = {"arm sooner": f"{row['arm']} sooner", "baseline sooner": f"{row['baseline']} sooner"}.get(told, told)
    ending = f"sooner in {row['blocks_sooner']} of {row['blocks']} block{'' if row['blocks'] == 1 else 's'}; verdict: {verdict}"
    if row["ratio"] is None:
        told = ", ".join(_reached(report, name) for name in (row["arm"], row["baseline"]))
        return f"{goal} reached by {told}; {row['arm']} {_bound_words(row)}{ending}"
    size, interval = _ratio_words(row, report["plan"]["primary"]["alpha"])
    return f"{row['arm']} {size} to {goal} than {row['baseline']} ({report['clock']} clock; {interval}{ending})"


def _ratio_words(row: Mapping[str, Any], alpha: float) -> tuple[str, str]:
    """How much sooner or later, and the interval where there are blocks enough for one."""
    low, ratio, high, direction = row["low"], row["ratio"], row["high"], "sooner"
    if ratio < 1:  # then all three are said the other way round
        low, ratio, high, direction = high and 1 / high, 1 / ratio, low and 1 / low, "later"
    return f"{ratio:.2f}x {direction}", "" if low is None else f"{100 * (1 - alpha):.3g} % interval {low:.2f}x to {high:.2f}x, "


def _bound_words(row: Mapping[str, Any]) -> str:
    low, high = (row["bound"] or {}).get("low"), (row["bound"] or {}).get("high")
    if low is not None and low > 1:
        return f"at least {low:.2f}x sooner with restarts, "
    return f"at least {1 / high:.2f}x later with restarts, " if high is not None and high < 1 else ""


def _reached(report: Report, arm: str) -> str:
    """`arm in 5 of 7 runs (median 3.1 s)`."""
    rows = next(a for a in report["arms"] if a["name"] == arm)["thresholds"]
    row = next(r for r in rows if r["threshold"] == report["primary"]["threshold"])
    median_s = row["time_to_accuracy_s"]["median"]
    when = "" if median_s is None else f" (median {median_s:.1f} s)"
    return f"{arm} in {row['reached']} of {row['runs']} runs{when}"
