"""Two gloo ranks through accelerate launch, against one process: same global batches, same counts, one study."""

import json
import subprocess
import sys

import pytest

from tests.commands import ROOT, TINY, environment, launch

WORKER = str(ROOT / "tests" / "distributed" / "worker.py")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """(one process's record, [rank 0's, rank 1's])."""
    folder = tmp_path_factory.mktemp("ranks")
    env = environment(folder)
    (folder / "one").mkdir()
    alone = {**env, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, WORKER, str(folder / "one")], cwd=ROOT, env=alone, check=True, timeout=200)
    done = launch(WORKER, str(folder), env=env, processes=2)
    assert done.returncode == 0, done.stderr
    read = [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    return json.loads((folder / "one" / "rank0.json").read_text()), read


def test_two_ranks_are_two_ranks(ranks):
    one, two = ranks
    assert (one["size"], [rank["size"] for rank in two]) == (1, [2, 2])


def test_the_dali_loader_is_sharded_exactly(ranks):
    one, (first, second) = ranks
    for whole, left, right in zip(one["steps"], first["steps"], second["steps"], strict=True):
        for key in ("samples", "labels", "pixels"):
            assert left[key] + right[key] == whole[key]


def test_evaluation_counts_equal_one_ranks(ranks):
    one, two = ranks
    for rank in two:
        assert (rank["correct"], rank["total"]) == (one["correct"], one["total"])
        assert rank["loss"] == pytest.approx(one["loss"], rel=1e-6)
    assert one["total"] == 150


def test_ranks_hold_the_same_weights_after_steps_and_their_losses_average_to_one_ranks_first(ranks):
    one, (first, second) = ranks
    assert first["weights"] == second["weights"]
    assert (first["losses"][0] + second["losses"][0]) / 2 == pytest.approx(one["losses"][0], rel=0.05)


def test_reductions(ranks):
    _, two = ranks
    for rank in two:
        assert rank["slowest"] == [1.0]
        assert rank["from_main"] == {"rank": 0}


def test_a_study_on_two_ranks_is_one_study(tmp_path):
    done = launch(
        "-m", "bench", "run", TINY, f"--output={tmp_path}/runs", "--blocks=1", "--hardware.world_size=2",
        env=environment(tmp_path), processes=2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "runs" / "tiny" / "report.json").read_text())
    assert report["environment"]["world_size"] == 2
    assert [arm["runs"] for arm in report["arms"]] == [1, 1]
    assert done.stdout.count("picture:") == 1


def test_one_process_for_two_is_refused(tmp_path):
    env = environment(tmp_path, WORLD_SIZE="2", RANK="0", LOCAL_RANK="0", ACCELERATE_USE_CPU=None)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", TINY, f"--output={tmp_path}/runs"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "2 processes were launched without a GPU: set ACCELERATE_USE_CPU=true" in done.stderr
