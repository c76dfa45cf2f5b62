"""Whether a stored study is what its ledgers say: every published number made again, every line and every run accounted for."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.results.events import SCHEMA_VERSION, read_events
from bench.results.fold import RunResult, segment_gaps
from bench.results.report import report_name, report_texts
from bench.results.rules import RULES
from bench.results.store import RunStore


def verify(directory: Path) -> list[str]:
    """What is wrong with the runs and reports in a directory, a sentence each; nothing is written.

    Raises ValueError where there is no study to verify.
    """
    store = RunStore(directory)
    plan = store.plan()
    planned = [run_id for block in plan["blocks"] for run_id in block]
    problems: list[str] = []
    results: dict[str, RunResult] = {}
    for folder in sorted(path.parent for path in directory.glob("*/events.rank0.jsonl")):
        try:
            result = store.result(folder.name)
            problems += [f"{folder.name}: {told}" for told in _run_problems(folder, result)]
        except ValueError as error:
            problems.append(f"{folder.name}: {error}")
            continue
        if result is not None:
            results[folder.name] = result
    problems += [f"{name}: the report counts this run, and it has no ledger" for name in _published(directory) - results.keys()]
    problems += [f"{name}: no run of the plan" for name in results.keys() - set(planned)]
    seeds = Counter((run.arm, run.seed, run.start["config"]["train"]["samples"]) for run in results.values())
    problems += [f"{arm}: seed {seed} is there {count} times" for (arm, seed, _), count in seeds.items() if count > 1]
    runs = [results[name] for name in planned if name in results]
    return problems or [told for rules in RULES for told in _report_problems(directory, plan, runs, rules)]


def _run_problems(folder: Path, result: RunResult | None) -> Iterator[str]:
    path = folder / "events.rank0.jsonl"
    if not path.read_bytes().endswith(b"\n"):
        yield "its ledger ends within a line"
    events = read_events(path)
    for place, event in enumerate(events):
        if event.schema_version != SCHEMA_VERSION:
            yield f"line {place + 1} is of schema version {event.schema_version}, not {SCHEMA_VERSION}"
        if event.seq != place:
            yield f"line {place + 1} has the number {event.seq}: a line is missing, repeated or out of order"
            break
    if result is None:
        yield "its ledger has no run_start"
        return
    if result.run_id != folder.name:
        yield f"its ledger is run {result.run_id}'s"
    yield from segment_gaps(events)
    stored = folder / "result.json"
    if not stored.is_file():
        if result.status != "interrupted":
            yield "it has no result.json"
        return
    published, made = _read(stored) or {}, json.loads(json.dumps(result.to_dict()))
    if changed := sorted(key for key in made | published if published.get(key) != made.get(key)):
        yield f"result.json is not what its ledger folds to: {', '.join(changed)} differ"


def _published(directory: Path) -> set[str]:
    """Ids of the runs that the report tells of."""
    report = _read(directory / "report.json") or {}
    return {run["run_id"] for run in report.get("runs", [])}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _report_problems(directory: Path, plan: dict[str, Any], results: list[RunResult], rules: str) -> Iterator[str]:
    """Where a report's files differ from the same made again; a report that was never written is none, but the first."""
    present = [kind for kind in ("json", "md", "html") if (directory / report_name(rules, kind)).is_file()]
    if not present and rules != "headstart":
        return
    try:
        made = report_texts(plan, results, rules)
    except ValueError as error:
        yield f"{report_name(rules, 'json')} cannot be made again: {error}"
        return
    for kind, text in made.items():
        name = report_name(rules, kind)
        there = (directory / name).read_text() if kind in present else ""
        # The picture is drawn from the same numbers, by libraries that may change its paths.
        if re.sub(r"<svg.*?</svg>", "", there, flags=re.S) != re.sub(r"<svg.*?</svg>", "", text, flags=re.S):
            line = next(
                (n for n, (a, b) in enumerate(zip(there.splitlines(), text.splitlines(), strict=False), 1) if a != b), None
            )
            yield f"{name} is not what the ledgers give" + (f", from line {line} on" if line else "")
