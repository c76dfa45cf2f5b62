"""The day's driver: no step ends the rest, all is written at any moment, a kit is passed on."""

import json
import subprocess
import sys
import tarfile
import time
from dataclasses import replace

import pytest

from bench.experiment.machine_record import CARD_NAME
from bench.experiment.throughput_records import ArmProfile, TimeOf
from launch.gpu_day import (
    ROOT,
    Diary,
    described,
    kit_environment,
    main,
    pack,
    put_aside,
    run_steps,
    step_environment,
)
from launch.gpu_day_files import DaySummary, read_part
from launch.gpu_day_run import Step
from launch.gpu_day_summary import markdown
from tests.unit.launch.day import make_day, make_summary, timing, write_figures


def step(name: str, source: str = "", **fields) -> Step:
    return Step(name=name, command=(sys.executable, "-c", source), limit_s=20, **fields)


def run(steps: list[Step], day, left_s: float = 100) -> DaySummary:
    diary = Diary(day.out, described(make_summary(), day))
    run_steps(steps, day, diary, time.monotonic() + left_s)
    return diary.summary


def test_a_red_step_does_not_end_the_rest(tmp_path):
    steps = [
        step("red", "print('why'); raise SystemExit(1)"),
        step("green"),
        step("after_red", needs="red"),
        step("after_green", needs="green"),
        step("not_here", skip="no data"),
    ]
    summary = run(steps, make_day(tmp_path))
    results = {each.name: (each.status, each.reason) for each in summary.steps}
    assert results == {
        "red": ("red", "exit code 1"),
        "green": ("ok", ""),
        "after_red": ("skipped", "red was red"),
        "after_green": ("ok", ""),
        "not_here": ("skipped", "no data"),
    }
    statuses = {name: status for name, (status, _) in results.items()}
    written = read_part(tmp_path / "out" / "summary.json")
    assert (written.date, written.statuses) == (summary.date, statuses)
    text = (tmp_path / "out" / "summary.md").read_text()
    assert "| after_red | skipped | 0.0 | 20 | red was red |" in text
    assert "## red: end of its log\n\n```\nwhy\n```" in text


def test_the_summary_is_written_after_each_step(tmp_path):
    day = make_day(tmp_path)
    count = "import json; print(len(json.load(open('out/summary.json'))['steps']))"
    run([step("first"), step("second", count)], day)
    assert (day.out / "logs" / "second.txt").read_text() == "1\n"


def test_without_time_a_step_is_not_begun(tmp_path):
    summary = run([step("late")], make_day(tmp_path), left_s=5)
    assert summary.steps[0].reason == "no time left"
    assert not (tmp_path / "out" / "logs" / "late.txt").exists()


def test_a_rehearsal_says_so_over_every_figure(tmp_path):
    day = make_day(tmp_path, rehearsal=True)
    write_figures(day.out, "throughput")
    summary = run([step("tests", tail_lines=3)], day)
    text = (day.out / "summary.md").read_text()
    assert (summary.label, summary.rehearsal) == ("REHEARSAL on a CPU", True)
    assert text.startswith("# REHEARSAL on a CPU: no figure below is a GPU's\n")
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(headings) == 2
    assert all(line.startswith("## REHEARSAL on a CPU: ") for line in headings)
    assert "| card | none (a CPU) |" in text


def test_a_gpu_s_summary_has_its_rows(tmp_path):
    day = make_day(tmp_path, "wandb")
    write_figures(day.out, "throughput", faults={"torch": "RuntimeError: a | b"})
    summary = run([step("machine")], day)
    text = markdown(summary, day.out, {})
    assert "REHEARSAL" not in text
    assert "- wandb cannot be imported: studies report to the console alone" in text
    assert "| card | a card |" in text
    assert "| random | harness, dali | 10,000 | 10.000 | 3.500 | 0.250 |" in text
    assert "| random | harness, torch | RED |  |  | RuntimeError: a \\| b |" in text
    assert "| random | 256, 128 px, bf16 | 1.100 | 1.000 (10.0%) | 50,000 | 3.00 | 21.0 |" in text
    write_figures(
        day.out, "throughput", bare=None, overhead_ratio=None, harness=timing(1, issue_ms=None)
    )
    text = markdown(summary, day.out, {})
    assert "| random | harness, one batch | 1 | 10.000 | - | 0.250 |" in text
    assert "bare loop, one batch |" not in text


def test_a_profile_names_its_kernels(tmp_path):
    day = make_day(tmp_path)
    profile = ArmProfile(
        arm="random",
        loader="dali",
        steps=20,
        busy_fraction=0.75,
        long_gaps=1.5,
        gap_ms=0.25,
        kernels=[TimeOf("gemm|relu", 1.25, 3.0)],
        host=[],
    )
    write_figures(day.out, "throughput", profile=profile)
    text = markdown(make_summary(machine=day.machine), day.out, {})
    heading = "random from dali, 20 steps; device busy 75.0%, gaps 0.250 ms a step, 1.5 long ones."
    assert f"## Profile\n\n{heading}" in text
    assert "| `gemm\\|relu` | 1.2500 | 3.0 |" in text


def test_kernels_have_their_rows_and_a_torn_file_none(tmp_path):
    day = make_day(tmp_path)
    figures = {"images_per_s": 2e6, "gb_per_s": 3000.0, "ratios": {"copy": {"ratio": 0.5}}}
    content = json.dumps({"benchmarks": [{"name": "test_augment[op]", "extra_info": figures}]})
    file = day.out / "kernels.json"
    file.write_text(content)
    text = markdown(make_summary(), day.out, {})
    assert "| test_augment[op] | 2,000,000 | 3,000 | 0.5x copy |" in text
    file.write_text(content[:-9])
    assert "Kernels" not in markdown(make_summary(), day.out, {})


def test_the_driver_needs_the_standard_library_alone():
    command = [sys.executable, "-S", "-c", "import launch.gpu_day"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_torch_that_sees_no_gpu_beside_a_card_is_told(tmp_path):
    day = make_day(tmp_path, rehearsal=True)
    machine = replace(day.machine, nvidia_smi={CARD_NAME: "a card"})
    summary = described(make_summary(), replace(day, machine=machine))
    assert summary.notes == ("nvidia-smi shows a card, but torch sees no GPU: see machine.json",)


def test_a_kit_is_passed_on_and_nothing_beside_it(tmp_path):
    (tmp_path / "data").mkdir()
    environment = {"KIT": str(tmp_path), "CIFAR10_DIR": "/images", "PYTHONPATH": "/mine"}
    variables = step_environment(environment)
    assert variables["PYTHONPATH"] == f"{tmp_path}/site:/mine"
    assert not {"CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR"} & set(variables)
    (tmp_path / "data" / "train.parquet").touch()
    (tmp_path / "data" / "a.safetensors").touch()
    variables = step_environment(environment)
    assert variables["CIFAR10_DIR"] == variables["HEADSTART_WEIGHTS_DIR"] == f"{tmp_path}/data"
    assert kit_environment(tmp_path, {})["PYTHONPATH"] == f"{tmp_path}/site"


def test_without_a_kit_the_environment_s_folders_stay(tmp_path):
    variables = step_environment({"CIFAR10_DIR": "/images", "HEADSTART_CACHE": "/cache"})
    assert (variables["CIFAR10_DIR"], variables["HEADSTART_CACHE"]) == ("/images", "/cache")
    assert variables["WANDB_MODE"] == "offline"
    assert "HEADSTART_WEIGHTS_DIR" not in variables


def test_results_hold_logs_and_ledgers_and_no_weights(tmp_path):
    for name in (
        "logs/a.txt",
        "run/events.rank0.jsonl",
        "w.safetensors",
        "throughput/trace.json.gz",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    for _ in range(2):  # its own first archive is not in the second
        pack(tmp_path)
    with tarfile.open(tmp_path / "results.tar.gz") as archive:
        names = archive.getnames()
    assert names == ["logs/a.txt", "run/events.rank0.jsonl", "throughput/trace.json.gz"]


def test_an_earlier_day_is_put_aside(tmp_path):
    out = tmp_path / "gpu-day"
    put_aside(out)
    out.mkdir()
    Diary(out, make_summary()).interrupt()
    assert json.loads((out / "summary.json").read_text())["interrupted"] is True
    put_aside(out)
    assert [path.name for path in tmp_path.iterdir()] == ["gpu-day-2026-11-30T100000+0000"]


@pytest.mark.parametrize("part", ["3", "one"])
def test_another_part_is_refused(part, capsys):
    assert main({"PART": part}) == 2
    assert f"PART={part}: allowed: 1, 2, or nothing for both" in capsys.readouterr().err
