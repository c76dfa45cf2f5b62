"""The one verdict that an experiment asks for, and its answer in a sentence (docs/METHOD.md, section 4). Decides nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.ledger.fold import RunResult
from bench.judge.statistics import deciding_blocks
from bench.report.words import templates

HARMLESS = {
    "blocks",
    "max_blocks",
    "spread",
    "interval_width",
}  # of a plan: the evidence holds at every look
Report = Mapping[str, Any]


def decide(plan: Mapping[str, Any], report: Report, results: Sequence[RunResult]) -> dict[str, str]:
    """The verdict, one of METHOD's five, and why. Anything that makes the runs doubtful leaves it undecided."""
    if doubt := _doubt(plan, report, results):
        return {"verdict": "undecided", "reason": doubt}
    row, asked = primary_row(report), plan["config"]["primary"]
    if row is None or not row["blocks"]:
        return {
            "verdict": "undecided",
            "reason": "no block is complete" if row else "there is one arm only",
        }
    alpha, margin = asked["alpha"], asked["smallest_ratio"]
    told = f"{row['blocks_sooner']} sooner, {row['blocks_later']} later of {row['blocks']} blocks"
    evidence = f"{told}, evidence {row['evidence']:.3g} of {1 / alpha:.3g}"
    if row["low"] is not None and 1 / margin <= row["low"] and row["high"] <= margin:
        return {
            "verdict": "equivalent",
            "reason": f"the interval lies within {1 / margin:.2f}x to {margin:.2f}x",
        }
    if row["evidence"] >= 1 / alpha:
        return {
            "verdict": "arm sooner"
            if row["blocks_sooner"] > row["blocks_later"]
            else "baseline sooner",
            "reason": evidence,
        }
    if not any(row["reached"]) and row["blocks"] >= deciding_blocks(alpha):
        return {"verdict": "never reached", "reason": f"by neither arm in {row['blocks']} blocks"}
    return {"verdict": "undecided", "reason": evidence}


def _doubt(plan: Mapping[str, Any], report: Report, results: Sequence[RunResult]) -> str | None:
    if report["rules"] != "headstart":
        return f"judged by {report['rules']}'s rules, which describe"
    if plan["sha256"] is None:
        return "no comparison was planned before these runs"
    lasting = plan["primary"].keys() - HARMLESS
    same = [
        old
        for old in plan["amended"]
        if all(old["primary"].get(key) == plan["primary"][key] for key in lasting)
    ]
    known = {record["sha256"] for record in (plan, *same)}
    if other := sum(run.start["plan_sha256"] not in known for run in results if run.is_finished):
        return f"{other} runs were made before the plan was changed to this one"
    if failed := [
        control["arm"] for control in report["controls"] if control["told"].startswith("failed")
    ]:
        return f"the control {', '.join(failed)} failed"
    if leaks := [
        arm["name"]
        for arm in report["arms"]
        if arm["reference"] and arm["reference"]["told"] == "too good"
    ]:
        return f"{', '.join(leaks)} converged in fewer epochs than its stored reference: is there a leak?"
    if hidden := next((found for found in report["audit"] if not found["explained_by"]), None):
        return f"{hidden['arm']} differs from the baseline in {hidden['fact']}, which none of its factors explains"
    if report["tuning"] and (unfair := report["tuning"]["unfair"]):
        return f"tuning was not fair: {'; '.join(unfair)}"
    seen = [(run.arm, run.block, run.budget) for run in results]
    return "a run is there twice" if len(set(seen)) < len(seen) else None


def is_enough(report: Report) -> bool:
    """Whether `--until-decided` may stop: a verdict, and an interval as narrow as was asked for."""
    row, asked = primary_row(report), report["plan"]["primary"]
    width = asked["interval_width"]
    narrow = width is None or (
        row is not None and row["low"] is not None and row["high"] / row["low"] <= width
    )
    return report["verdict"]["verdict"] != "undecided" and narrow


def check_controls(config: Mapping[str, Any], report: Report) -> list[dict[str, str]]:
    """Whether an arm that must equal the baseline differs from it, and whether one that must never reach the threshold did."""
    told = []
    for arm, expected in config["controls"].items():
        row = next(
            r
            for r in report["comparisons"]
            if (r["arm"], r["threshold"]) == (arm, config["primary"]["threshold"])
        )
        reached = (
            row["reached"][0] > 0
            if expected == "never"
            else row["evidence"] >= 1 / config["primary"]["alpha"]
        )
        state = "no block yet" if not row["blocks"] else "failed" if reached else "passed"
        told.append({"arm": arm, "expected": expected, "told": state})
    return told


def primary_row(report: Report) -> Mapping[str, Any] | None:
    """The comparison that decides; None where there is one arm only."""
    asked = (report["primary"]["arm"], report["primary"]["threshold"])
    return next(
        (row for row in report["comparisons"] if (row["arm"], row["threshold"]) == asked), None
    )


def answer(report: Report) -> str:
    """The primary comparison in one sentence; what was reached where there is one arm only."""
    said = templates().get_template("answer.j2").render(report=report, row=primary_row(report))
    return " ".join(said.split())
