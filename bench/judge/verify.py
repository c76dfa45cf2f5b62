"""Whether a stored study is what its ledgers say.

Every published number is made again, every line and every run accounted for. Nothing is written.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.load import from_stored
from bench.files import json_text
from bench.judge.plan import primary_record
from bench.judge.records import Report, report_name
from bench.judge.rules import RULES
from bench.judge.study import Study, planned_study
from bench.ledger.events import read_events
from bench.ledger.integrity import ledger_problems
from bench.ledger.json_records import JsonObject, parse, to_json
from bench.ledger.plan_record import PlanRecord, plan_sha256
from bench.ledger.result import RunResult
from bench.ledger.store import LEDGER, RESULT, RunStore, fold_ledger

KINDS = ("json", "md", "html")
# The texts of a report by kind, from study, results, rules and trials.
Remake = Callable[
    [Study, Sequence[RunResult], str, Sequence[RunResult]],
    Mapping[str, str],
]


@dataclass(frozen=True, kw_only=True)
class _ReadLedger:
    """Which run a ledger is of (None: that cannot be read), and what is wrong with it."""

    name: str
    run: tuple[str, int, int] | None  # arm, seed, budget in images
    problems: Sequence[str]


def verify(directory: Path, remake: Remake) -> list[str]:
    """Say what is wrong with the runs and reports in a directory, a sentence each.

    `remake` makes the texts of a report again; they are compared where all else is right. Raises
    ValueError where there is no study to verify.
    """
    store = RunStore(directory)
    plan = store.plan()
    run_ledgers = [_read_ledger(store, name) for name in _ledger_names(directory, "")]
    trial_ledgers = [_read_ledger(store, name) for name in _ledger_names(directory, "tuning/")]
    problems = _plan_problems(plan)
    for ledger in (*run_ledgers, *trial_ledgers):
        problems += ledger.problems
    names = {ledger.name for ledger in run_ledgers}
    problems += _missing_ledgers(directory, plan, names)
    problems += [f"{name}: no run of the plan" for name in sorted(names - set(plan.run_ids))]
    problems += _repeated_seeds(run_ledgers)
    if problems:
        return problems
    for rules in RULES:
        problems += _report_problems(store, plan, rules, remake)
    return problems


def _plan_problems(plan: PlanRecord) -> list[str]:
    """Say where a plan is not what its hash, its config and its blocks promise.

    Raises ValueError where it has no blocks, or a config that cannot be read.
    """
    problems = []
    for primary, sha256 in _promises(plan):
        if plan_sha256(primary) != sha256:
            problems.append(f"plan.json: {sha256} is not the hash of its primary comparison")
    try:
        promised = primary_record(from_stored(plan.config), plan.blocks)
    except ValueError as error:
        raise ValueError(f"plan.json cannot be read: {error}") from None
    if to_json(promised) != to_json(plan.primary):
        problems.append("plan.json: its primary comparison is not that of its config and blocks")
    return problems


def _promises(plan: PlanRecord) -> list[tuple[JsonObject, str]]:
    """Return each primary comparison of a plan, as it is stored, with its hash."""
    promises = [(to_json(plan.primary), plan.sha256)]
    return promises + [(earlier.primary, earlier.sha256) for earlier in plan.amended]


def _ledger_names(directory: Path, folder: str) -> list[str]:
    """Return the names of the runs in a folder that have a ledger; `folder` ends in a slash."""
    return [f"{folder}{path.parent.name}" for path in sorted(directory.glob(f"{folder}*/{LEDGER}"))]


def _read_ledger(store: RunStore, name: str) -> _ReadLedger:
    """Read a ledger as far as it can be read."""
    folder = store.run_dir(name)
    problems: list[str] = []
    run = None
    path = folder / LEDGER
    try:
        events = read_events(path)
        problems += ledger_problems(path, events)
        result = fold_ledger(path, events)
        problems += _run_problems(folder, result)
        if result is not None:
            run = (result.arm, result.seed, result.budget_samples)
    except (ValueError, ArithmeticError) as error:  # an edited line may hold any number
        problems.append(f"its ledger cannot be read: {type(error).__name__}: {error}")
    return _ReadLedger(name=name, run=run, problems=[f"{name}: {problem}" for problem in problems])


def _run_problems(folder: Path, result: RunResult | None) -> list[str]:
    """Say where a run's stored result is not what its ledger folds to."""
    if result is None:
        return ["its ledger has no run_start"]
    stored = folder / RESULT
    is_under_way = result.status == "interrupted"
    if not stored.is_file():
        return [] if is_under_way else ["it has no result.json"]
    if is_under_way and b'"status": "failed"' in stored.read_bytes():
        return []  # the file is an earlier attempt's, of a headstart that left it there
    return _changes(stored, json_text(to_json(result)), "its ledger folds to")


def _missing_ledgers(directory: Path, plan: PlanRecord, names: Collection[str]) -> list[str]:
    """Name the runs that a report lists, or that came before others of the plan, without ledger."""
    last_place = 0
    for place, run_id in enumerate(plan.run_ids):
        if run_id in names:
            last_place = place
    expected = {*plan.run_ids[:last_place], *_reported_runs(directory / "report.json")}
    return [
        f"{name}: no ledger, though the report or later runs tell of it"
        for name in sorted(expected.difference(names))
    ]


def _reported_runs(path: Path) -> list[str]:
    """Return the ids of the runs that a report lists.

    None of one that cannot be read, which is a problem of its own.
    """
    if not path.is_file():
        return []
    try:
        report = parse(Report, path.read_bytes())
    except ValueError:
        return []
    return [run.run_id for run in report.runs]


def _repeated_seeds(ledgers: Sequence[_ReadLedger]) -> list[str]:
    """Name each arm's seeds that more than one run of a budget has."""
    counts = Counter(ledger.run for ledger in ledgers if ledger.run is not None)
    return [
        f"{arm}: seed {seed} is there {count} times"
        for (arm, seed, _), count in counts.items()
        if count > 1
    ]


def _report_problems(store: RunStore, plan: PlanRecord, rules: str, remake: Remake) -> list[str]:
    """Say where a report's files differ from the same made again.

    A report that was never written is no problem, but the first.
    """
    paths = {kind: store.root / report_name(rules, kind) for kind in KINDS}
    if rules != "headstart" and not any(path.is_file() for path in paths.values()):
        return []
    try:
        texts = remake(planned_study(plan), store.planned_results(), rules, store.trials())
    except Exception as error:  # whatever it is, the report cannot be what the ledgers give
        reason = f"{type(error).__name__}: {error}"
        return [f"{report_name(rules, 'json')} cannot be made again: {reason}"]
    problems = []
    for kind, path in paths.items():
        if path.is_file():
            problems += _changes(path, texts[kind], "the ledgers give")
        else:
            problems.append(f"{path.name} is missing")
    return problems


def _changes(path: Path, text: str, source: str) -> list[str]:
    """Say where a file first differs from the text that it should hold, by what its source says."""
    stored_text = path.read_bytes().decode(errors="replace")
    if path.suffix == ".html":
        stored_text = _without_pictures(stored_text)
        text = _without_pictures(text)
    if stored_text == text:
        return []
    problem = f"{path.name} is not what {source}"
    line = _first_different_line(stored_text, text)
    return [problem if line is None else f"{problem}, from line {line} on"]


def _without_pictures(page: str) -> str:
    """Leave out what is drawn of the same numbers, by libraries that may change their paths."""
    return re.sub(r"<svg.*?</svg>", "<svg>", page, flags=re.S)


def _first_different_line(text: str, other: str) -> int | None:
    """Return a line's number, from 1; None where only the line ends differ."""
    lines = f"{text}\n".splitlines()
    other_lines = f"{other}\n".splitlines()
    for place, (line, other_line) in enumerate(zip(lines, other_lines, strict=False)):
        if line != other_line:
            return place + 1
    return None
