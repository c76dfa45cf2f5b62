"""What `bench tune` prints when it is done."""

from bench.judge.records import ArmTuning, TrialSummary, TuningSummary
from bench.report.words import number, seconds


def tuning_text(summary: TuningSummary, clock: str, layer: str) -> str:
    """Tell each arm's rates, loudly where the best lies at the edge, and how to go on.

    `layer` is the argument of `bench run` that brings in the best rates.
    """
    lines: list[str] = []
    for arm, tuning in summary.arms.items():
        lines += _arm_lines(arm, tuning, clock)
    lines.append(f"next: run the experiment as it was tuned, with {layer}")
    return "\n".join(lines)


def _arm_lines(arm: str, tuning: ArmTuning, clock: str) -> list[str]:
    headline = f"{arm}: best learning rate {number(tuning.best, '{:g}')}"
    if tuning.at_edge:
        headline += ", AT THE EDGE of those tried: a better one may lie beyond"
    return [
        headline,
        *(_trial_line(trial) for trial in tuning.trials),
        f"  tuning took {seconds(tuning.seconds)} s on the {clock} clock",
    ]


def _trial_line(trial: TrialSummary) -> str:
    line = f"  {trial.lr:<10g} val {number(trial.score, '{:.4f}')}  {seconds(trial.seconds)} s"
    return f"{line}  diverged" if trial.status == "diverged" else line
