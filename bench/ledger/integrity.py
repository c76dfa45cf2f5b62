"""Whether a run's ledger can be believed: what every reader checks before it uses a number."""

from collections.abc import Sequence
from pathlib import Path

from bench.ledger.errors import LedgerError
from bench.ledger.events import (
    Event,
    RunStarted,
    ends_within_a_line,
    last_attempt,
    read_events,
)
from bench.ledger.fold import segment_gaps


def believed_events(path: Path) -> list[Event]:
    """Read a ledger's events.

    Raises LedgerError, with the file's name, where they cannot be believed.
    """
    events = read_events(path)
    problems = ledger_problems(path, events)
    if problems:
        raise LedgerError(f"{path}: {problems[0]}")
    return events


def ledger_problems(path: Path, events: Sequence[Event]) -> list[str]:
    """Say where lines are missing or doubled, of another run, or do not account for the time."""
    problems = []
    if ends_within_a_line(path) and _is_ended(events):
        problems.append("its ledger ends within a line")
    for place, event in enumerate(events):
        if event.seq != place:
            problems.append(
                f"line {place + 1} has the number {event.seq}: "
                "a line is missing, repeated or out of order"
            )
            break
    problems += _foreign_runs(path, events)
    return problems + segment_gaps(events)


def _is_ended(events: Sequence[Event]) -> bool:
    """Say whether the last attempt has its end: a kill cannot have cut a line behind that."""
    return any(event.kind == "run_stop" for event in last_attempt(events))


def _foreign_runs(path: Path, events: Sequence[Event]) -> list[str]:
    run_ids = {event.data.run_id for event in events if isinstance(event, RunStarted)}
    others = sorted(run_ids - {path.parent.name})
    return [f"its ledger is run {run_id}'s" for run_id in others]
