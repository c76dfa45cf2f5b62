"""Writes a study's report: report.json is the content, report.html and report.md show it, report.png is its picture."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.results import tables
from bench.results.comparison import summarize
from bench.results.fold import RunResult
from bench.results.store import json_text, write_bytes, write_text
from bench.results.verdict import accuracy_label, answer

CAPTION = (
    "One thin line a run, a cross where a run ended before its budget. Bold: the arm's median over completed runs; "
    "band: lowest to highest. Horizontal lines: thresholds, the primary one strongest."
)
VERIFIED = "cifar10"


@dataclass(frozen=True, kw_only=True)
class Page:
    """What both renderings of the report show."""

    title: str
    answer: str
    warning: str
    facts: list[tuple[str, str]]
    figure_alt: str
    caption: str
    tables: list[tables.Table]
    plan: list[tuple[str, str]]
    command: str


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
    from bench.results.figures import curves, describe  # matplotlib is slow to import, and only this verb draws

    config, report = plan["config"], summarize(plan, results, rules)
    figure, picture = curves(config, report, results)
    page = _page(config, report, results, describe(report))
    return report, {"json": json_text(report), "html": _html(page, figure), "md": _markdown(page)}, picture


def _page(config: dict[str, Any], report: dict[str, Any], results: Sequence[RunResult], figure_alt: str) -> Page:
    return Page(
        title=config["question"] or config["name"],
        answer=answer(report),
        warning=_warning(report),
        facts=_facts(config, report),
        figure_alt=figure_alt,
        caption=CAPTION,
        tables=[
            tables.time_table(report),
            tables.arm_table(report),
            tables.factor_table(config),
            tables.shared_table(config),
            tables.run_table(config, results),
            tables.environment_table(results),
        ],
        plan=[("expected before the first run", config["expected"]), ("cost", config["cost"])],
        command=config["command"],
    )


def _warning(report: dict[str, Any]) -> str:
    if not report["dataset"] or report["dataset"]["name"] == VERIFIED:
        return ""
    return f"Not verified CIFAR-10: these figures are of {report['dataset']['name']}, and of nothing else."


def _facts(config: dict[str, Any], report: dict[str, Any]) -> list[tuple[str, str]]:
    primary, dataset = report["primary"], report["dataset"]
    blocks = [
        row["blocks"]
        for row in report["comparisons"]
        if row["arm"] == primary["arm"] and row["threshold"] == primary["threshold"]
    ]
    against = f" against {primary['baseline']}" if blocks else ""
    return [
        ("data set", f"{dataset['name']}, sha256 {dataset['sha256'][:12]}" if dataset else tables.NOTHING),
        ("primary comparison", f"{primary['arm']}{against} at {accuracy_label(primary['threshold'])}"),
        ("clock", report["clock"]),
        ("blocks compared", f"{blocks[0] if blocks else 0} of {config['blocks']}"),
        ("method", f"METHOD {report['method_version']}"),
        ("experiment", report["experiment"]),
    ]


def _html(page: Page, figure: str) -> str:
    templates = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # The picture is ours, and its labels are escaped where it is made.
    return environment.get_template("report.html.j2").render(page=page, figure=Markup(figure))


def _markdown(page: Page) -> str:
    parts = [f"# {_plain(page.title)}", f"> **{_plain(page.answer)}**"]
    if page.warning:
        parts.append(f"**{_plain(page.warning)}**")
    parts.append("\n".join(f"- {label}: {_plain(value)}" for label, value in page.facts))
    parts += [f"![{_plain(page.figure_alt)}](report.png)", page.caption]
    for table in page.tables:
        parts += [f"## {table.title}", _markdown_table(table), _plain(table.note)]
    parts += ["## How to make it again", "\n".join(f"    {line}" for line in page.command.splitlines())]
    parts.append("\n".join(f"- {label}: {_plain(value)}" for label, value in page.plan))
    return "\n\n".join(filter(None, parts)) + "\n"


def _markdown_table(table: tables.Table) -> str:
    if not table.rows:
        return "Nothing."
    lines = [table.columns, ["-" if index < table.words else "-:" for index in range(len(table.columns))]]
    rows = ["| " + " | ".join(map(_plain, line)) + " |" for line in lines]
    for index, cells in enumerate(table.rows):
        texts = [_plain(cell) for cell in cells]
        rows.append("| " + " | ".join(f"**{text}**" if index in table.marked else text for text in texts) + " |")
    return "\n".join(rows)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line: a name cannot become markup, nor a cell two."""
    return re.sub(r"([\\`*\[\]<>|&~]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
