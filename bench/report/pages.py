"""Writes a study's report: report.json is the content, report.html and report.md show it, report.png is its first picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.judge.comparison import summarize
from bench.ledger.fold import RunResult
from bench.files import json_text, write_bytes, write_text
from bench.ledger.store import RunStore
from bench.judge.verdict import primary_row
from bench.report.words import answer
from bench.report.words import clock_label, templates


def report_name(rules: str, kind: str) -> str:
    """The name of a report's file; other rules than headstart's have reports of their own."""
    return f"report.{kind}" if rules == "headstart" else f"report-{rules}.{kind}"


def write_report(
    directory: Path, plan: dict[str, Any], results: Sequence[RunResult], rules: str = "headstart"
) -> dict[str, Any]:
    """Summarize the runs and the trials in `directory`, write report.json, .png, .html and .md there, and return the content.

    Raises ValueError for runs that cannot be compared.
    """
    report, texts, picture = make_report(plan, results, rules, RunStore(directory).trials())
    for kind, text in texts.items():
        write_text(directory / report_name(rules, kind), text)
    write_bytes(directory / report_name(rules, "png"), picture)
    return report


def make_report(
    plan: dict[str, Any], results: Sequence[RunResult], rules: str, trials: Sequence[RunResult] = ()
) -> tuple[dict[str, Any], dict[str, str], bytes]:
    """The content, the files by kind, and the picture that write_report writes."""
    from bench.report.figures import and only this verb draws, draw  # matplotlib is slow to import

    config, report = plan["config"], summarize(plan, results, rules, trials)
    pictures, first = draw(config, report, results)
    places = {arm: place for place, arm in enumerate(config["arms"])}
    page = {
        "answer": answer(report),
        "report": report,
        "config": config,
        "row": primary_row(report),
        "clock": clock_label(report),
        "pictures": pictures,
        "runs": sorted(
            results, key=lambda run: (run.block, places.get(run.arm, len(places)), run.run_id)
        ),
        "picture_file": report_name(rules, "png"),
    }
    made = templates().get_template("tables.j2").make_module(page)
    page["tables"] = {
        name: [told for told in group if told["rows"]]
        for name, group in vars(made)["groups"].items()
    }
    texts = {
        kind: templates(escape=kind == "html").get_template(f"report.{kind}.j2").render(page)
        for kind in ("html", "md")
    }
    return (
        report,
        {"json": json_text(report), **{kind: f"{text}\n" for kind, text in texts.items()}},
        first,
    )
