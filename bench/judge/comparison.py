"""Results of many runs to one report: what each arm did, how they compare, and the verdict.

Pure; the shape is report.json's (records.py).
"""

import dataclasses
from collections.abc import Sequence

from bench.judge.arm_records import ArmSummary
from bench.judge.arms import ArmOutcomes, runs_with_longest_budget, summarize_arm
from bench.judge.audit import differences
from bench.judge.classes import class_order
from bench.judge.clocks import read_clock
from bench.judge.codes import count_codes
from bench.judge.comparable import what_differs
from bench.judge.cost import summarize_break_even, summarize_tuning_cost
from bench.judge.outcome import judge
from bench.judge.pairs import Outcomes, compare_all, compare_final_accuracy, find_crossover
from bench.judge.rankings import has_evaluations_for, rank_under_all_rules
from bench.judge.records import (
    DatasetName,
    PlanSummary,
    PrimaryPair,
    Report,
    RunFacts,
    TuningSummary,
)
from bench.judge.rules import HEADSTART, RULES, Rules
from bench.judge.study import Study
from bench.judge.tuning import summarize_tuning
from bench.judge.verdict import UNDECIDED_YET, check_controls, decide
from bench.ledger.method import METHOD_VERSION
from bench.ledger.records import EnvironmentFacts, RealizedConfig
from bench.ledger.result import RunResult


def summarize(
    study: Study,
    results: Sequence[RunResult],
    rules: str = "headstart",
    trials: Sequence[RunResult] = (),
) -> Report:
    """Judge a study's runs by some rules; `trials` are its tuning's runs.

    Raises ValueError, with the reason, where the runs cannot be compared, or lack the evaluations
    that the rules judge.
    """
    difference = what_differs(results)
    if difference is not None:
        raise ValueError(difference)
    finished = [run for run in results if run.is_finished]
    _check_evaluations(finished, rules)
    clock = RULES[rules].clock or study.clock
    outcomes = _judge_all(study, finished, RULES[rules])
    arms = _summarize_arms(study, results, outcomes, clock)
    comparisons = compare_all(study, outcomes)
    final_accuracy = [compare_final_accuracy(study, arm, finished) for arm in study.other_arms]
    crossover = [find_crossover(study, arm, outcomes) for arm in study.other_arms]
    tuning = _tuning(study, results, trials, clock)
    report = Report(
        method_version=METHOD_VERSION,
        experiment=study.name,
        rules=rules,
        plan=PlanSummary(sha256=study.plan_sha256, primary=study.primary, amended=study.amended),
        dataset=_dataset(results),
        clock=_shown_clock(study, clock),
        primary=PrimaryPair(
            arm=study.primary_arm, threshold=study.primary_threshold, baseline=study.baseline
        ),
        environment=_environment(results),
        arms=arms,
        comparisons=comparisons,
        final_accuracy=final_accuracy,
        crossover=crossover,
        rankings=rank_under_all_rules(study, finished),
        audit=differences(study, _realities(study, finished)),
        tuning=tuning,
        tuning_cost=summarize_tuning_cost(study, arms, tuning),
        break_even=summarize_break_even(study, arms),
        class_order=class_order(arms),
        runs=[_run_facts(run) for run in results],
        codes=count_codes(results),
        controls=check_controls(study, comparisons),
        verdict=UNDECIDED_YET,
    )
    return dataclasses.replace(report, verdict=decide(study, report, results))


def time_to_accuracy_s(study: Study, run: RunResult, threshold: float) -> float | None:
    """Return the clock's reading at the run's crossing; None where it did not reach."""
    (outcome,) = judge(study, [run], threshold, HEADSTART)
    return outcome.time.by if outcome.time.reached else None


def _check_evaluations(finished: Sequence[RunResult], rules: str) -> None:
    if not has_evaluations_for(RULES[rules], finished):
        raise ValueError(
            f"--rules: {rules} judges every look on test, which these runs did not take: "
            "evaluation.test_every_look"
        )


def _judge_all(study: Study, finished: Sequence[RunResult], rules: Rules) -> Outcomes:
    """Judge every arm at every threshold."""
    outcomes = {}
    for arm in study.arms:
        outcomes[arm] = _judge_arm(study, _runs_of(arm, finished), rules)
    return outcomes


def _judge_arm(study: Study, runs: Sequence[RunResult], rules: Rules) -> ArmOutcomes:
    return {threshold: judge(study, runs, threshold, rules) for threshold in study.thresholds}


def _summarize_arms(
    study: Study, results: Sequence[RunResult], outcomes: Outcomes, clock: str
) -> list[ArmSummary]:
    tau_s = _least_completed_budget_s(results, clock)
    arms = []
    for arm, arm_outcomes in outcomes.items():
        runs = _runs_of(arm, results)
        arms.append(summarize_arm(study, arm, runs, arm_outcomes, clock=clock, tau_s=tau_s))
    return arms


def _least_completed_budget_s(results: Sequence[RunResult], clock: str) -> float:
    """Return the least that an arm's longest run of a block had, of runs that went to their budget.

    0 where there is no such run.
    """
    longest_s: dict[tuple[str, int], float] = {}
    for run in results:
        if run.status != "completed" or run.stopped_step is not None:
            continue
        run_s = read_clock(clock, run.segments_s)
        key = (run.arm, run.block)
        longest_s[key] = max(run_s, longest_s.get(key, run_s))
    return min(longest_s.values(), default=0.0)


def _realities(study: Study, finished: Sequence[RunResult]) -> dict[str, RealizedConfig]:
    """Return what was really used, from a finished run of each arm that has one."""
    realities: dict[str, RealizedConfig] = {}
    for arm in study.arms:
        arm_runs = _runs_of(arm, finished)
        if arm_runs:
            realities[arm] = runs_with_longest_budget(arm_runs)[0].start.reality
    return realities


def _tuning(
    study: Study, results: Sequence[RunResult], trials: Sequence[RunResult], clock: str
) -> TuningSummary | None:
    """Return what was tuned; unfair too where the trials cannot be compared with the runs."""
    tuning = summarize_tuning(study, trials, clock)
    if tuning is None:
        return None
    difference = what_differs([*results, *trials])
    if difference is None:
        return tuning
    return dataclasses.replace(tuning, unfair=[*tuning.unfair, f"with its trials, {difference}"])


def _shown_clock(study: Study, clock: str) -> str:
    """Return the clock's name; of curves from elsewhere, what their user calls it."""
    return study.clock_label if study.config is None else clock


def _environment(results: Sequence[RunResult]) -> EnvironmentFacts | None:
    return results[0].start.environment if results else None


def _dataset(results: Sequence[RunResult]) -> DatasetName | None:
    if not results:
        return None
    dataset = results[0].start.dataset
    return DatasetName(name=dataset.name, sha256=dataset.sha256)


def _run_facts(run: RunResult) -> RunFacts:
    return RunFacts(
        run_id=run.run_id,
        arm=run.arm,
        seed=run.seed,
        block=run.block,
        status=run.status,
        attempts=run.attempts,
        resumed=run.resumed,
        ledger_sha256=run.ledger_sha256,
        test_accuracy=run.test_accuracy,
        images_per_s=run.images_per_s,
        wall_s=run.wall_s,
        segments_s=run.segments_s,
    )


def _runs_of(arm: str, runs: Sequence[RunResult]) -> list[RunResult]:
    return [run for run in runs if run.arm == arm]
