"""Two gloo ranks through accelerate launch, against one process: same global batches, same counts,
one study.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.commands import ROOT, TINY, environment, launch

VIT = "tests/experiments/vit.yaml"
WORKER = str(ROOT / "tests" / "distributed" / "worker.py")


def _run(experiment, folder, overrides, alone_overrides=()):
    """One process's record, with overrides of its own beside the shared ones, and both ranks'.

    Each has its `weights` after every step.
    """
    env = environment(folder)
    (folder / "one").mkdir()
    alone = {**env, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, WORKER, experiment, str(folder / "one")]
    command += [*overrides, *alone_overrides]
    subprocess.run(command, cwd=ROOT, env=alone, check=True, timeout=200)
    done = launch(WORKER, experiment, str(folder), *overrides, env=env, processes=2)
    assert done.returncode == 0, done.stderr
    return _record(folder / "one", 0), [_record(folder, 0), _record(folder, 1)]


def _record(folder, rank):
    record = json.loads((folder / f"rank{rank}.json").read_text())
    record["weights"] = torch.load(folder / f"rank{rank}.pt")
    return record


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """A small network, compiled as a study compiles it."""
    return _run(TINY, tmp_path_factory.mktemp("ranks"), ["--compile.enabled=true"])


@pytest.fixture(
    scope="module",
    params=["false", pytest.param("true", marks=pytest.mark.slow)],
    ids=["eager", "compiled"],
)
def vit_ranks(request, tmp_path_factory):
    """The ViT, in parts on the ranks and whole on one process. It takes minutes to compile."""
    return _run(
        VIT,
        tmp_path_factory.mktemp("vit_ranks"),
        [f"--compile.enabled={request.param}"],
        ["--train.accumulate_steps=1", "--model.checkpoint_activations=false"],
    )


def test_two_ranks_are_two_ranks(ranks):
    one, two = ranks
    assert (one["size"], [rank["size"] for rank in two]) == (1, [2, 2])


def test_the_dali_loader_is_sharded_exactly(ranks):
    one, (first, second) = ranks
    assert len(one["steps"]) == len(first["steps"]) == len(second["steps"]) > 0
    for place, step in enumerate(one["steps"]):
        for key in ("samples", "labels", "pixels"):
            assert first["steps"][place][key] + second["steps"][place][key] == step[key]


def test_evaluation_counts_equal_one_ranks(ranks):
    one, two = ranks
    for rank in two:
        assert rank["confusion"] == one["confusion"]
        assert rank["loss"] == pytest.approx(one["loss"], rel=1e-6)
    assert sum(map(sum, one["confusion"])) == 150


def test_ranks_hold_the_same_weights_after_steps_and_their_losses_average_to_one_ranks_first(ranks):
    one, (first, second) = ranks
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)
    assert (first["losses"][0] + second["losses"][0]) / 2 == pytest.approx(
        one["losses"][0], rel=0.05
    )


def test_a_vit_in_parts_with_its_head_first_is_one_training_at_any_number_of_ranks(vit_ranks):
    """Without BatchNorm, ranks and parts only group the same images: weights agree to rounding
    after every step.
    """
    one, (first, second) = vit_ranks
    torch.testing.assert_close(first["weights"], second["weights"], rtol=0, atol=0)
    torch.testing.assert_close(first["weights"], one["weights"], rtol=1e-3, atol=2e-5)
    means = torch.tensor([first["losses"], second["losses"]], dtype=torch.float64).mean(0)
    assert means.tolist() == pytest.approx(one["losses"], rel=1e-4)


def test_the_head_is_first_alone_on_every_rank(vit_ranks):
    _, two = vit_ranks
    for rank in two:
        before, head, third, _ = rank["weights"]
        moved = {name for name in before if not torch.equal(before[name], head[name])}
        assert moved == {"head.weight", "head.bias"}
        moved_later = [name for name in head if not torch.equal(head[name], third[name])]
        assert len(moved_later) > 0.9 * len(head)


def test_a_loss_that_one_rank_alone_loses_is_seen_by_all_at_the_same_check(ranks):
    one, two = ranks
    for rank in (one, *two):
        assert rank["finite"] == [True, True, False, True, True, False]


def test_reductions(ranks):
    _, two = ranks
    for rank in two:
        assert rank["slowest"] == [1.0]
        assert rank["from_main"] == {"rank": 0}


@pytest.mark.parametrize("experiment", [TINY, pytest.param(VIT, marks=pytest.mark.slow)])
def test_a_study_on_two_ranks_is_one_study(experiment, tmp_path):
    overrides = ["--blocks=1", "--hardware.world_size=2", "--compile.enabled=false"]
    command = ["-m", "bench", "run", experiment, f"--output={tmp_path}/runs", *overrides]
    done = launch(*command, env=environment(tmp_path), processes=2)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "runs" / Path(experiment).stem / "report.json").read_text())
    assert report["environment"]["world_size"] == 2
    assert [arm["runs"] for arm in report["arms"]] == [1, 1]
    assert done.stdout.count("picture:") == 1


def test_one_process_for_two_is_refused(tmp_path):
    env = environment(tmp_path, WORLD_SIZE="2", RANK="0", LOCAL_RANK="0", ACCELERATE_USE_CPU=None)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "run", TINY, f"--output={tmp_path}/runs"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "2 processes were launched without a GPU: set ACCELERATE_USE_CPU=true" in done.stderr


def test_tuning_on_two_ranks_is_one_tuning(tmp_path):
    overrides = [f"--output={tmp_path}", "--tune.trials=3", "--train.samples=256"]
    command = ["-m", "bench", "tune", "tests/experiments/rates.yaml", *overrides]
    done = launch(*command, env=environment(tmp_path), processes=2)
    assert done.returncode == 0, done.stderr
    starts = [
        json.loads(path.read_text())["start"]
        for path in tmp_path.glob("rates/tuning/*/result.json")
    ]
    rates = sorted(start["config"]["optim"]["lr"] for start in starts)
    assert rates == [1e-4, 1e-4, 1e-3, 1e-3, 1e-2, 1e-2]
    assert {start["world_size"] for start in starts} == {2}
    assert (tmp_path / "rates" / "tuned.yaml").is_file()
    assert done.stdout.count("next:") == 1
