"""The day's driver: no step ends the rest, everything is told at any moment, a kit's folder is passed on."""

import json
import sys
import tarfile
import time

import pytest

from launch.gpu_day import (
    Diary,
    described,
    first_head,
    kit_environment,
    main,
    pack,
    put_aside,
    run_steps,
    step_environment,
)
from launch.gpu_day_run import Step
from launch.gpu_day_summary import markdown
from tests.unit.launch.day import make_day, timing, write_figures


def step(name: str, source: str = "", **fields) -> Step:
    return Step(name=name, command=(sys.executable, "-c", source), limit_s=20, **fields)


def run(steps: list[Step], day, left_s: float = 100) -> dict:
    diary = Diary(out=day.out, head=first_head("1") | described(day), outcomes=[], tails={})
    run_steps(steps, day, diary, time.monotonic() + left_s)
    return json.loads((day.out / "summary.json").read_text())


def test_a_red_step_does_not_end_the_rest(tmp_path):
    steps = [
        step("red", "print('why'); raise SystemExit(1)"),
        step("green"),
        step("after_red", needs="red"),
        step("after_green", needs="green"),
        step("not_here", skip="no data"),
    ]
    summary = run(steps, make_day(tmp_path))
    results = {each["name"]: (each["status"], each["reason"]) for each in summary["steps"]}
    assert results == {
        "red": ("red", "exit code 1"),
        "green": ("ok", ""),
        "after_red": ("skipped", "red was red"),
        "after_green": ("ok", ""),
        "not_here": ("skipped", "no data"),
    }
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
    assert summary["steps"][0]["reason"] == "no time left"
    assert not (tmp_path / "out" / "logs" / "late.txt").exists()


def test_a_rehearsal_says_so_over_every_figure(tmp_path):
    day = make_day(tmp_path, rehearsal=True)
    write_figures(day.out, "throughput")
    summary = run([step("tests", tail_lines=3)], day)
    text = (day.out / "summary.md").read_text()
    assert (summary["label"], summary["rehearsal"]) == ("REHEARSAL on a CPU", True)
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


def test_torch_that_sees_no_gpu_beside_a_card_is_told(tmp_path):
    day = make_day(tmp_path, rehearsal=True)
    day.machine["nvidia_smi"]["name"] = "a card"
    notes = described(day)["notes"]
    assert notes == ["nvidia-smi shows a card, but torch sees no GPU: see machine.json"]


def test_a_kit_is_passed_on_and_nothing_beside_it(tmp_path):
    (tmp_path / "data").mkdir()
    given = {"KIT": str(tmp_path), "CIFAR10_DIR": "/images", "PYTHONPATH": "/mine"}
    variables = step_environment(given)
    assert variables["PYTHONPATH"] == f"{tmp_path}/site:/mine"
    assert not {"CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR"} & set(variables)
    (tmp_path / "data" / "train.parquet").touch()
    (tmp_path / "data" / "a.safetensors").touch()
    variables = step_environment(given)
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
    (out / "summary.json").write_text(json.dumps({"date": "2026-11-30T10:00:00+00:00"}))
    put_aside(out)
    assert [path.name for path in tmp_path.iterdir()] == ["gpu-day-2026-11-30T100000+0000"]


@pytest.mark.parametrize("part", ["3", "one"])
def test_another_part_is_refused(part, capsys):
    assert main({"PART": part}) == 2
    assert f"PART={part}: allowed: 1, 2, or nothing for both" in capsys.readouterr().err
