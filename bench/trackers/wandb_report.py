"""Publishes a study's report as a W&B Report: the answer and tables of report.md, and W&B's own
panels over the runs.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import wandb
import wandb_workspaces.reports.v2 as wr
from wandb.errors import AuthenticationError

from bench.report.words import answer
from bench.report.words import accuracy_label
from bench.trackers import describe
from bench.trackers.wandb import find_key, resolve_mode, set_up

DEADLINE_S, REQUEST_S = 25, 10
REACH = "check WANDB_BASE_URL, WANDB_API_KEY and the network"
NOTE = "The panels are W&B's own, over every run that it holds of the group, by headstart's rules; the tables are the report's."


def publish(report: dict[str, Any], markdown: str, config: dict[str, Any], page: Path) -> str:
    """The URL of a new W&B Report: the content of report.json, the text of report.md, and an
    experiment's plain config.

    WANDB_MODE goes before the config's mode, which was asked for the runs. Raises ValueError where
    W&B is not to be had, within DEADLINE_S seconds: a sentence that ends with where `page`, the
    report's own, is.
    """
    asked = None if os.environ.get("WANDB_MODE") else config["wandb"]["mode"]
    mode, reason = resolve_mode(asked, os.environ, key_present=True)
    url, why = "", f"{mode}, {reason}: send the runs with `wandb sync`, and set WANDB_MODE=online"
    if mode == "online":
        content = json.dumps({"report": report, "markdown": markdown, "config": config})
        command, root = [sys.executable, "-m", __name__], Path(__file__).parents[2]
        try:  # in a process of its own: at its end wandb waits for its service, which may wait for a server
            told = subprocess.run(
                command, input=content, cwd=root, capture_output=True, text=True, timeout=DEADLINE_S
            ).stdout
            url, why = json.loads(told or '["", "its process was killed"]')
        except subprocess.TimeoutExpired:
            why = f"not done within {DEADLINE_S} s; {REACH}"
    if not url:
        raise ValueError(f"no W&B Report is made ({why}); the report itself is in {page}")
    return url


def _save(report: dict[str, Any], markdown: str, config: dict[str, Any]) -> tuple[str, str]:
    """The URL, or none and why."""
    if not find_key():  # wandb would ask for one on the terminal
        return "", "no API key: send the runs with `wandb sync`, and set WANDB_API_KEY"
    settings = set_up(
        x_graphql_timeout_seconds=REQUEST_S,
        x_graphql_retry_max=2,
        x_graphql_retry_wait_max_seconds=1,
    )
    api, project = wandb.Api(timeout=REQUEST_S), config["wandb"]["project"]
    entity = config["wandb"]["entity"] or api.settings["entity"] or api.default_entity or ""
    if all(
        known.name != project for known in api.projects(entity)
    ):  # wandb_workspaces would make an empty one
        return (
            "",
            f"no project {entity}/{project}: track runs online, or send them with `wandb sync`, first",
        )
    group = f"Metric('Group') == {config['name']!r}"
    runs = wr.Runset(
        entity=entity, project=project, name="runs", filters=group, groupby=["config.arm"]
    )
    question = config["question"] or config["name"]
    title = question if len(question) <= 128 else f"{question[:127]}…"  # W&B takes no more
    panels = wr.PanelGrid(runsets=[runs], panels=_panels(config, max(10, len(report["runs"]))))
    head, _, rest = markdown.partition(
        "\n\n!["
    )  # of the page's picture, which W&B's own panels replace
    _, heading, tables = rest.partition("\n## ")
    blocks = [
        wr.MarkdownBlock(head),
        panels,
        wr.P(NOTE),
        wr.MarkdownBlock(f"{heading}{tables}".strip("\n")),
    ]
    made = wr.Report(project, entity, title, answer(report), blocks, width="fluid").save(
        draft=False
    )
    slug = quote(
        re.sub(r"\W+", "-", title).strip("-")
    )  # its own `url` breaks at a question mark, and lacks the app's path
    return (
        f"{settings.app_url.rstrip('/')}/{entity}/{quote(project)}/reports/{slug}--{made.id.rstrip('=')}",
        "",
    )


def _panels(config: dict[str, Any], most_runs: int) -> list[Any]:
    """Curves by every axis, then a bar chart a threshold and one of throughput: medians over an
    arm's runs, lowest to highest.
    """
    by_arm: dict[str, Any] = {
        "groupby": wr.Config("arm"),
        "groupby_aggfunc": "median",
        "groupby_rangefunc": "minmax",
    }
    by_arm["max_runs_to_show"] = most_runs  # W&B would take ten
    axes = {
        f"time/{config['clock']}_s": f"s, {config['clock']} clock",
        "trainer/epoch": "epochs",
        "trainer/samples": "images",
    }
    curves = [
        wr.LinePlot(title=f"val accuracy by {words}", x=x, y=["val/accuracy"], **by_arm)
        for x, words in axes.items()
    ]
    labels = map(
        accuracy_label,
        sorted(
            config["thresholds"], key=lambda threshold: threshold != config["primary"]["threshold"]
        ),
    )
    bars = {
        f"time_to_accuracy_s/{label}": f"s to {label} on val, of runs that reached it"
        for label in labels
    }
    bars["images_per_s"] = "training images per s"
    return [
        *curves,
        *(wr.BarPlot(title=title, metrics=[name], **by_arm) for name, title in bars.items()),
    ]


if __name__ == "__main__":
    try:
        told = _save(**json.load(sys.stdin))
    except Exception as error:
        hint = (
            REACH
            if isinstance(error, AuthenticationError)
            else "check the key's rights to wandb.entity and wandb.project"
        )
        told = ("", f"{describe(error)}; {hint}")
    print(json.dumps(told), flush=True)
    os._exit(0)
