"""What it takes to have reached a threshold: crossings, and the sets of rules that runs can be judged by (METHOD, section 2)."""

import math
import statistics as plain
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

from bench.judge.clocks import read_clock
from bench.ledger.fold import Look, RunResult
from bench.judge.statistics import Span

Crossing = tuple[
    int, Literal["confirmed", "terminal", "touch", "end"]
]  # the look at which a threshold was reached, and how


class Rules(NamedTuple):
    """One way to judge curves. `clock` None: the experiment's own."""

    split: Literal["val", "test"]
    reached: Literal[
        "held", "touch", "mean"
    ]  # a crossing; the first touch; the mean of all runs' last looks
    clock: str | None
    words: str


RULES = {
    "headstart": Rules(
        split="val",
        reached="held",
        clock=None,
        words="a crossing on val that holds, the experiment's clock",
    ),
    "dawnbench": Rules(
        split="test", reached="touch", clock="train", words="the first touch on test, train clock"
    ),
    "airbench": Rules(
        split="test",
        reached="mean",
        clock="airbench",
        words="mean test accuracy at the end, airbench clock",
    ),
}


class Judged(NamedTuple):
    """One arm in one block at one threshold. `span` is on the clock, in seconds; `look` is the crossing's, None: not reached.

    Beside the crossing: whether any look touched the threshold, fell below it again, and whether the last one is below.
    """

    block: int
    span: Span
    look: Look | None
    kind: str | None
    touched: bool
    fell_back: bool
    ended_below: bool


def crossing(
    accuracies: Sequence[float], threshold: float, *, confirm_looks: int, completed: bool
) -> Crossing | None:
    """The first look at or above `threshold` that the next `confirm_looks - 1` looks uphold.

    A look of a completed schedule with fewer looks after it than that counts when all of those uphold it: terminal.
    """
    for look in range(len(accuracies)):
        held = accuracies[look : look + confirm_looks]
        if min(held) >= threshold:
            whole = len(held) == confirm_looks
            return (look, "confirmed" if whole else "terminal") if whole or completed else None
    return None


def first_touch(accuracies: Sequence[float], threshold: float) -> int | None:
    """The first look at or above `threshold`, held or not: biased early, shown beside the crossing."""
    return next((look for look, accuracy in enumerate(accuracies) if accuracy >= threshold), None)


def judge(
    config: dict[str, Any], runs: Sequence[RunResult], threshold: float, rules: Rules
) -> list[Judged]:
    """One arm's finished runs, a row a block. Runs of one block differ in their budget; the soonest that reached counts."""
    clock = rules.clock or config["clock"]
    found = {id(run): _find(config, run, threshold, rules) for run in runs}
    for budget in {run.budget for run in runs} if rules.reached == "mean" else ():
        alike = [run for run in runs if run.budget == budget]
        last = [run.looks_on(rules.split)[-1] for run in alike if found[id(run)]]
        if (
            len(last) < len(alike)
            or plain.mean(x.correct for x in last) / plain.mean(x.total for x in last) < threshold
        ):
            found |= dict.fromkeys(map(id, alike))
    blocks = groupby(sorted(runs, key=lambda run: run.block), lambda run: run.block)
    return [_block(list(own), found, threshold, rules.split, clock) for _, own in blocks]


def _find(
    config: dict[str, Any], run: RunResult, threshold: float, rules: Rules
) -> Crossing | None:
    accuracies = [look.accuracy for look in run.looks_on(rules.split)]
    if run.status == "diverged" or not accuracies:
        return None
    if rules.reached == "touch":
        touch = first_touch(accuracies, threshold)
        return None if touch is None else (touch, "touch")
    if rules.reached == "mean" or config["kind"] == "annealed":
        reached = run.status == "completed" and (
            rules.reached == "mean" or accuracies[-1] >= threshold
        )
        return (len(accuracies) - 1, "end") if reached else None
    return crossing(
        accuracies,
        threshold,
        confirm_looks=config["confirm_looks"],
        completed=run.status == "completed",
    )


def _block(
    runs: list[RunResult],
    found: dict[int, Crossing | None],
    threshold: float,
    split: str,
    clock: str,
) -> Judged:
    reached = [(run, at) for run in runs if (at := found[id(run)]) is not None]
    curves = ([look.accuracy for look in run.looks_on(split)] for run in runs)
    tails = [
        curve[touch:] for curve in curves if (touch := first_touch(curve, threshold)) is not None
    ]
    beside = {
        "touched": bool(tails),
        "fell_back": any(min(tail) < threshold for tail in tails),
        "ended_below": any(tail[-1] < threshold for tail in tails),
    }
    if not reached:
        last = max(runs, key=lambda run: run.budget)
        ended_itself = (
            last.status == "diverged" or last.stopped_step is not None
        )  # and was not cut off by its budget
        span = Span(
            after=math.inf if ended_itself else read_clock(clock, last.segments_s), by=math.inf
        )
        return Judged(block=runs[0].block, span=span, look=None, kind=None, **beside)
    run, (place, kind) = min(
        reached, key=lambda pair: read_clock(clock, pair[0].looks_on(split)[pair[1][0]].segments_s)
    )
    looks = run.looks_on(split)
    by_s = read_clock(clock, looks[place].segments_s)
    if kind == "end":  # a shorter budget that failed is all that is known about less time
        shorter = [
            r
            for r in runs
            if r.budget < run.budget and found[id(r)] is None and r.status == "completed"
        ]
        after_s = max((read_clock(clock, other.segments_s) for other in shorter), default=0.0)
    else:  # a resumed run's own start is later than its first look
        start_s = {} if run.resumed else run.start["segments_s"]
        after_s = read_clock(clock, looks[place - 1].segments_s if place else start_s)
    # What a process pays once may read less after a run was resumed: then nothing is known of the time before.
    span = Span(after=after_s if after_s <= by_s else 0.0, by=by_s)
    return Judged(block=run.block, span=span, look=looks[place], kind=kind, **beside)
