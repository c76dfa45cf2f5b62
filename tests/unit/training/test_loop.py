"""The loop by its journal: what a run does, in which order, and on which segment."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from bench.training import loop
from bench.training.loop import Outcome, Progress
from tests.unit.training.factory import BATCH
from tests.unit.training.rehearsal import EVERY_STEPS, make_rehearsal


@pytest.fixture
def rehearse(tmp_path, monkeypatch):
    """Make a run of four evaluations, five steps apart."""
    return partial(make_rehearsal, tmp_path, monkeypatch)


COMPLETED = Outcome(status="completed", stopped_step=None, best_step=None)
DIVERGED = Outcome(status="diverged", stopped_step=None, best_step=None)


def test_a_run_trains_to_its_budget_and_tells_its_events_in_order(rehearse):
    run = rehearse()
    assert run.go() == COMPLETED
    assert run.program.steps == list(range(20))
    assert run.loader.ranges == [(0, 20)]
    assert run.told() == [
        ("epoch_stop", 4),
        ("eval_stop", 5),
        ("epoch_stop", 8),
        ("eval_stop", 10),
        ("epoch_stop", 12),
        ("eval_stop", 15),
        ("epoch_stop", 16),
        ("epoch_stop", 20),
        ("eval_stop", 20),
        ("eval_stop", 20),
    ]
    scores = [event.data for event in run.stage.events() if event.kind == "eval_stop"]
    assert [score.split for score in scores] == ["val"] * 4 + ["test"]
    assert [score.loss for score in scores] == [1.0, 0.9, 0.8, 0.7, 0.5]
    assert [score.samples for score in scores] == [40, 80, 120, 160, 160]
    assert [score.confusion is None for score in scores] == [True] * 4 + [False]
    epochs = [event.epoch for event in run.stage.events() if event.kind == "epoch_stop"]
    assert epochs == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_every_stretch_of_a_run_is_on_its_segment(rehearse):
    run = rehearse({"train.samples": 2 * EVERY_STEPS * BATCH})
    run.go()
    scoring = ["score val", "segment log", "slowest", "slowest"]
    look = ["segment evaluate", "compare ranks", *scoring]
    delivery = ["write in log", "tell epoch_stop", "tell eval_stop"]
    assert run.journal == [
        "begin",
        "segment train",
        *[*look, *delivery, "segment train"] * 2,
        "segment evaluate_final",
        "score test",
        *scoring[1:],
        "write in log",
        "tell eval_stop",
    ]


def test_nothing_is_written_or_told_while_the_train_segment_runs(rehearse):
    run = rehearse({"train.checkpoint_every_looks": 1, "evaluation.test_every_look": True})
    run.go()
    segment = ""
    delivered_in = []
    for entry in run.journal:
        if entry.startswith("segment "):
            segment = entry.removeprefix("segment ")
        if entry.startswith(("write", "tell", "save")):
            delivered_in.append(segment)
    assert len(delivered_in) > 20
    assert set(delivered_in) == {"log", "checkpoint"}


def test_the_budget_is_this_runs(rehearse):
    run = rehearse({"train.samples": 3 * EVERY_STEPS * BATCH})
    run.program.total_steps = 1000  # of the run before, with the same program
    assert run.go() == COMPLETED
    assert run.program.steps == list(range(15))


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("bad_step", "steps"),
    [
        (4, 5),  # the last before an evaluation: read exactly
        (3, 5),  # checked at step 4, read at the evaluation
        (5, 8),  # checked at step 6, read at the check after it
    ],
)
def test_a_loss_that_is_not_finite_ends_the_run_at_the_next_reading(
    rehearse, loss, bad_step, steps
):
    run = rehearse({"train.check_every_steps": 2}, train_losses={bad_step: loss})
    assert run.go() == DIVERGED
    assert run.program.steps == list(range(steps))
    looks = [entry for entry in run.journal if entry.startswith("score")]
    assert looks == ["score val"] * (bad_step // EVERY_STEPS)


def test_a_run_that_diverged_puts_no_weights_back(rehearse):
    run = rehearse({"train.restore_best": True}, train_losses={9: math.nan})
    assert run.go() == DIVERGED
    assert "put back" not in run.journal


def test_the_best_weights_are_kept_and_put_back_before_test(rehearse):
    run = rehearse({"train.restore_best": True}, val_losses=[1.0, 0.5, 0.7, 0.6])
    assert run.go() == Outcome(status="completed", stopped_step=None, best_step=10)
    kept = [entry for entry in run.journal if entry in ("score val", "keep", "put back")]
    assert kept == ["score val", "keep"] * 2 + ["score val"] * 2 + ["put back"]
    assert run.journal.index("put back") < run.journal.index("score test")


STOPPING = {"train.restore_best": True, "train.stop_patience": 2}


def test_a_run_ends_where_its_own_rule_says_so(rehearse):
    run = rehearse(STOPPING, val_losses=[0.5, 0.7, 0.6])
    assert run.go() == Outcome(status="completed", stopped_step=15, best_step=5)
    assert run.program.steps == list(range(15))
    assert run.told()[-2:] == [("eval_stop", 15), ("eval_stop", 15)]


def test_a_run_that_is_told_to_end_at_its_budget_was_stopped_too(rehearse):
    run = rehearse({"train.stop_patience": 2}, val_losses=[0.8, 0.5, 0.7, 0.6])
    assert run.go() == Outcome(status="completed", stopped_step=20, best_step=None)


def test_the_program_reacts_to_all_losses_so_far(rehearse):
    run = rehearse(val_losses=[0.9, 0.5, 0.8, 0.7])
    assert run.go() == COMPLETED
    assert run.program.reacted_to == [
        [],
        [0.9],
        [0.9, 0.5],
        [0.9, 0.5, 0.8],
        [0.9, 0.5, 0.8, 0.7],
    ]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_val_loss_that_is_not_finite_is_recorded_and_ends_the_run(rehearse, loss):
    """As where one overflowing batch has spoilt BatchNorm's statistics, and no training loss."""
    changes = {"train.checkpoint_every_looks": 1, "train.restore_best": True}
    run = rehearse(changes, val_losses=[0.9, loss, 0.8, 0.7])
    assert run.go() == DIVERGED
    losses = [event.data.loss for event in run.stage.events() if event.kind == "eval_stop"]
    assert losses == [0.9, None]
    assert [step for step, *_ in run.saved] == [5]
    assert "score test" not in run.journal


def test_a_run_of_which_no_step_moved_a_weight_between_two_evaluations_has_diverged(rehearse):
    run = rehearse()
    run.program.skipped = {0, 3, 5, 6, 7, 8, 9}
    assert run.go() == DIVERGED
    scores = [event.data for event in run.stage.events() if event.kind == "eval_stop"]
    assert [score.skipped_steps for score in scores] == [2, 7]


def test_the_mean_train_loss_since_the_evaluation_before_is_on_record(rehearse):
    run = rehearse(train_losses={2: 6.0, 7: 11.0})
    run.go()
    scores = [event.data for event in run.stage.events() if event.kind == "eval_stop"]
    assert [score.train_loss for score in scores] == [2.0, 3.0, 1.0, 1.0, None]


def test_test_is_scored_at_every_look_where_that_is_asked_for_and_once_at_the_last(rehearse):
    run = rehearse({"evaluation.test_every_look": True})
    run.go()
    scored = [entry for entry in run.journal if entry.startswith("score")]
    assert scored == ["score val", "score test"] * 4
    tests = [
        event.data
        for event in run.stage.events()
        if event.kind == "eval_stop" and event.data.split == "test"
    ]
    assert [score.confusion is None for score in tests] == [True, True, True, False]
    evaluations = [segment for segment in run.segments() if segment.startswith("evaluate")]
    assert evaluations == ["evaluate"] * 7 + ["evaluate_final"]


def test_a_stopped_run_scores_test_once(rehearse):
    run = rehearse({**STOPPING, "evaluation.test_every_look": True}, val_losses=[0.5, 0.7, 0.6])
    run.go()
    assert [entry for entry in run.journal if entry == "score test"] == ["score test"] * 3


def test_checkpoints_are_saved_on_their_grid_with_all_that_a_run_stands_on(rehearse):
    changes = {"train.checkpoint_every_looks": 2, "train.restore_best": True}
    run = rehearse(changes, val_losses=[1.0, 0.9, 0.8, 0.7])
    run.stage.timer.seconds = {"train": 3.0}
    run.go()
    assert [(step, losses) for step, losses, _ in run.saved] == [
        (10, [1.0, 0.9]),
        (20, [1.0, 0.9, 0.8, 0.7]),
    ]
    assert run.saved[0][2]["train"] == 3 * 10**9
    checkpoints = [event for event in run.stage.events() if event.kind == "checkpoint"]
    assert [(event.step, event.data.path) for event in checkpoints] == [
        (10, "step-10"),
        (20, "step-20"),
    ]
    first = run.journal.index("segment checkpoint")
    assert run.journal[first : first + 6] == [
        "segment checkpoint",
        "save",
        "segment log",
        "write in log",
        "tell checkpoint",
        "segment train",
    ]


def test_weights_are_kept_before_they_are_saved(rehearse):
    """Else a run that goes on from the checkpoint would not have its best weights."""
    changes = {"train.checkpoint_every_looks": 1, "train.restore_best": True}
    run = rehearse({**changes, "train.samples": EVERY_STEPS * BATCH})
    run.go()
    assert run.journal.index("keep") < run.journal.index("save")


def test_another_rank_saves_too_and_tells_nothing(rehearse):
    run = rehearse({"train.checkpoint_every_looks": 2}, is_main=False)
    assert run.go() == COMPLETED
    assert [step for step, *_ in run.saved] == [10, 20]
    assert run.told() == []
    assert run.journal.count("slowest") == 2 * 5  # two a score


def test_ranks_are_compared_before_each_evaluation_on_its_segment(rehearse):
    run = rehearse({"evaluation.test_every_look": True})
    run.go()
    assert run.journal.count("compare ranks") == 4
    place = run.journal.index("compare ranks")
    assert run.journal[place - 1] == "segment evaluate"
    assert run.journal[place + 1] == "score val"


def test_a_run_goes_on_where_it_stands(rehearse):
    progress = Progress(step=10, val_losses=[1.0, 0.9], data_wait_s=7.0)
    run = rehearse(val_losses=[0.8, 0.7], progress=progress)
    assert run.go() == COMPLETED
    assert run.loader.ranges == [(10, 20)]
    assert run.program.steps == list(range(10, 20))
    assert run.program.reacted_to[0] == [1.0, 0.9]
    assert run.program.reacted_to[-1] == [1.0, 0.9, 0.8, 0.7]
    assert run.told()[:2] == [("epoch_stop", 12), ("eval_stop", 15)]
    assert run.stage.events()[1].data.data_wait_s >= 7.0


def test_a_run_whose_process_died_after_its_stop_does_not_train_on(rehearse):
    """So that it ends with the weights and the steps of one that was not interrupted."""
    progress = Progress(step=15, val_losses=[0.5, 0.7, 0.6])
    run = rehearse(STOPPING, progress=progress)
    assert run.go() == Outcome(status="completed", stopped_step=15, best_step=5)
    assert run.program.steps == []
    assert run.told() == [("eval_stop", 15)]
    assert run.journal[:5] == [
        "begin",
        "segment train",
        "put back",
        "segment evaluate_final",
        "score test",
    ]


def test_a_run_whose_process_died_at_its_end_is_only_scored(rehearse):
    progress = Progress(step=20, val_losses=[1.0, 0.9, 0.8, 0.7])
    run = rehearse(progress=progress)
    assert run.go() == COMPLETED
    assert run.program.steps == []
    assert run.told() == [("eval_stop", 20)]


def test_a_frozen_bodys_features_are_computed_on_the_segments_that_read_them(rehearse):
    run = rehearse(has_features=True)
    run.go()
    assert run.journal[:8] == [
        "begin",
        "segment train",
        "compute train",
        "segment evaluate",
        "compute val",
        "segment evaluate_final",
        "compute test",
        "segment train",
    ]


def test_waiting_for_batches_is_counted_and_nothing_else(rehearse, monkeypatch):
    now_ns = [0]

    def wait_for_a_batch() -> None:
        now_ns[0] += 250_000_000

    run = rehearse(before_batch=wait_for_a_batch)
    plain_step = run.program.step

    def slow_step(batch: int, step: int) -> Tensor:
        now_ns[0] += 10_000_000_000
        return plain_step(batch, step)

    monkeypatch.setattr(loop, "monotonic_ns", lambda: now_ns[0])
    monkeypatch.setattr(run.program, "step", slow_step)
    run.go()
    waits_s = [event.data.data_wait_s for event in run.stage.events() if event.kind == "eval_stop"]
    assert waits_s == [1.25, 2.5, 3.75, 5.0, 5.0]
    assert run.job.progress.data_wait_s == 5.0


def test_progress_says_where_a_run_that_failed_stood(rehearse):
    run = rehearse()

    def fail_at_step_7(batch: int, step: int) -> Tensor:
        if step == 7:
            raise RuntimeError("out of luck")
        return torch.tensor(1.0)

    run.program.step = fail_at_step_7
    with pytest.raises(RuntimeError, match="out of luck"):
        run.go()
    assert run.job.progress.step == 7
    assert run.told() == [("epoch_stop", 4), ("eval_stop", 5)]
