"""Writes a study's report: report.json is the content, report.html and report.md show it,
report.png is its first picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.files import json_text, write_bytes, write_text
from bench.judge.comparison import summarize
from bench.judge.records import Report
from bench.judge.records import report_name as report_name
from bench.judge.study import Study
from bench.ledger.json_records import to_json
from bench.ledger.result import RunResult
from bench.ledger.store import RunStore
from bench.report import notes
from bench.report.class_tables import Matrix, matrices
from bench.report.pictures import Pictures
from bench.report.table import Table
from bench.report.tables import class_tables, record_tables, result_tables
from bench.report.words import answer, plain, verdict_label

WIDE_CELL = 44  # characters; a longer cell of a page breaks its line


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with its words. `name` makes the ids in the page its own."""

    name: str
    title: str
    alt: str
    note: str
    svg: Markup


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a study is made again."""

    command: str
    expected: str
    cost: str

    @property
    def command_lines(self) -> list[str]:
        """The command, line by line."""
        return self.command.splitlines()


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that the templates lay out, in a reader's order."""

    experiment: str
    title: str
    answer: str
    verdict: str
    reason: str
    warning: str | None
    facts: Sequence[notes.Fact]
    has_pretrained_weights: bool
    curves: Figure
    reach: Figure
    result_tables: Sequence[Table]
    matrices: Sequence[Matrix]
    confusion_title: str
    confusion_note: str
    later_tables: Sequence[Table]
    recipe: Recipe | None
    picture_file: str


@dataclass(frozen=True, kw_only=True)
class RenderedReport:
    """A report, its files' texts by kind (json, html, md), and its picture, a PNG."""

    report: Report
    texts: Mapping[str, str]
    picture: bytes


def write_report(
    directory: Path, study: Study, results: Sequence[RunResult], rules: str = "headstart"
) -> Report:
    """Summarize the runs and the trials in `directory`, and write the report's files there.

    Raises ValueError for runs that cannot be compared.
    """
    rendered = make_report(study, results, rules, RunStore(directory).trials())
    for kind, text in rendered.texts.items():
        write_text(directory / report_name(rules, kind), text)
    write_bytes(directory / report_name(rules, "png"), rendered.picture)
    return rendered.report


def make_report(
    study: Study, results: Sequence[RunResult], rules: str, trials: Sequence[RunResult] = ()
) -> RenderedReport:
    """Make the content, the texts and the picture that write_report writes."""
    from bench.report.figures import draw  # matplotlib is slow to import, and only here it draws

    report = summarize(study, results, rules, trials)
    pictures = draw(study, report, results)
    page = make_page(study, report, results, pictures)
    texts = {"json": json_text(to_json(report)), "html": html_text(page), "md": markdown_text(page)}
    return RenderedReport(report=report, texts=texts, picture=pictures.curves_png)


def report_texts(
    study: Study, results: Sequence[RunResult], rules: str, trials: Sequence[RunResult] = ()
) -> Mapping[str, str]:
    """Make the texts of a report's files by kind, as `bench verify` compares them."""
    return make_report(study, results, rules, trials).texts


def make_page(
    study: Study, report: Report, results: Sequence[RunResult], pictures: Pictures
) -> Page:
    """Prepare all that the templates lay out."""
    runs = in_plan_order(study, results)
    return Page(
        experiment=report.experiment,
        title=study.question or study.name,
        answer=answer(report),
        verdict=verdict_label(report),
        reason=report.verdict.reason,
        warning=notes.warning(report),
        facts=notes.facts(report, study),
        has_pretrained_weights=has_pretrained_weights(report),
        curves=Figure(
            name="curves",
            title=notes.CURVES_TITLE,
            alt=notes.curves_alt(report),
            note=notes.curves_note(report),
            svg=pictures.curves,
        ),
        reach=Figure(
            name="reach",
            title=notes.REACH_TITLE,
            alt=notes.reach_alt(report),
            note=notes.reach_note(report),
            svg=pictures.reach,
        ),
        result_tables=result_tables(report, study),
        matrices=matrices(report),
        confusion_title=notes.CONFUSION_TITLE,
        confusion_note=notes.CONFUSION_NOTE,
        later_tables=[*class_tables(report), *record_tables(runs)],
        recipe=_recipe(study),
        picture_file=report_name(report.rules, "png"),
    )


def in_plan_order(study: Study, results: Sequence[RunResult]) -> list[RunResult]:
    """Return runs by block, in a block as the study names its arms."""
    places = {arm: place for place, arm in enumerate(study.arms)}

    def order(run: RunResult) -> tuple[int, int, str]:
        return run.block, places.get(run.arm, len(places)), run.run_id

    return sorted(results, key=order)


def has_pretrained_weights(report: Report) -> bool:
    """Say whether any arm started from other weights than random ones."""
    sources = {arm.weights.source for arm in report.arms if arm.weights}
    return bool(sources - {None, "random"})


def _recipe(study: Study) -> Recipe | None:
    """Return how the study is made again; curves from elsewhere do not tell."""
    config = study.config
    if config is None:
        return None
    return Recipe(command=config.command, expected=config.expected, cost=config.cost)


def html_text(page: Page) -> str:
    """Lay out a page that needs nothing from outside."""
    return _lay_out("report.html.j2", page, escapes=True)


def markdown_text(page: Page) -> str:
    """Lay out a page as Markdown."""
    return _lay_out("report.md.j2", page, escapes=False)


def _lay_out(template: str, page: Page, *, escapes: bool) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=escapes,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(plain=plain, plain_cells=_plain_cells)
    environment.tests.update(wide=_is_wide)
    return environment.get_template(template).render(page=page) + "\n"


def _plain_cells(cells: Sequence[str]) -> list[str]:
    return [plain(cell) for cell in cells]


def _is_wide(cell: str) -> bool:
    return len(cell) > WIDE_CELL
