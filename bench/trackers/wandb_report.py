"""Publishes a study's report as a W&B Report: the answer and tables of report.md, and W&B's own
panels over the runs.

wandb is used in a process of its own, this module run as a program: at its end wandb waits for its
service, which may wait for a server.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict
from urllib.parse import quote

import wandb
import wandb_workspaces.reports.v2 as wr
from wandb.errors import AuthenticationError

from bench.config.schema import ExperimentConfig
from bench.files import json_text
from bench.judge.records import Report
from bench.ledger.json_records import Record, parse, to_json
from bench.report.words import accuracy_label, answer
from bench.trackers import describe
from bench.trackers.wandb import find_key, resolve_mode, set_up

DEADLINE_S = 25
REQUEST_S = 10
LONGEST_TITLE = 128  # characters; W&B takes no more
LEAST_RUNS = 10  # that a panel shows; W&B's own default
REACH = "check WANDB_BASE_URL, WANDB_API_KEY and the network"
RIGHTS = "check the key's rights to wandb.entity and wandb.project"
NO_KEY = "no API key: send the runs with `wandb sync`, and set WANDB_API_KEY"
NOTE = (
    "The panels are W&B's own, over every run that it holds of the group, by headstart's rules; "
    "the tables are the report's."
)


@dataclass(frozen=True, kw_only=True)
class Publication(Record):
    """What a W&B Report is made of: where it goes, its texts, and what its panels show."""

    project: str
    entity: str | None  # None: that of the API key
    group: str
    question: str
    answer: str
    markdown: str
    clock: str
    thresholds: Sequence[float]  # the primary one first
    most_runs: int


@dataclass(frozen=True, kw_only=True)
class Published(Record):
    """The URL of a W&B Report; where there is none, why."""

    url: str | None = None
    reason: str = ""


class _ByArm(TypedDict):
    """The arguments of wandb's panels that group runs: medians by arm, lowest to highest."""

    groupby: wr.Config
    groupby_aggfunc: Literal["median"]
    groupby_rangefunc: Literal["minmax"]
    max_runs_to_show: int


def publish(report: Report, markdown: str, config: ExperimentConfig, page: Path) -> str:
    """Make a W&B Report of a report and its report.md, and return its URL.

    WANDB_MODE goes before the config's mode, which was asked for the runs. Raises ValueError where
    W&B is not to be had, within DEADLINE_S seconds: a sentence that ends with where `page`, the
    report's own, is.
    """
    configured = None if os.environ.get("WANDB_MODE") else config.wandb.mode
    mode = resolve_mode(configured, os.environ, key_present=True)
    if mode.name == "online":
        published = _publish_apart(_publication(report, markdown, config))
    else:
        advice = "send the runs with `wandb sync`, and set WANDB_MODE=online"
        published = Published(reason=f"{mode.name}, {mode.reason}: {advice}")
    if published.url is None:
        raise ValueError(
            f"no W&B Report is made ({published.reason}); the report itself is in {page}"
        )
    return published.url


def _publication(report: Report, markdown: str, config: ExperimentConfig) -> Publication:
    primary = config.primary.threshold
    others = [threshold for threshold in config.thresholds if threshold != primary]
    return Publication(
        project=config.wandb.project,
        entity=config.wandb.entity,
        group=config.name,
        question=config.question or config.name,
        answer=answer(report),
        markdown=markdown,
        clock=config.clock,
        thresholds=[primary, *others],
        most_runs=max(LEAST_RUNS, len(report.runs)),
    )


def _publish_apart(publication: Publication) -> Published:
    """Publish in a process of its own, which has DEADLINE_S seconds."""
    try:
        output = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json_text(to_json(publication)),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        ).stdout
    except subprocess.TimeoutExpired:
        return Published(reason=f"not done within {DEADLINE_S} s; {REACH}")
    if not output:
        return Published(reason="its process was killed")
    return parse(Published, output)


def _save(publication: Publication) -> Published:
    """Send the W&B Report."""
    if not find_key():  # wandb would ask for one on the terminal
        return Published(reason=NO_KEY)
    settings = set_up(
        wandb.Settings(
            silent=True,
            x_graphql_timeout_seconds=REQUEST_S,
            x_graphql_retry_max=2,
            x_graphql_retry_wait_max_seconds=1,
        )
    )
    project = publication.project
    api = wandb.Api(timeout=REQUEST_S)
    entity = publication.entity or api.settings["entity"] or api.default_entity or ""
    projects = {existing.name for existing in api.projects(entity)}
    if project not in projects:  # wandb_workspaces would make an empty one
        advice = "track runs online, or send them with `wandb sync`, first"
        return Published(reason=f"no project {entity}/{project}: {advice}")
    title = _title(publication.question)
    report = wr.Report(
        project, entity, title, publication.answer, _blocks(publication, entity), width="fluid"
    )
    report_id = report.save(draft=False).id.rstrip("=")
    # Its own `url` breaks at a question mark, and lacks the app's path.
    slug = quote(re.sub(r"\W+", "-", title).strip("-"))
    app_url = settings.app_url.rstrip("/")
    url = f"{app_url}/{entity}/{quote(project)}/reports/{slug}--{report_id}"
    return Published(url=url)


def _title(question: str) -> str:
    if len(question) <= LONGEST_TITLE:
        return question
    return f"{question[: LONGEST_TITLE - 1]}…"


def _blocks(publication: Publication, entity: str) -> list[wr.interface.Block]:
    """Lay out the text of report.md, W&B's panels in place of the page's picture."""
    head, _, rest = publication.markdown.partition("\n\n![")
    _, heading, tables = rest.partition("\n## ")
    runs = wr.Runset(
        entity=entity,
        project=publication.project,
        name="runs",
        filters=f"Metric('Group') == {publication.group!r}",
        groupby=["config.arm"],
    )
    return [
        wr.MarkdownBlock(head),
        wr.PanelGrid(runsets=[runs], panels=_panels(publication)),
        wr.P(NOTE),
        wr.MarkdownBlock(f"{heading}{tables}".strip("\n")),
    ]


def _panels(publication: Publication) -> list[wr.LinePlot | wr.BarPlot]:
    """Make curves over every axis, then a bar chart a threshold and one of throughput."""
    by_arm = _ByArm(
        groupby=wr.Config("arm"),
        groupby_aggfunc="median",
        groupby_rangefunc="minmax",
        max_runs_to_show=publication.most_runs,
    )
    clock = publication.clock
    axes = {
        f"time/{clock}_s": f"s, {clock} clock",
        "trainer/epoch": "epochs",
        "trainer/samples": "images",
    }
    panels: list[wr.LinePlot | wr.BarPlot] = []
    for axis, words in axes.items():
        title = f"val accuracy by {words}"
        panels.append(wr.LinePlot(title=title, x=axis, y=["val/accuracy"], **by_arm))
    for threshold in publication.thresholds:
        label = accuracy_label(threshold)
        title = f"s to {label} on val, of runs that reached it"
        panels.append(wr.BarPlot(title=title, metrics=[f"time_to_accuracy_s/{label}"], **by_arm))
    throughput = wr.BarPlot(title="training images per s", metrics=["images_per_s"], **by_arm)
    panels.append(throughput)
    return panels


def _main() -> None:
    """Publish what stands on standard input; print the URL, or why there is none."""
    try:
        published = _save(parse(Publication, sys.stdin.read()))
    except Exception as error:
        hint = REACH if isinstance(error, AuthenticationError) else RIGHTS
        published = Published(reason=f"{describe(error)}; {hint}")
    print(json_text(to_json(published)), flush=True)
    os._exit(0)  # without waiting for wandb's threads


if __name__ == "__main__":
    _main()
