"""`make gpu-day`'s driver without a GPU: a rehearsal from end to end, which says that it is one."""

import json
import subprocess
import sys
import tarfile

import pytest

from launch.gpu_day_steps import WEIGHTS
from tests.commands import ROOT, environment

pytestmark = pytest.mark.slow
NO_DALI = 'import sys\nsys.modules["nvidia.dali"] = None\n'
DALI = "nvidia.dali.plugin.pytorch"


@pytest.fixture
def rehearse(tmp_path):
    """Runs the driver on the CPU; the process, its summary.json, and its summary.md."""

    def run(**variables: str) -> tuple[subprocess.CompletedProcess[str], dict, str]:
        out = tmp_path / "out"
        env = environment(
            tmp_path,
            CUDA_VISIBLE_DEVICES="",
            OUT=str(out),
            WORK=str(tmp_path / "work"),
            **variables,
        )
        command = [sys.executable, "-m", "launch.gpu_day"]
        process = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=1500, check=False
        )
        assert (out / "summary.json").is_file(), process.stderr
        summary = json.loads((out / "summary.json").read_text())
        return process, summary, (out / "summary.md").read_text()

    return run


def results(summary: dict) -> dict[str, str]:
    return {step["name"]: step["status"] for step in summary["steps"]}


def test_both_parts_without_data(rehearse, tmp_path):
    process, summary, text = rehearse()
    statuses = results(summary)
    skipped = {name for name, status in statuses.items() if status == "skipped"}
    assert skipped == {"study", "report_study", "verify_study"}
    assert {status for name, status in statuses.items() if name not in skipped} == {"ok"}, text
    assert process.returncode == 0
    assert summary["rehearsal"] is True
    assert text.startswith("# REHEARSAL on a CPU: no figure below is a GPU's\n")
    assert "| study | skipped | 0.0 | " in text
    assert "| no CIFAR-10: CIFAR10_DIR names no folder |" in text
    for heading in ("Throughput", "Rate of the study's network", "Profile"):
        assert f"## REHEARSAL on a CPU: {heading}" in text
    assert "| resized | harness, dali | " in text
    with tarfile.open(tmp_path / "out" / "results.tar.gz") as archive:
        names = archive.getnames()
    assert "logs/tiny_torch.txt" in names
    assert any(name.startswith("tiny_dali/tiny/") and "events" in name for name in names)
    assert not [name for name in names if name.startswith(("cache/", "inductor/"))]


def test_part_2_from_a_kit_without_dali_takes_resident_and_a_red_study_does_not_end_it(
    rehearse, tmp_path
):
    kit = tmp_path / "kit"
    for name, text in (("site/sitecustomize.py", NO_DALI), ("data/train.parquet", "damaged")):
        (kit / name).parent.mkdir(parents=True, exist_ok=True)
        (kit / name).write_text(text)
    (kit / "data" / WEIGHTS).write_text("damaged")
    process, summary, text = rehearse(PART="2", KIT=str(kit))
    assert results(summary) == {
        "machine": "red",
        "rate": "ok",
        "study": "red",
        "report_study": "skipped",
        "verify_study": "skipped",
    }
    assert process.returncode == 1
    assert f"- loader of the study: resident ({DALI} cannot be imported)" in text
    assert "| random | harness, resident | " in text
    assert "harness, dali" not in text
    assert "## REHEARSAL on a CPU: study: end of its log" in text
    assert "(data.dir or CIFAR10_DIR) holds no CIFAR-10: found" in text
