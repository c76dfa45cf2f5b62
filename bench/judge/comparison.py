"""Results of many runs to one comparison: reached or not, how soon, how much sooner.

Pure; the shape is report.json's.
"""

import math
import statistics as plain
from collections.abc import Callable, Sequence
from typing import Any

from bench.judge import statistics
from bench.judge.arms import at_longest, describe_arm, ends
from bench.judge.audit import differences
from bench.judge.clocks import read_clock
from bench.ledger.method import METHOD_VERSION
from bench.ledger.fold import RunResult
from bench.judge.rules import Judged, RULES, Rules, judge
from bench.judge.tuning import summarize_tuning
from bench.judge.verdict import check_controls, decide

REPORT_SCHEMA_VERSION = 2
RUN_FACTS = (
    "run_id", "arm", "seed", "block", "status", "attempts", "resumed", "ledger_sha256",
    "test_accuracy", "images_per_s", "wall_s", "segments_s",
)  # fmt: skip
Grid = dict[str, dict[float, list[Judged]]]  # arm -> threshold -> a row a block


def summarize(
    plan: dict[str, Any],
    results: Sequence[RunResult],
    rules: str = "headstart",
    trials: Sequence[RunResult] = (),
) -> dict[str, Any]:
    """The report's content, from an experiment's plan record and its runs, judged by `rules`.

    `trials`: its tuning's runs.
    Raises ValueError where the runs cannot be compared, with the reason.
    """
    message = _incomparable(results)
    if message:
        raise ValueError(message)
    config = plan["config"]
    finished = [run for run in results if run.is_finished]
    _check_looks(finished, rules)
    clock = RULES[rules].clock or config["clock"]
    grid = {arm: _judged(config, _of(arm, finished), RULES[rules]) for arm in config["arms"]}
    others = [arm for arm in config["arms"] if arm != config["baseline"]]
    tau_s = _common_budget_s(finished, clock)
    report = {
        **_origin(plan, results, rules),
        "arms": [
            describe_arm(config, arm, _of(arm, results), rows, clock=clock, tau_s=tau_s)
            for arm, rows in grid.items()
        ],
        "comparisons": _comparisons(config, others, grid),
        "final_accuracy": [_final(config, arm, finished) for arm in others],
        "crossover": [_crossover(config, arm, grid) for arm in others],
        "rankings": _rankings(config, finished),
        "audit": differences(config, _realities(config, finished)),
        "tuning": _tuning(config, results, trials, clock),
        "runs": [_run_facts(run) for run in results],
    }
    report["controls"] = check_controls(config, report)
    return {**report, "verdict": decide(plan, report, results)}


def _check_looks(finished: Sequence[RunResult], rules: str) -> None:
    if finished and not _has_looks(finished, RULES[rules]):
        raise ValueError(
            f"--rules: {rules} judges every look on test, which these runs did not take: "
            "evaluation.test_every_look"
        )


def _judged(
    config: dict[str, Any], arm_runs: Sequence[RunResult], rules: Rules
) -> dict[float, list[Judged]]:
    """An arm's row of the grid."""
    return {
        threshold: judge(config, arm_runs, threshold, rules) for threshold in config["thresholds"]
    }


def _common_budget_s(finished: Sequence[RunResult], clock: str) -> float:
    """The least that an arm's longest run of a block had, of runs that went to their budget."""
    longest_s: dict[tuple[str, int], float] = {}
    for run in finished:
        if run.status != "completed" or run.stopped_step is not None:
            continue
        run_s = read_clock(clock, run.segments_s)
        key = (run.arm, run.block)
        longest_s[key] = max(run_s, longest_s.get(key, run_s))
    return min(longest_s.values(), default=0.0)


def _realities(config: dict[str, Any], finished: Sequence[RunResult]) -> dict[str, Any]:
    """What was really used, from a finished run of each arm that has one."""
    realities = {}
    for arm in config["arms"]:
        arm_runs = _of(arm, finished)
        if arm_runs:
            realities[arm] = at_longest(arm_runs)[0].start["reality"]
    return realities


def _tuning(
    config: dict[str, Any], results: Sequence[RunResult], trials: Sequence[RunResult], clock: str
) -> dict[str, Any] | None:
    """What was tuned; unfair too where the trials cannot be compared with the runs."""
    tuning = summarize_tuning(config, trials, clock)
    if not tuning:
        return tuning
    message = _incomparable([*results, *trials])
    if message:
        tuning["unfair"].append(f"with its trials, {message}")
    return tuning


def _origin(plan: dict[str, Any], results: Sequence[RunResult], rules: str) -> dict[str, Any]:
    """Of which study the report is, and by which rules, clock and method it is judged."""
    config = plan["config"]
    first = results[0].start if results else None
    clock = RULES[rules].clock or config["clock"]
    return {
        "schema_version": REPORT_SCHEMA_VERSION,
        "method_version": METHOD_VERSION,
        "experiment": config["name"],
        "rules": rules,
        "plan": {key: plan[key] for key in ("sha256", "primary", "amended")},
        "dataset": {key: first["dataset"][key] for key in ("name", "sha256")} if first else None,
        "clock": plan.get("clock", clock),
        "primary": {
            "arm": config["primary"]["arm"],
            "threshold": config["primary"]["threshold"],
            "baseline": config["baseline"],
        },
        "environment": first["environment"] if first else None,
    }


def _run_facts(run: RunResult) -> dict[str, Any]:
    return {name: getattr(run, name) for name in RUN_FACTS}


def _incomparable(results: Sequence[RunResult]) -> str | None:
    """What differs, of runs of several data sets, methods or machines."""
    facts: dict[str, Callable[[dict[str, Any]], Any]] = {
        "data sets": lambda start: start["dataset"]["sha256"],
        "versions of the method": lambda start: start["method_version"],
        "numbers of processes": lambda start: start["world_size"],
        "precisions": lambda start: start["precision"]["name"],
        "kinds of hardware": lambda start: (
            (own := start["environment"]).get("gpu")
            or f"{own.get('cpu')} {own.get('threads_per_rank')}"
        ),
    }
    for what, fact in facts.items():
        found = sorted({str(fact(run.start)) for run in results})
        if len(found) > 1:
            return f"runs of {len(found)} different {what} cannot be compared: {', '.join(found)}"
    return None


def time_to_accuracy_s(config: dict[str, Any], run: RunResult, threshold: float) -> float | None:
    """The clock's reading at the run's crossing; None where it did not reach."""
    span = judge(config, [run], threshold, RULES["headstart"])[0].span
    return span.by if span.reached else None


def _of(arm: str, runs: Sequence[RunResult]) -> list[RunResult]:
    return [run for run in runs if run.arm == arm]


def _comparisons(config: dict[str, Any], arms: Sequence[str], grid: Grid) -> list[dict[str, Any]]:
    rows = [
        _compare(config, arm, threshold, grid) for arm in arms for threshold in config["thresholds"]
    ]
    primary = (config["primary"]["arm"], config["primary"]["threshold"])
    others = [
        None if (row["arm"], row["threshold"]) == primary else row["p_sign_flip"] for row in rows
    ]
    return [
        {**row, "p_holm": p_holm} for row, p_holm in zip(rows, statistics.holm(others), strict=True)
    ]


def _compare(config: dict[str, Any], arm: str, threshold: float, grid: Grid) -> dict[str, Any]:
    """Ratio = baseline's time / arm's over the blocks that both finished.

    Where a run missed, a bound from ERT's intervals.
    """
    own, other = (
        {row.block: row.span for row in grid[name][threshold]} for name in (arm, config["baseline"])
    )
    pairs = [(own[block], other[block]) for block in sorted(own.keys() & other.keys())]
    scores = [statistics.sooner(a, b) for a, b in pairs]
    complete = bool(pairs) and all(a.reached and b.reached for a, b in pairs)
    logs = [math.log(b.by / a.by) for a, b in pairs] if complete else []
    sides = (
        [[math.log(span.by) for span in side] for side in zip(*pairs, strict=True)]
        if complete
        else []
    )
    together = len(pairs) > 2 and complete and all(max(side) > min(side) for side in sides)
    alpha = config["primary"]["alpha"]
    interval = statistics.confidence_sequence(logs, alpha)
    return {
        "arm": arm,
        "baseline": config["baseline"],
        "threshold": threshold,
        "blocks": len(pairs),
        "blocks_sooner": scores.count(1.0),
        "blocks_later": scores.count(0.0),
        "reached": [sum(a.reached for a, _ in pairs), sum(b.reached for _, b in pairs)],
        "evidence": statistics.sign_evidence(scores),
        "win_probability": statistics.win_probability([a for a, _ in pairs], [b for _, b in pairs]),
        "ratio": math.exp(plain.fmean(logs)) if complete else None,
        **ends(
            (math.exp(max(interval[0], -700)), math.exp(min(interval[1], 700)))
            if interval
            else None
        ),
        "least": math.exp(min(logs)) if complete else None,
        "greatest": math.exp(max(logs)) if complete else None,
        "bound": None if complete else _bound(pairs, alpha),
        "correlation": plain.correlation(*sides)
        if together
        else None,  # within blocks, of log times
        "p_sign_flip": statistics.sign_flip_p(
            logs if complete else [score - 0.5 for score in scores]
        ),
    }


def _bound(
    pairs: Sequence[tuple[statistics.Span, statistics.Span]], alpha: float
) -> dict[str, float | None] | None:
    """The ratio of expected times with restarts lies in it: both arms' intervals at alpha / 2."""
    spans = [span for pair in pairs for span in pair]
    last_s = max((span.by for span in spans if span.reached), default=0.0)
    tau_s = min(
        (span.after for span in spans if not span.reached and math.isfinite(span.after)),
        default=last_s,
    )
    arm, baseline = (
        statistics.ert_interval(own, tau_s, alpha / 2) if tau_s else None
        for own in (spans[::2], spans[1::2])
    )
    if arm is None or baseline is None:
        return None
    return ends((baseline[0] / arm[1], baseline[1] / arm[0] if arm[0] else math.inf))


def _final(config: dict[str, Any], arm: str, finished: Sequence[RunResult]) -> dict[str, Any]:
    """Test accuracy at the same budget, arm less baseline, paired by block: mean and t interval."""
    runs = (at_longest(_of(name, finished)) for name in (arm, config["baseline"]))
    own, other = (
        {run.block: run.test_accuracy for run in some if run.test_accuracy is not None}
        for some in runs
    )
    differences = [own[block] - other[block] for block in sorted(own.keys() & other.keys())]
    mean, low, high = statistics.mean_interval(differences, config["primary"]["alpha"]) or (
        None,
        -math.inf,
        math.inf,
    )
    return {
        "arm": arm,
        "baseline": config["baseline"],
        "blocks": len(differences),
        "difference": mean,
        **ends((low, high)),
    }


def _crossover(config: dict[str, Any], arm: str, grid: Grid) -> dict[str, Any]:
    """The lowest threshold from which on the baseline is sooner, the arm below it; null: none."""
    baseline = config["baseline"]
    chances = [
        (
            threshold,
            statistics.win_probability(
                *([row.span for row in grid[name][threshold]] for name in (arm, baseline))
            ),
        )
        for threshold in config["thresholds"]
    ]
    known = [
        (threshold, chance > 0.5)
        for threshold, chance in chances
        if chance is not None and chance != 0.5
    ]
    lead = max((place for place, (_, sooner) in enumerate(known, 1) if sooner), default=len(known))
    return {
        "arm": arm,
        "baseline": baseline,
        "accuracy": known[lead][0] if lead < len(known) else None,
    }


def _has_looks(finished: Sequence[RunResult], rules: Rules) -> bool:
    """Whether completed runs took the looks that the rules judge: all of a curve's, or its last."""
    whole = [
        (len(run.looks_on(rules.split)), len(run.looks))
        for run in finished
        if run.status == "completed"
    ]
    return all(known >= (1 if rules.reached == "mean" else looks) for known, looks in whole)


def _rankings(config: dict[str, Any], finished: Sequence[RunResult]) -> list[dict[str, Any]]:
    """The arms by median time to the primary threshold under every set of rules.

    Null where runs have no such looks.
    """
    first: list[str] = []
    rankings: list[dict[str, Any]] = []
    for name, rules in RULES.items():
        can = bool(finished) and _has_looks(finished, rules)
        judged = {
            arm: judge(config, _of(arm, finished), config["primary"]["threshold"], rules)
            for arm in config["arms"]
            if can
        }
        times = {
            arm: plain.median([row.span.by for row in rows] or [math.inf])
            for arm, rows in judged.items()
        }
        order = sorted(times, key=times.__getitem__)
        told = [
            {"arm": arm, "median_s": times[arm] if math.isfinite(times[arm]) else None}
            for arm in order
        ]
        first = first or order
        clock, same = rules.clock or config["clock"], order == first if can else None
        row = {"rules": name, "words": rules.words, "clock": clock}
        rankings.append({**row, "arms": told or None, "same": same})
    return rankings
