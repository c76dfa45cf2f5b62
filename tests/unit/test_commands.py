"""Tests, and what they start, hear nothing of how they were started themselves."""

import os
import subprocess
import sys

import pytest

from tests.clean_environment import is_cleared
from tests.commands import ROOT, bench, environment

# One of each kind, each set to what would change or break what is started.
HOSTILE = {
    "ACCELERATE_DYNAMO_BACKEND": "inductor",
    "ACCELERATE_MIXED_PRECISION": "fp8",
    "ARGS": "--optim.lr=7",
    "CIFAR10_DIR": "/nowhere",
    "DEEPSPEED_CONFIG_FILE": "/nowhere",
    "EXP": "none",
    "FSDP_VERSION": "2",
    "GPUS": "none",
    "GROUP_RANK": "1",
    "HEADSTART_CACHE": "/proc/none",
    "HEADSTART_WEIGHTS_DIR": "/nowhere",
    "HF_ENDPOINT": "http://127.0.0.1:9",
    "HUGGING_FACE_HUB_TOKEN": "none",
    "K": "none",
    "KIT": "/nowhere",
    "LOCAL_RANK": "1",
    "MASTER_PORT": "none",
    "PART": "none",
    "PYTHON": "/nowhere/python",
    "RANK": "1",
    "SLURM_PROCID": "1",
    "TORCH": "none",
    "TORCHDYNAMO_DISABLE": "1",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCH_LOGS": "none",
    "TRANSFORMERS_OFFLINE": "none",
    "TRITON_PRINT_AUTOTUNING": "1",
    "WANDB_MODE": "none",
    "WORLD_SIZE": "2",
}


PROBE = """
import os
from tests.clean_environment import CIFAR10_DIR

def test():
    assert not {"RANK", "WANDB_MODE", "EXP", "CIFAR10_DIR"} & set(os.environ)
    assert CIFAR10_DIR == "/nowhere"
"""


@pytest.fixture
def hostile(monkeypatch):
    """An environment that decides otherwise wherever it is heard."""
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_variable_of_each_kind_is_cleared(name):
    assert is_cleared(name)


@pytest.mark.parametrize("name", ["PATH", "HOME", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"])
def test_what_belongs_to_the_machine_is_kept(name):
    assert not is_cleared(name)


def test_what_is_started_has_what_the_test_gives_it_alone(tmp_path, monkeypatch, hostile):
    monkeypatch.setenv("KEPT", "yes")
    variables = environment(tmp_path, EXP="mine", KEPT=None)
    heard = {name: variables[name] for name in HOSTILE if name in variables}
    assert heard == {"EXP": "mine", "HEADSTART_CACHE": str(tmp_path / "cache")}
    assert "KEPT" not in variables
    assert variables["PATH"] == os.environ["PATH"]


def test_a_verb_answers_as_it_does_elsewhere(tmp_path, hostile):
    done = bench("plan", "small_cnn", env=environment(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "551,018" in done.stdout


def test_the_help_is_what_it_is_elsewhere(tmp_path, hostile, monkeypatch):
    env = environment(tmp_path)
    shown = bench("--help", env=env)
    for name in HOSTILE:
        monkeypatch.delenv(name)
    assert environment(tmp_path) == env
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "usage: " in shown.stdout


@pytest.mark.parametrize("processes", ["-n0", "-n1"])
def test_this_process_hears_nothing_either(tmp_path, hostile, processes):
    """A pytest of its own, with this folder's conftest. Where real data lie it knows all the same,
    however many processes run the tests.
    """
    (tmp_path / "test_probe.py").write_text(PROBE)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", processes]
    command += ["-p", "tests.conftest", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=60
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_make_inside_a_make_does_not_take_its_args(tmp_path, monkeypatch):
    """As `make test ARGS=...` has it, whose MAKEFLAGS would decide ARGS in every make below."""
    monkeypatch.setenv("MAKEFLAGS", " -- ARGS=of-the-outer-make")
    monkeypatch.setenv("ARGS", "of-the-outer-make")
    shown = subprocess.run(
        ["make", "--dry-run", "test"],
        cwd=ROOT,
        env=environment(tmp_path, ARGS="of-this-one"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "of-this-one" in shown.stdout
    assert "of-the-outer-make" not in shown.stdout
