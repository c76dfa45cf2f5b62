"""Tuning as a user does it: killed and gone on with, a layer that runs, a report that counts it, a
budget that holds.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bench.cli import main
from bench.config.load import load
from bench.experiment.tune import Tuner
from tests.commands import ROOT, bench, environment
from tests.unit.training.factory import opened_world

RATES = "tests/experiments/rates.yaml"
ARMS = ("still", "flipped")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Tuned in two goes, the first of them killed, then run.

    Gives the finished ledgers by name, the second go, the study's directory.
    """
    folder = tmp_path_factory.mktemp("tuned")
    root = folder / "rates"
    env = environment(folder)
    command = [sys.executable, "-m", "bench", "tune", RATES, f"--output={folder}"]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        deadline_s = time.monotonic() + 200
        while len(list(root.glob("tuning/*/result.json"))) < 3:
            assert process.poll() is None, "the tuning ended before it could be killed"
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (root / "tuned.yaml").exists()
    before = {
        path.parent.name: path.with_name("events.rank0.jsonl").read_bytes()
        for path in root.glob("tuning/*/result.json")
    }
    tuned = bench("tune", RATES, f"--output={folder}", env=env)
    assert tuned.returncode == 0, tuned.stderr
    done = bench("run", RATES, f"--output={folder}", f"--layer={root}/tuned.yaml", env=env)
    assert done.returncode == 0, done.stderr
    return before, tuned, root


@pytest.fixture
def copy(study, tmp_path):
    """A copy of the study to spoil."""
    shutil.copytree(study[2], tmp_path / "rates")
    return tmp_path / "rates"


def test_a_killed_tuning_goes_on_from_its_finished_trials(study):
    before, _, root = study
    assert len(before) >= 3
    for name, ledger in before.items():
        assert (root / "tuning" / name / "events.rank0.jsonl").read_bytes() == ledger
    assert len(list((root / "tuning").glob("*/result.json"))) == 8


def test_it_goes_on_beyond_the_edge_and_finds_the_rate_that_learns(study):
    _, tuned, root = study
    assert yaml.safe_load((root / "tuned.yaml").read_text()) == {
        "arms": {arm: {"optim.lr": 1e-2} for arm in ARMS}
    }
    arms = json.loads((root / "report.json").read_text())["tuning"]["arms"]
    for arm in ARMS:
        tuning = arms[arm]
        assert [row["lr"] for row in tuning["trials"]] == [1e-4, 1e-3, 1e-2, 1e-1]
        assert (tuning["samples"], tuning["at_edge"]) == (4 * 512, False)
        assert tuning["expected_best"][-1] == tuning["trials"][2]["score"] > 0.2
    lines = tuned.stdout.splitlines()[-13:]
    assert [lines[0], lines[6]] == [f"{arm}: best learning rate 0.01" for arm in ARMS]
    assert lines[12] == f"next: run the experiment as it was tuned, with --layer={root}/tuned.yaml"


def test_the_layers_rates_are_what_runs(study):
    runs = [json.loads(path.read_text())["start"] for path in study[2].glob("*/result.json")]
    rates = sorted((run["arm"], run["seed"], run["config"]["optim"]["lr"]) for run in runs)
    assert rates == [("flipped", 0, 1e-2), ("still", 0, 1e-2)]


def test_a_trial_has_its_own_rate_and_seed_on_record(study):
    starts = [
        json.loads(path.read_text())["start"]
        for path in study[2].glob("tuning/still-lr*/result.json")
    ]
    rates = {start["config"]["optim"]["lr"]: start["reality"]["schedule.rates"] for start in starts}
    assert rates[1e-2] == "0.0025, 0.01, 0.01"
    assert {start["seed"] for start in starts} == {1_000_000}


def test_the_report_adds_the_seconds_of_every_trial(study):
    root = study[2]
    report = json.loads((root / "report.json").read_text())
    section = (root / "report.md").read_text().partition("## Tuning\n")[2].partition("\n## ")[0]
    assert [arm["name"] for arm in report["arms"]] == list(ARMS)
    for arm in report["arms"]:
        name = arm["name"]
        paths = root.glob(f"tuning/{name}-lr*/result.json")
        runs = [json.loads(path.read_text()) for path in paths]
        tuning_s = report["tuning"]["arms"][name]["seconds"]
        assert tuning_s == pytest.approx(sum(run["segments_s"]["train"] for run in runs))
        (line,) = [line for line in section.splitlines() if line.startswith(f"| {name} |")]
        row = line.strip("| ").split(" | ")
        assert row[1] == "0.0001; 0.001; 0.01 (best); 0.1"
        run_s = arm["thresholds"][0]["time_to_accuracy_s"]["median"]
        cells_s = [float(row[-2]), float(row[-1])]
        # As they are printed: to hundredths of a second.
        assert cells_s == pytest.approx([tuning_s, run_s + tuning_s], abs=0.005)


def test_trials_are_verified_with_the_study(copy, capsys):
    assert main(("verify", str(copy))) == 0
    ledger = sorted(copy.glob("tuning/flipped-lr*/events.rank0.jsonl"))[0]
    text = ledger.read_text()
    ledger.write_text(text.replace('"correct":', '"correct":1', 1))
    assert main(("verify", str(copy))) == 1
    problem = f"tuning/{ledger.parent.name}: result.json is not what its ledger folds to"
    assert problem in capsys.readouterr().err
    ledger.write_text(text)
    shutil.rmtree(ledger.parent)
    assert main(("verify", str(copy))) == 1
    assert "report.json is not what the ledgers give" in capsys.readouterr().err


def test_another_config_is_refused_before_it_adds_to_what_is_on_record(study):
    _, _, root = study
    before = set(root.rglob("*"))
    config = load(ROOT / RATES, [f"--output={root.parent}", "--optim.weight_decay=0.1"])
    excess = pytest.raises(ValueError, match="still has 2 runs at one learning rate, 1 allowed")
    with opened_world() as world, excess:
        Tuner(config, world).run()
    assert set(root.rglob("*")) == before


def test_a_trial_too_many_fails_the_arm_and_leaves_the_verdict_undecided(copy):
    (trial,) = copy.glob("tuning/still-lr0.01-*")
    again = Path(shutil.copytree(trial, copy / "tuning" / "again"))
    ledger = again / "events.rank0.jsonl"
    ledger.write_text(ledger.read_text().replace(trial.name, "again"))
    (copy / "tuned.yaml").unlink()
    done = bench("tune", RATES, f"--output={copy.parent}", env=environment(copy))
    assert done.returncode == 2
    assert "still has 2 runs at one learning rate, 1 allowed" in done.stderr.splitlines()[-1]
    assert not (copy / "tuned.yaml").exists()
    assert main(("report", str(copy))) == 0
    verdict = json.loads((copy / "report.json").read_text())["verdict"]
    assert verdict["verdict"] == "undecided"
    assert verdict["reason"] == (
        "tuning was not fair: still has 2 runs at one learning rate, 1 allowed; "
        "arms were not tuned alike: still 4 rates and 2,560 images, "
        "flipped 4 rates and 2,048 images"
    )
