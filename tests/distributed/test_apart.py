"""Ranks that are not of one mind: started for other work, drifted apart, one lost or full."""

import re
import time

import pytest

from bench.config.load import load
from bench.experiment.plan import plan, run_ids
from bench.judge.verify import verify
from bench.ledger.events import RunStarted, read_events
from bench.ledger.store import RunStore
from bench.report.pages import report_texts
from tests.commands import ROOT, TINY, bench, environment
from tests.ranks import DISTURBED, Ended, run_ranks, start_ranks, wait_for

OVERRIDES = ("--blocks=1", "--train.samples=256", "--train.checkpoint_every_looks=1")
IDS = run_ids(plan(load(ROOT / TINY, OVERRIDES)))


def run(folder, size: int = 2, *, disturb: str = "") -> list[Ended]:
    arguments = ["run", TINY, f"--output={folder}/runs", *OVERRIDES]
    return run_ranks(arguments, environment(folder), size=size, disturb=disturb)


def store_in(folder) -> RunStore:
    return RunStore(folder / "runs" / "tiny")


def problems_in(folder) -> list[str]:
    """What verify says, but that the report is not written yet."""
    return [line for line in verify(store_in(folder).root, report_texts) if "report." not in line]


OTHER_WORK = {
    "rate": (["--optim.lr=0.5"], "optim.lr is 0.5 there, 0.001 on rank 0"),
    "blocks": (["--blocks=2"], "blocks is 2 there, 1 on rank 0"),
    "output": (["--output=elsewhere"], "output is elsewhere there, "),
    "a wrong key": (["--optim.lrr=0.5"], "unknown key 'optim.lrr'"),
}


@pytest.mark.parametrize("other", OTHER_WORK)
def test_ranks_that_were_started_for_other_work_do_none(tmp_path, other):
    arguments, message = OTHER_WORK[other]
    shared = [DISTURBED, "run", TINY, f"--output={tmp_path}/runs", *OVERRIDES]
    start_s = time.monotonic()
    ended = wait_for(start_ranks([shared, [*shared, *arguments]], environment(tmp_path)))
    assert [rank.code for rank in ended] == [2, 2]
    assert time.monotonic() - start_s < 60  # they import torch; none waits for the other
    assert "rank 1" in ended[0].err
    assert message in ended[0].err
    assert "Traceback" not in ended[0].err + ended[1].err
    assert not (tmp_path / "runs").exists()


def test_ranks_whose_data_differ_do_nothing(tmp_path):
    """Each looks where its own environment says."""
    folders = []
    for name, classes in (("a", "xy"), ("b", "xz")):
        folders.append(tmp_path / name)
        for label in classes:
            write_images(tmp_path / name / "train" / label)
    command = [DISTURBED, "run", TINY, f"--output={tmp_path}/runs", "--data.source=image_folder"]
    commands = [
        [*command, "--data.train_samples=null", "--data.val_samples=null", f"--data.dir={folder}"]
        for folder in folders
    ]
    small = ["--data.test_samples=null", "--train.samples=128", "--train.global_batch_size=4"]
    commands = [[*command, *small, "--evaluation.every_samples=64"] for command in commands]
    ended = wait_for(start_ranks(commands, environment(tmp_path)))
    assert [rank.code for rank in ended] == [2, 2]
    assert re.search("images or weights differ between the machines: rank 1 has", ended[0].err)


def write_images(folder) -> None:
    """Write a few small images."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    rng = np.random.default_rng(sum(map(ord, str(folder))))
    for number in range(20):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_a_lost_rank_is_named_with_its_signal_and_the_ledger_verifies(tmp_path):
    ended = run(tmp_path, disturb="die:1:28")
    assert [rank.code for rank in ended] == [1, -9]
    result = store_in(tmp_path).result(IDS[0])
    assert result.status == "rank_lost"
    assert result.error.startswith("rank 1 was killed by SIGKILL; ")
    assert problems_in(tmp_path) == []
    assert [rank.code for rank in run(tmp_path)] == [0, 0]
    assert store_in(tmp_path).result(IDS[0]).resumed
    assert problems_in(tmp_path) == []


def test_ranks_that_drift_apart_by_the_least_bit_are_found_at_the_next_evaluation(tmp_path):
    ended = run(tmp_path, disturb="drift:1:2")
    assert [rank.code for rank in ended] == [1, 1]
    result = store_in(tmp_path).result(IDS[0])
    assert (result.status, result.evaluations) == ("invalid", [])
    assert "at step 4 the parameters of rank 1 are not those of rank 0" in result.error
    assert [rank.code for rank in run(tmp_path)] == [0, 0]
    anew = store_in(tmp_path).result(IDS[0])
    assert (anew.status, anew.attempts, anew.resumed) == ("completed", 2, False)
    assert anew.start.begun_anew.startswith("it is invalid")
    assert problems_in(tmp_path) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_a_save_that_fails_on_one_rank_ends_all_and_leaves_the_older_checkpoint(tmp_path, rank):
    files_of_two_saves = 2 * (5 if rank == 0 else 2)
    ended = run(tmp_path, disturb=f"full:{rank}:{files_of_two_saves}")
    assert [rank.code for rank in ended] == [1, 1]
    assert "No space left on device" in ended[rank].err
    assert f"rank {rank}: " in ended[1 - rank].err
    result = store_in(tmp_path).result(IDS[0])
    assert result.status == "failed"
    (kept,) = (store_in(tmp_path).run_dir(IDS[0]) / "checkpoints").iterdir()
    assert kept.name.startswith("step-00000004-")
    assert [rank.code for rank in run(tmp_path)] == [0, 0]
    assert store_in(tmp_path).result(IDS[0]).start.resumed_step == 4


def test_on_another_number_of_ranks_a_killed_run_is_begun_anew(tmp_path):
    run(tmp_path, disturb="die:1:28")
    ended = run(tmp_path, size=1)
    assert [rank.code for rank in ended] == [0]
    assert f"{IDS[0]}: begun anew, attempt 2: world_size is 2 there, 1 now" in ended[0].out
    store = store_in(tmp_path)
    result = store.result(IDS[0])
    assert (result.attempts, result.resumed, result.start.world_size) == (2, False, 1)
    aside = read_events(store.run_dir(IDS[0]) / "events.rank0.jsonl.aside-1")
    starts = [event for event in aside if isinstance(event, RunStarted)]
    assert [start.data.world_size for start in starts] == [2]
    assert problems_in(tmp_path) == []
    straight = run(tmp_path / "straight", size=1)
    assert [rank.code for rank in straight] == [0]
    expected = store_in(tmp_path / "straight").result(IDS[0])
    assert result.confusion == expected.confusion
    assert result.test_loss == expected.test_loss
    refused = bench("run", TINY, f"--output={tmp_path}/runs", env=environment(tmp_path))
    assert refused.returncode == 2
