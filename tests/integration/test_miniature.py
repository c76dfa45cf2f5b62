"""The mission's experiment on a CPU: `pretrained_vs_random` in miniature, all its arms, from
weights made here to the report.
"""

import itertools
import json

import pytest

from bench.config.load import load
from tests.commands import bench, environment

ARMS = {"pretrained", "random", "random_small_stem", "cnn_551k", "cnn_1m2"}


def test_the_miniature_has_the_missions_arms_and_rules():
    mission = load("pretrained_vs_random")
    miniature = load("miniature")
    assert set(mission.arms) == set(miniature.arms) == ARMS
    for key in ("baseline", "factors", "kind", "confirm_looks", "blocks", "clock"):
        assert getattr(mission, key) == getattr(miniature, key)
    assert mission.primary.arm == miniature.primary.arm == "pretrained"


@pytest.mark.slow
def test_the_miniature_runs_to_its_report_with_all_arms(tmp_path):
    env = environment(tmp_path, HF_HUB_OFFLINE="1", WANDB_MODE="offline")
    done = bench(
        "run", "miniature", "--blocks=2", f"--output={tmp_path}/runs", env=env, timeout_s=1500
    )
    assert done.returncode == 0, done.stderr
    root = tmp_path / "runs" / "miniature"
    results = [json.loads(path.read_text()) for path in root.glob("*/result.json")]
    runs = {(result["arm"], result["seed"]) for result in results}
    assert runs == set(itertools.product(ARMS, (0, 1)))
    assert {result["status"] for result in results} == {"completed"}
    networks = {result["arm"]: result["start"]["network"] for result in results}
    assert {arm: networks[arm]["parameters"] for arm in sorted(ARMS)} == {
        "cnn_1m2": 1_197_578,
        "cnn_551k": 551_018,
        "pretrained": 11_181_642,
        "random": 11_181_642,
        "random_small_stem": 11_173_962,
    }
    starts = {result["arm"]: result["start"]["weights"]["source"] for result in results}
    assert {arm for arm, source in starts.items() if source == "self"} == {"pretrained"}
    last = {result["arm"]: result["looks"][-1]["correct"] for result in results}
    assert last["pretrained"] > last["random"]
    report = json.loads((root / "report.json").read_text())
    assert report["experiment"] == "miniature"
    for name in ("report.html", "report.md", "report.png"):
        assert (root / name).stat().st_size > 1000
