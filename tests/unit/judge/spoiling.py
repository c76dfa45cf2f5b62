"""Finds and changes the files of a study on disk, for the tests of verify."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from bench.files import write_json
from bench.judge.records import Report
from bench.judge.study import planned_study
from bench.judge.verify import verify
from bench.ledger.json_records import JsonValue
from bench.ledger.store import RunStore
from bench.report.pages import report_texts, write_report

RUN = "random-s2"  # a run in the midst of the study


def problems_of(directory: Path) -> list[str]:
    """Verify a study with the reports as they are really made."""
    return verify(directory, report_texts)


def write_report_of(directory: Path, rules: str = "headstart") -> Report:
    """Write the report of a study's runs, as far as there are any, and return its content."""
    store = RunStore(directory)
    return write_report(directory, planned_study(store.plan()), store.planned_results(), rules)


def ledger(study: Path, run: str = RUN) -> Path:
    """Return the ledger of a run, by the start of its id."""
    (path,) = study.glob(f"{run}-*/events.rank0.jsonl")
    return path


def edit(
    path: Path, pattern: str, replacement: str | Callable[[re.Match[str]], str], count: int = 1
) -> None:
    """Change what a pattern finds."""
    text = path.read_text()
    changed = re.sub(pattern, replacement, text, count=count)
    assert changed != text, pattern
    path.write_text(changed)


def with_next_digit(match: re.Match[str]) -> str:
    """Return what a pattern's first group is, and another digit than its second."""
    return match[1] + next_digit(match[2])


def next_digit(digit: str) -> str:
    """Return another digit."""
    return str((int(digit) + 1) % 10)


def edit_json(path: Path, change: Callable[[dict[str, JsonValue]], object]) -> None:
    """Change the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)
