"""launch/bench.sh, which `make bench` calls: what it chooses, what it refuses and with which exit
code, and a whole run.
"""

import shutil
import subprocess
import sys

import pytest

from tests.clean_environment import CIFAR10_DIR
from tests.commands import ROOT, TINY, environment

# The discard port: refused at once.
NOWHERE = "--data.urls=[http://127.0.0.1:9/cifar-10-python.tar.gz]"


@pytest.fixture
def make_bench(tmp_path):
    """Runs the script in a checkout whose .venv is this interpreter; no data, no weights, and no
    hub.
    """
    checkout = tmp_path / "checkout"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    shutil.copytree(ROOT / "launch", checkout / "launch")
    for name in ("bench", "configs", "kernels", "tests"):
        (checkout / name).symlink_to(ROOT / name)
    python = checkout / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    env = environment(
        tmp_path, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"), OMP_NUM_THREADS=None
    )

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        script = str(checkout / "launch" / "bench.sh")
        return subprocess.run(
            ["bash", script],
            env=env | variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


def test_a_bare_machine_is_told_what_is_missing_and_gets_embedded(make_bench):
    # Stopped after the choice: the run itself takes minutes.
    done = make_bench(ARGS="--optim.lr=much")
    assert done.returncode == 2
    lines = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert "a GPU no: none for pretrained_vs_random, small_cnn" in lines
    assert "resnet18 a1_in1k no: not looked for without a GPU for pretrained_vs_random" in lines
    assert (
        "no EXP given, so the first that lacks nothing is taken of pretrained_vs_random, "
        in done.stderr
    )
    assert (
        "running configs/experiments/embedded.yaml with launch/accelerate/cpu.yaml, 1 process"
        in done.stderr
    )
    assert "optim.lr: 'much'" in done.stderr.splitlines()[-1]


def test_an_experiment_that_is_not_there_is_refused_with_the_nearest(make_bench):
    done = make_bench(EXP="embeded")
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert "did you mean 'configs/experiments/embedded.yaml'?" in done.stderr.splitlines()[-1]


def test_the_mission_without_data_or_hub_stops_with_one_sentence(make_bench, tmp_path):
    done = make_bench(EXP="configs/experiments/pretrained_vs_random.yaml", ARGS=NOWHERE)
    assert done.returncode == 2
    *_, last = done.stderr.splitlines()
    assert last.startswith("headstart: ")
    assert sum(line.startswith("headstart: ") for line in done.stderr.splitlines()) == 1
    for way in (
        "CIFAR-10",
        "http://127.0.0.1:9/cifar-10-python.tar.gz",
        "data.dir",
        "CIFAR10_DIR",
        "data.urls",
    ):
        assert way in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "checkout" / "runs").exists()


@pytest.mark.skipif(not CIFAR10_DIR, reason="CIFAR10_DIR is not set")
def test_the_mission_with_data_and_without_hub_stops_with_one_sentence(make_bench):
    done = make_bench(
        EXP="pretrained_vs_random",
        CIFAR10_DIR=CIFAR10_DIR,
    )
    assert done.returncode == 2
    *_, last = done.stderr.splitlines()
    assert last.startswith("headstart: weights.source: resnet18.a1_in1k cannot be had")
    for way in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "weights.file"):
        assert way in last


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--hardware.world_size=3"], "32 does not divide over 3 processes"),
        (
            ["--hardware.world_size=2", "--train.accumulate_steps=32"],
            "train.accumulate_steps: 32 does not divide a rank's 16 images",
        ),
    ],
)
def test_what_ranks_cannot_share_is_refused_before_they_are_started(verb, overrides, message):
    """By the plan that the script makes first; its exit code ends the script, as above."""
    code, out, err = verb("plan", "--fetch", TINY, *overrides)
    assert (code, out) == (2, "")
    assert message in err


def test_a_study_runs_to_its_report_on_as_many_processes_as_were_asked_for(make_bench, tmp_path):
    done = make_bench(EXP=TINY, ARGS=f"--output={tmp_path}/runs --blocks=1 --thresholds=[0.3,0.5]")
    assert done.returncode == 0, done.stderr
    assert "fast " in done.stdout
    assert (tmp_path / "runs" / "tiny" / "report.html").is_file()
    spaced = tmp_path / "my study.yaml"
    spaced.write_text((ROOT / TINY).read_text())
    again = make_bench(
        EXP=str(spaced), ARGS=f"--output={tmp_path}/runs --blocks=1 --thresholds=[0.3,0.5]"
    )
    assert again.returncode == 0, again.stderr
    assert "0 of 2 runs to do" in again.stdout
    refused = make_bench(EXP=TINY, ARGS=f"--output={tmp_path}/other --hardware.world_size=2")
    assert refused.returncode == 1
    assert "hardware.world_size: 2 processes were asked for, 1 started" in refused.stderr
