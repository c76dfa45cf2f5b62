"""W&B Reports through wandb's own client: what a stand-in server is sent, and one sentence where
there is none to be had.

Each is published in its own process: wandb keeps state, threads and a service process.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.config.load import as_dict
from bench.config.schema import ExperimentConfig
from bench.files import json_text
from bench.judge.comparison import summarize
from bench.judge.records import Report
from bench.ledger.json_records import JsonObject, to_json
from tests.integration.test_wandb import CANARY, NOWHERE, ROOT, environment
from tests.integration.wandb_server import WandbServer
from tests.unit.results_factory import make_config, make_study
from tests.unit.study_factory import pair, timed

pytest.importorskip("wandb_workspaces")

BOUND_S = 30
MARKUP = "Is <script>alert('1')</script> | `rm` **sooner** than {{ 7 * 7 }} [x](javascript:1)?"
ANSWER = (
    "pretrained 2.03x sooner to 0.90 on digits than random (train clock; sooner in 1 of 1 block; "
    "verdict: undecided)"
)
MARKDOWN = r"""# Is \<script\> sooner?

> **pretrained 2.03x sooner**

**Not verified CIFAR-10: these figures are of digits, and of nothing else.**

- data set: digits
- primary comparison: pretrained against random at 0.90

![curves](report.png)

One thin line a run.

## Time to accuracy

| arm | s |
| - | -: |
| **pre\|trained** | 4.1 |
| \<b\>random\</b\> | 8.3 |

Medians.

## Runs

| run | ledger |
| - | - |
| pretrained-s0 | cafe1234 |

## How to make it again

    python -m bench run probe

- expected before the first run: \`sooner\`
"""

DRIVER = """
import sys
from pathlib import Path
from bench.config.load import from_stored
from bench.judge.records import Report
from bench.ledger.json_records import parse
from bench.trackers import wandb_report
import json

inputs = json.loads(sys.argv[1])
wandb_report.DEADLINE_S = inputs["deadline_s"]
report = parse(Report, inputs["report"])
config = from_stored(inputs["config"])
page = Path("runs/probe/report.html")
try:
    print(wandb_report.publish(report, inputs["markdown"], config, page))
except ValueError as error:
    print("ValueError:", error)
"""


def report_of_fourteen_runs() -> Report:
    """One complete block, and runs that were interrupted."""
    runs = pair(0, 1.0, 2.03)
    for seed in range(1, 7):
        for arm in ("pretrained", "random"):
            runs.append(timed((), arm, seed, status="interrupted"))
    return summarize(make_study(), runs)


def config_with(question: str = MARKUP, **wandb: str | None) -> ExperimentConfig:
    """Make the probe's config, with keys of its section wandb."""
    return make_config(question=question, thresholds=(0.8, 0.9, 0.95), wandb=wandb)


def publish(
    home: Path,
    url: str,
    config: ExperimentConfig,
    *,
    environ: dict[str, str] | None = None,
    markdown: str = MARKDOWN,
    deadline_s: float = 25,
) -> str:
    """Return the one line that publishing ends in, a URL or a sentence.

    It comes within the bound, and without the key.
    """
    inputs = {
        "report": json_text(to_json(report_of_fourteen_runs())),
        "markdown": markdown,
        "config": as_dict(config),
        "deadline_s": deadline_s,
    }
    variables = {"WANDB_BASE_URL": url, "WANDB_API_KEY": CANARY, **(environ or {})}
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(inputs)],
        cwd=ROOT,
        env=environment(home, **variables),
        text=True,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert time.monotonic() - began_s < BOUND_S
    assert CANARY not in done.stdout + done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    return line


def saved(server: WandbServer) -> tuple[JsonObject, list[JsonObject]]:
    """The one view that a server was sent, and the blocks of its spec."""
    (view,) = server.asked("upsertView")
    return view, json.loads(view["spec"])["blocks"]


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, str, JsonObject, list[JsonObject]]:
    with WandbServer() as server:
        url = publish(tmp_path_factory.mktemp("home"), server.url, config_with())
    assert set(server.paths) == {"/graphql"}  # no telemetry
    return server.url, url, *saved(server)


def test_a_report_has_the_question_the_answer_and_the_facts(published):
    server_url, url, view, blocks = published
    assert (view["entityName"], view["projectName"], view["type"]) == (
        "entity",
        "headstart",
        "runs",
    )
    assert (view["displayName"], view["description"]) == (MARKUP, ANSWER)
    texts = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    assert texts[0] == MARKDOWN.partition("\n\n![")[0]
    slug = "Is-script-alert-1-script-rm-sooner-than-7-7-x-javascript-1"
    assert url == f"{server_url}/entity/headstart/reports/{slug}--Vmlldzox"


def test_every_table_is_there_as_in_the_page_and_markup_stays_text(published):
    *_, blocks = published
    contents = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    without_picture = MARKDOWN.replace(
        "\n\n![curves](report.png)\n\nOne thin line a run.", ""
    ).strip("\n")
    kinds = [block["type"] for block in blocks]
    assert kinds.index("markdown-block") < kinds.index(
        "panel-grid"
    )  # the warning stands above all figures
    assert (
        "\n\n".join(contents) == without_picture
    )  # with the backslashes that keep a name from being markup


def test_the_panels_show_the_runs_of_the_experiment_by_arm(published):
    *_, blocks = published
    (grid,) = (block["metadata"] for block in blocks if block["type"] == "panel-grid")
    (runs,) = grid["runSets"]
    (shown,) = runs["filters"]["filters"]
    assert (shown["key"], shown["op"], shown["value"]) == (
        {"section": "run", "name": "group"},
        "=",
        "probe",
    )
    assert [(key["section"], key["name"]) for key in runs["grouping"]] == [("config", "arm.value")]
    assert (runs["project"]["entityName"], runs["project"]["name"]) == ("entity", "headstart")
    panels = grid["panelBankSectionConfig"]["panels"]
    for panel in panels:
        config = panel["config"]
        assert (config["groupBy"], config["groupAgg"], config["groupArea"]) == (
            "arm.value",
            "median",
            "minmax",
        )
        assert config["aggregate"] is True
        assert config["limit"] == 14
    curves = [panel["config"] for panel in panels if panel["viewType"] == "Run History Line Plot"]
    assert [curve["xAxis"] for curve in curves] == [
        "time/train_s",
        "trainer/epoch",
        "trainer/samples",
    ]
    assert all(curve["metrics"] == ["val/accuracy"] for curve in curves)
    bars = [panel["config"]["metrics"] for panel in panels if panel["viewType"] == "Bar Chart"]
    times = [[f"time_to_accuracy_s/{label}"] for label in ("0.90", "0.80", "0.95")]
    assert bars == [*times, ["images_per_s"]]
    assert (
        len({(panel["layout"]["x"], panel["layout"]["y"]) for panel in panels}) == len(panels) == 7
    )


def test_a_long_question_is_cut_in_the_title_only(tmp_path):
    question = "How much sooner? " * 20
    with WandbServer() as server:
        publish(
            tmp_path,
            server.url,
            config_with(question=question),
            markdown=MARKDOWN.replace("Is", question, 1),
        )
    view, blocks = saved(server)
    assert len(view["displayName"]) == 128
    assert any(question in block.get("content", "") for block in blocks)


def test_the_entity_of_the_config_is_taken_and_a_mode_of_now_goes_before_the_mode_of_the_runs(
    tmp_path,
):
    config = config_with(question="", mode="offline", entity="team")
    with WandbServer() as server:
        url = publish(tmp_path, server.url, config, environ={"WANDB_MODE": "online"})
    assert url == f"{server.url}/team/headstart/reports/probe--Vmlldzox"
    assert saved(server)[0]["entityName"] == "team"


@pytest.mark.parametrize(
    ("mode", "environ", "why"),
    [
        (
            None,
            {"WANDB_API_KEY": ""},
            "no API key: send the runs with `wandb sync`, and set WANDB_API_KEY)",
        ),
        (
            None,
            {"WANDB_API_KEY": "", "WANDB_MODE": ""},
            "no API key: send the runs with `wandb sync`, and set WANDB_API_KEY)",
        ),
        (
            "online",
            {"WANDB_API_KEY": ""},
            "no API key: send the runs with `wandb sync`, and set WANDB_API_KEY)",
        ),
        (
            "offline",
            {},
            "offline, wandb.mode asks for it: send the runs with `wandb sync`, "
            "and set WANDB_MODE=online)",
        ),
        (
            "online",
            {"WANDB_MODE": "disabled"},
            "disabled, WANDB_MODE asks for it: send the runs with `wandb sync`, and set",
        ),
    ],
)
def test_without_leave_to_go_online_nothing_is_asked_for(tmp_path, mode, environ, why):
    with WandbServer() as server:
        line = publish(
            tmp_path,
            server.url,
            config_with(mode=mode),
            environ=environ,
        )
    assert line.startswith(f"ValueError: no W&B Report is made ({why}")
    assert line.endswith("; the report itself is in runs/probe/report.html")
    assert server.paths == []


def test_a_mode_that_does_not_exist_is_named(tmp_path):
    line = publish(tmp_path, NOWHERE, config_with(), environ={"WANDB_MODE": "ofline"})
    assert line.startswith("ValueError: WANDB_MODE: 'ofline' is not allowed; ")
    assert line.endswith("did you mean 'offline'?")


@pytest.mark.parametrize(
    ("faults", "why", "operation"),
    [
        (
            {"project": "other"},
            "no project entity/headstart: track runs online, "
            "or send them with `wandb sync`, first)",
            "GetProjects",
        ),
        (
            {"denied": ("upsertView",)},
            "permission denied; check the key's rights to wandb.entity and wandb.project)",
            "upsertView",
        ),
        (
            {"denied": ("Viewer",)},
            "permission denied; check WANDB_BASE_URL, WANDB_API_KEY and the network)",
            "Viewer",
        ),
        ({"status": 401}, "check WANDB_BASE_URL, WANDB_API_KEY and the network)", "Viewer"),
        ({"status": 500}, "check WANDB_BASE_URL, WANDB_API_KEY and the network)", "Viewer"),
    ],
)
def test_a_server_that_will_not_is_told_in_one_sentence(tmp_path, faults, why, operation):
    with WandbServer(**faults) as server:
        line = publish(tmp_path, server.url, config_with())
    assert line.startswith("ValueError: no W&B Report is made (")
    assert line.endswith(f"{why}; the report itself is in runs/probe/report.html")
    assert server.operations[-1][0] == operation


def test_a_server_that_is_not_there_is_told_in_one_sentence(tmp_path):
    line = publish(tmp_path, NOWHERE, config_with())
    assert line.startswith(
        "ValueError: no W&B Report is made (AuthenticationError: "
        f"Failed to verify credentials with {NOWHERE}"
    )
    assert line.endswith(
        "check WANDB_BASE_URL, WANDB_API_KEY and the network); "
        "the report itself is in runs/probe/report.html"
    )


def test_a_server_slow_at_every_answer_is_waited_for_no_longer_than_told(tmp_path):
    with WandbServer(delay_s=1.5) as server:
        line = publish(tmp_path, server.url, config_with(), deadline_s=4)
    assert line.startswith(
        "ValueError: no W&B Report is made (not done within 4 s; check WANDB_BASE_URL"
    )
    assert server.asked("upsertView") == []


def test_a_malformed_key_is_told_but_not_shown(tmp_path):
    key = "short-" + CANARY[:20]
    line = publish(tmp_path, NOWHERE, config_with(), environ={"WANDB_API_KEY": key})
    assert line.startswith("ValueError: no W&B Report is made (AuthenticationError")
    assert CANARY[:20] not in line


def test_a_login_in_the_servers_url_is_not_shown(tmp_path):
    line = publish(tmp_path, f"https://user:{CANARY}@wandb.example", config_with())
    assert line.startswith("ValueError: no W&B Report is made (")
    assert CANARY not in line
