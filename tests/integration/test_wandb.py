"""The W&B tracker against wandb itself: offline files read back, a stand-in server, a server that
is not there.

Each run is tracked in its own process: wandb keeps state, threads and a service process.
"""

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clean_environment import cleared
from tests.integration.wandb_server import WandbServer

pytest.importorskip("wandb")

ROOT = Path(__file__).parents[2]
CANARY = "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffee1234"
SHORT_KEY = "short-" + CANARY[:30]
WANDB = Path(sys.executable).parent / "wandb"
ACCURACIES = [0.5, 0.85, 0.91, 0.92]
BOUND_S = 20  # waits of 2 s that the tracker is asked to keep to, on a busy machine
NOWHERE = "http://127.0.0.1:9"

DRIVER = """
import json, sys
from bench.trackers import Guarded
from bench.trackers.wandb import WandbTracker
from tests.unit.results_factory import make_config, make_look, make_looks, make_result
from tests.unit.results_factory import make_run_start

options = json.loads(sys.argv[1])
accuracies = options["accuracies"]
resumed_step = options.get("resumed_step", 0)
config = make_config(output=options["output"], wandb={"mode": options.get("mode")})
tracker = Guarded({"wandb": WandbTracker(config, init_timeout_s=2, finish_timeout_s=2)})
for seed in range(options.get("runs", 1)):
    tracker.start(make_run_start(seed=seed, block=seed, resumed_step=resumed_step))
    if options.get("untrained"):
        tracker.event(make_look(0, 0.1, loss=None, segments_s={}))
    for look in make_looks(accuracies):
        tracker.event(look)
    if options.get("ask"):
        print("ready", flush=True)
        sys.stdin.readline()
    if options.get("finished", True):
        tracker.finish(make_result(accuracies, seed=seed, block=seed, ledger_sha256="c" * 64))
tracker.close()
print("the run went on")
"""


def environment(home: Path, **variables: str) -> dict[str, str]:
    """This process's, without its W&B settings and its owner's keys."""
    return {
        **cleared(os.environ),
        "HOME": str(home),
        "NETRC": str(home / "netrc"),
        "NO_PROXY": "127.0.0.1",
        **variables,
    }


def begin(home: Path, *, environ: dict[str, str], **options) -> subprocess.Popen[str]:
    options = {"output": str(home / "runs"), "accuracies": ACCURACIES, **options}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(options)],
        cwd=ROOT,
        env=environment(home, **environ),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def end(process: subprocess.Popen[str], text: str = "") -> tuple[str, str]:
    try:
        return process.communicate(text, timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def track(home: Path, *, environ: dict[str, str], **options) -> str:
    """Track made-up runs in a fresh process; what it wrote to stderr.

    They must have gone on, whatever became of W&B.
    """
    out, err = end(begin(home, environ=environ, **options))
    assert out == "the run went on\n", err
    assert CANARY not in err
    return err


def records(home: Path, pattern: str = "offline-run-*") -> list[dict]:
    """Every record of the one matching `.wandb` file, as wandb's own CLI reads it."""
    (path,) = (home / "runs" / "probe" / "wandb").glob(f"{pattern}/*.wandb")
    lines = subprocess.check_output(
        [WANDB, "leet", "inspect", "--json", path], env=environment(home), text=True
    )
    return [json.loads(line) for line in lines.splitlines()]


def of_type(rows: list[dict], kind: str) -> list[dict]:
    return [row[kind] for row in rows if row["type"] == kind]


def exit_codes(rows: list[dict]) -> list[int]:
    return [ended["exit_code"] for ended in of_type(rows, "exit")]


def assert_no_canary(home: Path) -> None:
    """The API key, plain or as a header would carry it, is in no file."""
    needles = [CANARY.encode(), base64.b64encode(f"api:{CANARY}".encode())]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        assert not any(needle in path.read_bytes() for needle in needles), path


def assert_is_the_curve(rows: list[dict]) -> None:
    def column(key: str) -> list[float]:
        return [row[key] for row in rows]

    assert column("_step") == [5, 10, 15, 20]
    assert column("val/accuracy") == ACCURACIES
    assert column("val_by_epoch/accuracy") == ACCURACIES
    assert column("time/train_s") == [1, 2, 3, 4]
    assert column("trainer/epoch") == pytest.approx([320 * n / 1200 for n in (1, 2, 3, 4)])
    assert column("trainer/samples") == [320, 640, 960, 1280]
    assert column("so_far/images_per_s") == [320] * 4
    assert column("so_far/data_wait_fraction") == pytest.approx([0.05] * 4)
    losses = pytest.approx([2.3 * (1 - accuracy) for accuracy in ACCURACIES])
    assert column("val/loss") == losses
    assert column("val_by_epoch/loss") == losses


def assert_is_the_summary(summary: dict) -> None:
    wanted = {
        "status": "completed",
        "test/accuracy": 0.92,
        "images_per_s": 320,
        "compile_s": 21.5,
        "ledger_sha256": "c" * 64,
        "reached/0.80": True,
        "time_to_accuracy_s/0.80": 2,
        "reached/0.90": True,
        "time_to_accuracy_s/0.90": 3,
    }
    assert {name: summary.get(name) for name in wanted} == wanted


def test_an_offline_run_is_read_back_whole_and_sends_nothing(tmp_path):
    with WandbServer() as server:
        err = track(tmp_path, environ={"WANDB_BASE_URL": server.url})
    assert server.paths == []
    sync = f"wandb sync {tmp_path}/runs/probe/wandb/*run-*"
    assert err == f"wandb: offline, no API key; send later: {sync}\n"
    rows = records(tmp_path)
    assert_is_the_curve([history["item"] for history in of_type(rows, "history")])
    summary: dict = {}
    for record in of_type(rows, "summary"):
        summary |= record["update"]
    assert_is_the_summary(summary)
    (run,) = of_type(rows, "run")
    assert (run["run_id"], run["run_group"], run["job_type"]) == (
        "pretrained-s0-1a2b3c4d",
        "probe",
        "train",
    )
    assert (run["project"], run["tags"]) == ("headstart", ["cpu", "probe"])
    config = run["config"]["update"]
    assert (config["arm"], config["seed"], config["block"], config["config"]["optim"]["lr"]) == (
        "pretrained",
        0,
        0,
        1e-3,
    )
    axes = {
        metric["glob_name"]: metric["step_metric"]
        for metric in of_type(rows, "metric")
        if "glob_name" in metric
    }
    assert axes == {
        "val/*": "time/train_s",
        "so_far/*": "time/train_s",
        "val_by_epoch/*": "trainer/epoch",
    }
    assert exit_codes(rows) == [0]


def test_what_is_not_known_is_left_out(tmp_path):
    track(tmp_path, environ={"WANDB_MODE": "offline"}, untrained=True, accuracies=[0.5, 0.85, 0.85])
    rows = records(tmp_path)
    first = of_type(rows, "history")[0]["item"]
    names = {name for name in first if not name.startswith("_")}
    assert names == {
        "val/accuracy",
        "val_by_epoch/accuracy",
        "time/train_s",
        "trainer/epoch",
        "trainer/samples",
    }
    updates = [record["update"] for record in of_type(rows, "summary")]
    assert any(update.get("reached/0.90") is False for update in updates)
    assert any(update.get("time_to_accuracy_s/0.80") == 2 for update in updates)
    assert not any("time_to_accuracy_s/0.90" in update for update in updates)


def test_runs_that_were_cut_off_end_as_failed(tmp_path):
    track(tmp_path, environ={"WANDB_MODE": "offline"}, finished=False, runs=2)
    for seed in (0, 1):
        assert exit_codes(records(tmp_path, f"offline-run-*-s{seed}-*")) == [1]


def test_disabled_writes_and_sends_nothing(tmp_path):
    with WandbServer() as server:
        assert (
            track(
                tmp_path,
                environ={"WANDB_BASE_URL": server.url, "WANDB_API_KEY": CANARY},
                mode="disabled",
            )
            == ""
        )
    assert server.paths == []
    assert not (tmp_path / "runs").exists()


def test_a_server_receives_the_same_run(tmp_path):
    with WandbServer() as server:
        err = track(
            tmp_path, environ={"WANDB_BASE_URL": server.url, "WANDB_API_KEY": CANARY}, runs=2
        )
    assert err == f"wandb: online, an API key is there; {server.url}/entity/headstart\n"
    assert_is_the_curve(server.rows[:4])
    assert_is_the_curve(server.rows[4:])
    assert_is_the_summary(server.summary)
    assert not [path for path in server.paths if "otel" in path]
    assert server.exit_codes == [0, 0]
    first = server.asked("UpsertBucket")[0]
    assert (first["name"], first["groupName"], first["jobType"]) == (
        "pretrained-s0-1a2b3c4d",
        "probe",
        "train",
    )
    assert (first["project"], first["tags"]) == ("headstart", ["cpu", "probe"])
    config = json.loads(first["config"])
    assert (config["arm"]["value"], config["seed"]["value"], config["block"]["value"]) == (
        "pretrained",
        0,
        0,
    )
    assert config["config"]["value"]["optim"]["lr"] == 1e-3
    assert server.asked("RunResumeStatus") == []
    assert_no_canary(tmp_path)


def test_a_resumed_run_goes_on_where_the_server_has_it(tmp_path):
    with WandbServer() as server:
        track(
            tmp_path,
            environ={"WANDB_BASE_URL": server.url, "WANDB_API_KEY": CANARY},
            resumed_step=4,
        )
    names = [request["name"] for request in server.asked("RunResumeStatus")]
    assert names == ["pretrained-s0-1a2b3c4d"]
    assert_is_the_curve(server.rows)


def test_a_server_that_refuses_is_told_loudly_once_and_the_runs_can_be_sent_later(tmp_path):
    began = time.monotonic()
    err = track(tmp_path, environ={"WANDB_BASE_URL": NOWHERE, "WANDB_API_KEY": CANARY}, runs=2)
    assert time.monotonic() - began < BOUND_S
    assert err.count("\n") == err.count("WARNING: OFFLINE from here on (CommError: ") == 1
    for run in ("pretrained-s0-1a2b3c4d", "pretrained-s1-1a2b3c4d"):
        rows = records(tmp_path, f"offline-run-*-{run}")
        assert_is_the_curve([history["item"] for history in of_type(rows, "history")])
        assert of_type(rows, "run")[0]["config"]["update"]["tracking"].startswith(
            "offline: online failed: CommError"
        )
    assert_no_canary(tmp_path)
    with WandbServer() as server:
        paths = (tmp_path / "runs" / "probe" / "wandb").glob("*run-*")
        environ = environment(tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=CANARY)
        subprocess.run(
            [WANDB, "sync", "--yes", *sorted(paths)],
            cwd=tmp_path,
            env=environ,
            check=True,
            capture_output=True,
        )
    assert [row["val/accuracy"] for row in server.rows if "val/accuracy" in row] == ACCURACIES * 2


@pytest.mark.parametrize(
    ("key", "cause"),
    [("", "UsageError: no API key"), (SHORT_KEY, "AuthenticationError")],
    ids=["none", "short"],
)
def test_asked_to_be_online_without_a_good_key_it_goes_offline_loudly(tmp_path, key, cause):
    err = track(tmp_path, environ={"WANDB_BASE_URL": NOWHERE, "WANDB_API_KEY": key}, mode="online")
    assert err.startswith(f"wandb: WARNING: OFFLINE from here on ({cause}")
    assert SHORT_KEY not in err
    assert len(of_type(records(tmp_path), "history")) == 4


def test_a_server_that_dies_during_a_run_does_not_hold_it_up(tmp_path):
    with WandbServer() as server:
        process = begin(
            tmp_path, environ={"WANDB_BASE_URL": server.url, "WANDB_API_KEY": CANARY}, ask=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    out, err = end(process, "\n")
    assert time.monotonic() - began < BOUND_S
    assert out == "the run went on\n"
    assert "WARNING: OFFLINE from here on (TimeoutError" in err
    assert len(of_type(records(tmp_path, "run-*"), "history")) == 4
    assert_no_canary(tmp_path)
