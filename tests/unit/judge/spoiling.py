"""Finds and changes the files of a study on disk, for the tests of verify."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.report.pages import write_report
from bench.files import write_json

RANDOM = "random-s2"  # a run in the midst of the study


def report(study: SimpleNamespace) -> dict[str, Any]:
    """Write the report of a study's runs, as far as there are any, and return its content."""
    store = study.store
    return write_report(store.root, store.plan(), store.planned_results())


def ledger(study: Path, run: str = RANDOM) -> Path:
    """The ledger of a run, by the start of its id."""
    (path,) = study.glob(f"{run}-*/events.rank0.jsonl")
    return path


def edit(
    path: Path, pattern: str, replacement: str | Callable[[re.Match], str], count: int = 1
) -> None:
    """Change what a pattern finds."""
    text = path.read_text()
    changed = re.sub(pattern, replacement, text, count=count)
    assert changed != text, pattern
    path.write_text(changed)


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)
