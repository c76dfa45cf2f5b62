"""Writes a study's report: report.json is the content, report.html and report.md show it, report.png is its first picture."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.results.comparison import summarize
from bench.results.fold import RunResult
from bench.results.store import json_text, write_bytes, write_text
from bench.results.tables import NOTHING, Table, clock_label, number, points, ratio, seconds, spread, table
from bench.results.verdict import accuracy_label, answer, primary_row

# Config keys that every arm shares unless they are factors; the rest names, stores or pays for an experiment.
SHARED_ROOTS = (
    "data", "model", "weights", "finetune", "optim", "schedule", "train", "evaluation", "precision", "compile", "kind",
    "confirm_looks",
)  # fmt: skip
PLACES = ("data.dir", "data.download", "data.urls")  # where files came from, not what they hold


def report_name(rules: str, kind: str) -> str:
    """The name of a report's file; other rules than headstart's have reports of their own."""
    return f"report.{kind}" if rules == "headstart" else f"report-{rules}.{kind}"


def write_report(directory: Path, plan: dict[str, Any], results: Sequence[RunResult], rules: str = "headstart") -> dict[str, Any]:
    """Summarize the runs, write report.json, .png, .html and .md into `directory`, and return the content.

    Raises ValueError for runs that cannot be compared.
    """
    report, texts, picture = _make(plan, results, rules)
    for kind, text in texts.items():
        write_text(directory / report_name(rules, kind), text)
    write_bytes(directory / report_name(rules, "png"), picture)
    return report


def report_texts(plan: dict[str, Any], results: Sequence[RunResult], rules: str) -> dict[str, str]:
    """What write_report writes, by kind of file, but the picture."""
    return _make(plan, results, rules)[1]


def _make(plan: dict[str, Any], results: Sequence[RunResult], rules: str) -> tuple[dict[str, Any], dict[str, str], bytes]:
    from bench.results.figures import draw  # matplotlib is slow to import, and only this verb draws

    config, report = plan["config"], summarize(plan, results, rules)
    pictures, first = draw(config, report, results)
    row, places = primary_row(report), {arm: place for place, arm in enumerate(config["arms"])}
    page = {
        "answer": answer(report),
        "report": report,
        "config": config,
        "row": row,
        "clock": clock_label(report),
        "pictures": pictures,
        "runs": sorted(results, key=lambda run: (run.block, places.get(run.arm, len(places)), run.run_id)),
        "factors": factor_table(config),
        "shared": shared_table(config),
        "environment": environment_table(results),
        "picture_file": report_name(rules, "png"),
    }
    made = vars(_templates(escape=False).get_template("tables.j2").make_module(page))
    groups = ("results", "classes", "record")
    page["tables"] = {group: [told for told in map(Table.told, made[group]) if told.rows] for group in groups}
    texts = {kind: _templates(escape=kind == "html").get_template(f"report.{kind}.j2").render(page) for kind in ("html", "md")}
    return report, {"json": json_text(report), **{kind: f"{text}\n" for kind, text in texts.items()}}, first


def _templates(*, escape: bool) -> Environment:
    templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=escape, undefined=StrictUndefined)
    templates.trim_blocks = templates.lstrip_blocks = True
    templates.add_extension("jinja2.ext.do")
    templates.filters |= {form.__name__: form for form in (number, plain, ratio, seconds, spread)}
    templates.filters |= {"accuracy": accuracy_label, "value": _value}
    templates.globals |= {form.__name__: form for form in (points, seconds, table)}
    return templates


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line: a name cannot become markup, nor a cell two."""
    return re.sub(r"([\\`*\[\]<>|&~$]|(?<!\w)_|_(?!\w)|:(?=//))", r"\\\1", " ".join(text.split()))


def factor_table(config: Mapping[str, Any]) -> Table:
    """Where the arms differ, and by how much: declared factors that some arm sets."""
    keys = list(dict.fromkeys(key for overrides in config["arms"].values() for key in overrides))
    shared = flatten(config)
    rows = [(key, *(_value(overrides.get(key, shared.get(key))) for overrides in config["arms"].values())) for key in keys]
    return Table(title="What differed", columns=("factor", *config["arms"]), rows=rows, words=1 + len(config["arms"]))


def shared_table(config: Mapping[str, Any]) -> Table:
    """What was held equal, a section of the config a row; nulls left out, and where the data lies."""
    differing = tuple(key for overrides in config["arms"].values() for key in overrides)
    rows = []
    for root in SHARED_ROOTS if "data" in config else ():  # of curves from elsewhere nothing is known
        leaves = {key: value for key, value in flatten({root: config[root]}).items() if key not in (*differing, *PLACES)}
        words = [f"{key.partition('.')[2]} {_value(value)}".strip() for key, value in leaves.items() if value is not None]
        rows += [(root, ", ".join(words))] if words else []
    return Table(title="What was held equal", columns=("section", "values"), rows=rows, words=2)


def environment_table(results: Sequence[RunResult]) -> Table:
    """Environment facts and the precision found; where runs differ, each value with its number of runs."""
    facts: dict[str, Counter[str]] = {}
    for run in results:
        own = {"precision": run.start["precision"]["name"], **run.start["environment"], "self_check": run.start["self_check"]}
        for key, value in own.items():
            facts.setdefault(key, Counter())[NOTHING if value is None else str(value)] += 1
    facts = {key: values for key, values in facts.items() if set(values) != {NOTHING}}
    told = {key: [f"{value} (runs: {n})" for value, n in values.most_common()] for key, values in facts.items()}
    rows = [(key, "; ".join(told[key]) if len(values) > 1 else next(iter(values))) for key, values in facts.items()]
    differing = frozenset(place for place, values in enumerate(facts.values()) if len(values) > 1)
    return Table(title="Environment", columns=("fact", "value"), rows=rows, words=2, marked=differing, folded=True)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested config as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _value(value: Any) -> str:
    """A config value as its YAML would have it."""
    return value if isinstance(value, str) else json.dumps(value)
