"""A whole small study as a user runs it: store, report, restart, kill and resume, and every refusal
before any work.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bench.config.load import load
from bench.experiment.plan import plan, run_ids
from bench.ledger.events import Evaluated, RunStarted, RunStopped, read_events
from bench.ledger.fold import segment_gaps
from bench.ledger.json_records import to_json
from bench.ledger.store import RunStore
from bench.models.weights import save_weights
from tests.commands import ROOT, TINY, bench, environment
from tests.experiments.networks import two_convolutions
from tests.ranks import run_ranks

IDS = run_ids(plan(load(ROOT / TINY)))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The tiny study, run once: (output of the command, its directory, its environment)."""
    folder = tmp_path_factory.mktemp("study")
    env = environment(folder)
    done = bench("run", TINY, f"--output={folder}/runs", env=env)
    assert done.returncode == 0, done.stderr
    return done, folder / "runs" / "tiny", env


def test_a_study_ends_with_one_sentence_a_picture_and_a_page(study):
    done, root, _ = study
    *_, sentence, picture, page = done.stdout.strip().splitlines()
    assert sentence.startswith("fast ")
    answers = [line for line in done.stdout.splitlines() if "verdict: " in line]
    assert len(answers) == 3  # after each block, and at the end
    assert answers[1:] == [sentence, sentence]
    assert picture.split()[-1] == str(root / "report.png")
    assert page.split()[-1] == str(root / "report.html")
    for name in ("report.png", "report.html", "report.md", "report.json", "plan.json"):
        assert (root / name).stat().st_size > 200, name


def test_every_run_has_a_directory_with_its_config_ledger_and_result(study):
    _, root, _ = study
    assert sorted(p.name for p in root.iterdir() if p.is_dir()) == sorted(IDS)
    for run_id in IDS:
        result = json.loads((root / run_id / "result.json").read_text())
        assert (result["run_id"], result["status"]) == (run_id, "completed")
        assert len(result["looks"]) == 8
        config = yaml.safe_load((root / run_id / "config.yaml").read_text())
        assert config["data"]["source"] == "digits"
        assert result == to_json(RunStore(root).result(run_id))  # folded again from the ledger


def test_the_arms_learn_and_the_seeds_differ(study):
    _, root, _ = study
    results = RunStore(root).results(IDS)
    assert len(results) == len(IDS)
    curves = set()
    for result in results:
        curves.add(tuple(evaluation.correct for evaluation in result.evaluations))
    assert len(curves) == len(results)
    fast = [result for result in results if result.arm == "fast"]
    assert len(fast) == len(IDS) / 2
    for result in fast:
        assert max(evaluation.accuracy for evaluation in result.evaluations) > 0.3


def test_segments_sum_to_the_time_between_start_and_stop(study):
    _, root, _ = study
    for run_id in IDS:
        events = read_events(root / run_id / "events.rank0.jsonl")
        assert segment_gaps(events) == []
        start = events[0]
        stop = events[-1]
        assert isinstance(start, RunStarted)
        assert isinstance(stop, RunStopped)
        passed_s = (stop.mono_ns - start.mono_ns) / 1e9
        recorded_s = sum(stop.data.segments_s.values()) - sum(start.data.segments_s.values())
        assert recorded_s == pytest.approx(passed_s, rel=0.01)


def test_the_same_command_again_does_nothing_but_tell(study):
    _, root, env = study
    before = {path: path.stat().st_mtime_ns for run_id in IDS for path in (root / run_id).iterdir()}
    again = bench("run", TINY, f"--output={root.parent}", env=env)
    assert again.returncode == 0
    assert "0 of 4 runs to do" in again.stdout
    assert "fast " in again.stdout.splitlines()[-3]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_configuration_makes_its_own_runs_beside(study, tmp_path):
    _, root, _ = study
    changed = run_ids(plan(load(ROOT / TINY, ["--optim.weight_decay=0.1"])))
    assert not set(changed) & {path.name for path in root.iterdir()}


def numbers(root: Path, run_id: str) -> tuple:
    """What a run computed, to the last bit: its evaluations, and its last scores on test."""
    result = RunStore(root).result(run_id)
    assert result is not None
    curve = [
        (evaluation.step, evaluation.correct, evaluation.loss) for evaluation in result.evaluations
    ]
    return curve, result.test_correct, result.test_loss


def kill_in_third_run(output: Path, env: dict[str, str], *overrides: str) -> None:
    """Run the study and have it killed in its third run's steps."""
    arguments = ["run", TINY, f"--output={output}", *overrides]
    (killed,) = run_ranks(arguments, env, size=1, disturb="die:0:178")
    assert killed.code == -9


def test_killed_in_a_run_it_folds_to_interrupted_and_completes_with_the_same_numbers(
    study, tmp_path
):
    _, straight, env = study
    root = tmp_path / "runs" / "tiny"
    kill_in_third_run(root.parent, env)
    statuses = [result.status for result in RunStore(root).results(IDS)]
    assert statuses == ["completed", "completed", "interrupted"]
    before = (root / IDS[0] / "events.rank0.jsonl").read_bytes()
    done = bench("run", TINY, f"--output={tmp_path}/runs", env=env)
    assert done.returncode == 0, done.stderr
    assert "2 of 4 runs to do" in done.stdout
    assert (root / IDS[0] / "events.rank0.jsonl").read_bytes() == before
    for run_id in IDS:
        assert numbers(root, run_id) == numbers(straight, run_id)


@pytest.mark.parametrize(
    ("check_every_steps", "stop_step"),
    [
        (4, 8),  # looked at in step 4, read four steps later
        (100, 16),  # looked at before the first evaluation
    ],
)
def test_a_run_whose_loss_is_lost_has_diverged_before_it_is_evaluated(
    tmp_path, check_every_steps, stop_step
):
    """At this rate the weights overflow within four steps."""
    overrides = [
        "--optim.lr=1e20",
        "--blocks=1",
        "--train.samples=512",
        "--evaluation.every_samples=512",
        f"--train.check_every_steps={check_every_steps}",
    ]
    env = environment(tmp_path)
    done = bench("run", TINY, f"--output={tmp_path}/runs", *overrides, env=env)
    assert done.returncode == 0, done.stderr
    (slow,) = (tmp_path / "runs" / "tiny").glob("slow-*")
    events = read_events(slow / "events.rank0.jsonl")
    assert not [event for event in events if isinstance(event, Evaluated)]
    stop = events[-1]
    assert isinstance(stop, RunStopped)
    assert (stop.data.status, stop.step) == ("diverged", stop_step)
    (fast,) = (tmp_path / "runs" / "tiny").glob("fast-*")
    assert json.loads((fast / "result.json").read_text())["status"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (["--precision=fp16"], {}, "precision: 'fp16' is not computed on a CPU"),
        (["--model.name=resnet81"], {}, "resnet18"),
        (["--data.source=cifar10", "--train.samples=1024"], {}, "CIFAR10_DIR"),
        (["--weights.source=file", "--weights.file=none.safetensors"], {}, "HEADSTART_WEIGHTS_DIR"),
        (["--compile.enabled=true"], {"CXX": "no-such-compiler"}, "no-such-compiler"),
        (["--hardware.world_size=2"], {}, "2 processes were asked for, 1 started"),
        (["--data.train_samples=5000"], {}, "5000"),
        (["--optim.lrr=1"], {}, "did you mean 'lr'?"),
    ],
)
def test_what_cannot_run_is_one_line_before_any_work(tmp_path, arguments, changes, message):
    done = bench(
        "run", TINY, f"--output={tmp_path}/runs", *arguments, env=environment(tmp_path, **changes)
    )
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("headstart:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_an_output_that_cannot_be_written_is_found_before_any_work(tmp_path):
    (tmp_path / "runs").write_text("a file where the directory should be")
    done = bench("run", TINY, f"--output={tmp_path}/runs", env=environment(tmp_path))
    assert done.returncode == 2
    assert "cannot write to" in done.stderr


def test_a_killed_launcher_leaves_no_orphan(tmp_path):
    launch = ["accelerate.commands.launch", "--quiet", "--config_file=launch/accelerate/cpu.yaml"]
    study = ["bench", "run", TINY, f"--output={tmp_path}/runs", "--train.samples=65536"]
    launcher = subprocess.Popen(
        [sys.executable, "-m", *launch, "-m", *study],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline_s = time.monotonic() + 120
    while not list((tmp_path / "runs").glob("tiny/*/events.rank0.jsonl")):
        assert time.monotonic() < deadline_s, "the study did not begin"
        time.sleep(0.1)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    assert children
    launcher.kill()
    launcher.wait()
    deadline_s = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline_s, "the trainer outlived its launcher"
        time.sleep(0.1)


def test_finished_runs_from_another_weights_file_are_not_mixed_with_todays(tmp_path):
    file = tmp_path / "w.safetensors"
    arguments = ["run", TINY, f"--output={tmp_path}/runs", "--train.samples=256"]
    arguments += ["--weights.source=file", f"--weights.file={file}"]
    save_weights(file, two_convolutions(10).state_dict(), {})
    done = bench(*arguments, "--blocks=1", env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    save_weights(file, two_convolutions(10).state_dict(), {})
    done = bench(*arguments, env=environment(tmp_path))
    assert done.returncode == 2
    assert "was made with other weights" in done.stderr


@pytest.mark.parametrize(
    ("pattern", "other", "message"),
    [
        (r'("dataset":.*?"sha256": ?")\w{64}', r"\g<1>" + "0" * 64, "other images"),
        (
            r'"world_size": ?1',
            '"world_size":8',
            "was made by 8 processes on ",
        ),
    ],
)
def test_finished_runs_on_other_images_or_processes_are_not_mixed_with_todays(
    study, tmp_path, pattern, other, message
):
    _, finished, env = study
    root = tmp_path / "runs" / "tiny"
    shutil.copytree(finished, root)
    shutil.rmtree(root / IDS[-1])
    ledger = root / IDS[0] / "events.rank0.jsonl"
    changed, count = re.subn(pattern, other, ledger.read_text())
    assert count
    ledger.write_text(changed)
    done = bench("run", TINY, f"--output={tmp_path}/runs", env=env)
    assert done.returncode == 2
    assert message in done.stderr
