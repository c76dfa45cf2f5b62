"""The arms in order of their time to the primary threshold, under every set of rules.

Pure; `rankings` of report.json.
"""

import math
import statistics
from collections.abc import Sequence

from bench.judge.outcome import judge
from bench.judge.records import RankedArm, Ranking
from bench.judge.rules import RULES, Rules
from bench.judge.spread import finite_or_none
from bench.judge.study import Study
from bench.ledger.result import RunResult


def rank_under_all_rules(study: Study, finished: Sequence[RunResult]) -> list[Ranking]:
    """Rank the arms under every set of rules; null where runs have no such evaluations."""
    first_order: list[str] | None = None
    rankings = []
    for name, rules in RULES.items():
        arms = None
        is_same = None
        if finished and has_evaluations_for(rules, finished):
            arms = _rank(study, finished, rules)
            order = [ranked.arm for ranked in arms]
            first_order = first_order or order
            is_same = order == first_order
        rankings.append(
            Ranking(
                rules=name,
                meaning=rules.meaning,
                clock=rules.clock or study.clock,
                arms=arms,
                same=is_same,
            )
        )
    return rankings


def has_evaluations_for(rules: Rules, finished: Sequence[RunResult]) -> bool:
    """Whether completed runs took the evaluations that some rules judge.

    That is, all of a curve's, or its last one.
    """
    for run in finished:
        needed = 1 if rules.reached == "mean" else len(run.evaluations)
        if run.status == "completed" and len(run.evaluations_on(rules.split)) < needed:
            return False
    return True


def _rank(study: Study, finished: Sequence[RunResult], rules: Rules) -> list[RankedArm]:
    """Return the arms, the soonest first; those of equal times in the study's order."""
    median_s = {}
    for arm in study.arms:
        arm_runs = [run for run in finished if run.arm == arm]
        outcomes = judge(study, arm_runs, study.primary_threshold, rules)
        times_s = [outcome.time.by for outcome in outcomes]
        median_s[arm] = statistics.median(times_s) if times_s else math.inf
    order = sorted(median_s, key=median_s.__getitem__)
    return [RankedArm(arm=arm, median_s=finite_or_none(median_s[arm])) for arm in order]
