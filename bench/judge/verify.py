"""Whether a stored study is what its ledgers say: every published number made again, every line and every run accounted for."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.ledger.events import read_events
from bench.ledger.fold import RunResult, segment_gaps
from bench.report.pages import make_report, report_name
from bench.judge.rules import RULES
from bench.files import json_text
from bench.ledger.plan_record import plan_sha256, primary_record
from bench.ledger.store import RunStore


def verify(directory: Path) -> list[str]:
    """What is wrong with the runs and reports in a directory, a sentence each; nothing is written.

    Raises ValueError where there is no study to verify.
    """
    store = RunStore(directory)
    plan = store.plan()
    try:
        planned = [run_id for block in plan["blocks"] for run_id in block]
        problems = [f"plan.json: {told}" for told in _plan_problems(plan)]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"plan.json cannot be read: {type(error).__name__}: {error}") from None
    results: dict[str, RunResult] = {}
    seeds: Counter[tuple[str, int, int]] = Counter()
    folders = {
        path.parent.name: path.parent for path in sorted(directory.glob("*/events.rank0.jsonl"))
    }
    trials = {
        f"tuning/{path.parent.name}": path.parent
        for path in sorted(directory.glob("tuning/*/events.rank0.jsonl"))
    }
    for name, folder in (folders | trials).items():
        try:
            problems += [
                f"{name}: {told}" for told in _line_problems(folder / "events.rank0.jsonl")
            ]
            result = store.result(name)
            problems += [f"{name}: {told}" for told in _run_problems(folder, result)]
            if result is not None and name in folders:
                seeds[result.arm, result.seed, result.budget] += 1
                results[name] = result
        except Exception as error:  # an edited line may say anything
            problems.append(f"{name}: its ledger cannot be read: {type(error).__name__}: {error}")
    later = max((place for place, name in enumerate(planned) if name in folders), default=0)
    known = set(planned[:later])
    with suppress(
        OSError, ValueError, LookupError, TypeError
    ):  # of a report that cannot be read, which is told of below
        known |= {
            str(run["run_id"])
            for run in json.loads((directory / "report.json").read_bytes())["runs"]
        }
    problems += [
        f"{name}: no ledger, though the report or later runs tell of it"
        for name in sorted(known - folders.keys())
    ]
    problems += [f"{name}: no run of the plan" for name in sorted(folders.keys() - set(planned))]
    problems += [
        f"{arm}: seed {seed} is there {count} times"
        for (arm, seed, _), count in seeds.items()
        if count > 1
    ]
    found = [results[name] for name in planned if name in results]
    return problems or [
        told for rules in RULES for told in _report_problems(store, plan, found, rules)
    ]


def _plan_problems(plan: dict[str, Any]) -> Iterator[str]:
    for record in (plan, *plan["amended"]):
        if plan_sha256(record["primary"]) != record["sha256"]:
            yield f"{record['sha256']} is not the hash of its primary comparison"
    if plan["primary"] != primary_record(plan["config"], plan["blocks"]):
        yield "its primary comparison is not that of its config and blocks"


def _line_problems(path: Path) -> Iterator[str]:
    if not path.read_bytes().endswith(b"\n"):
        yield "its ledger ends within a line"
    events = read_events(path)
    for place, event in enumerate(events):
        if event.seq != place:
            yield f"line {place + 1} has the number {event.seq}: a line is missing, repeated or out of order"
            break
    yield from segment_gaps(events)


def _run_problems(folder: Path, result: RunResult | None) -> Iterator[str]:
    if result is None:
        yield "its ledger has no run_start"
        return
    if result.run_id != folder.name:
        yield f"its ledger is run {result.run_id}'s"
    stored = folder / "result.json"
    if not stored.is_file():
        if result.status != "interrupted":
            yield "it has no result.json"
        return
    if result.status == "interrupted" and b'"status": "failed"' in stored.read_bytes():
        return  # the file is an earlier attempt's
    yield from _changes(stored, json_text(result.to_dict()), "its ledger folds to")


def _report_problems(
    store: RunStore, plan: dict[str, Any], results: list[RunResult], rules: str
) -> Iterator[str]:
    """Where a report's files differ from the same made again; a report that was never written is none, but the first."""
    paths = {kind: store.root / report_name(rules, kind) for kind in ("json", "md", "html")}
    if rules != "headstart" and not any(path.is_file() for path in paths.values()):
        return
    try:
        made = make_report(plan, results, rules, store.trials())[1]
    except Exception as error:
        yield f"{paths['json'].name} cannot be made again: {type(error).__name__}: {error}"
        return
    for kind, path in paths.items():
        if not path.is_file():
            yield f"{path.name} is missing"
            continue
        yield from _changes(path, made[kind], "the ledgers give")


def _changes(path: Path, text: str, told: str) -> Iterator[str]:
    """Whether a file has another digit than the text that it should hold, and from where on."""
    there = path.read_bytes().decode(errors="replace")
    if (
        path.suffix == ".html"
    ):  # pictures are drawn from the same numbers, by libraries that may change their paths
        there, text = (
            re.sub(r"<svg.*?</svg>", "<svg>", page, flags=re.S) for page in (there, text)
        )
    if there != text:
        lines = zip(f"{there}\n".splitlines(), f"{text}\n".splitlines(), strict=False)
        line = next((n for n, (a, b) in enumerate(lines, 1) if a != b), None)
        yield f"{path.name} is not what {told}" + (f", from line {line} on" if line else "")
