"""What a run tells: written first, told to trackers after, and never while the train clock runs."""

import math

import pytest

from bench.ledger.method import SEGMENTS
from bench.ledger.records import RunStop
from bench.training.program import Score
from bench.training.recorder import Standing
from tests.unit.results_factory import make_start
from tests.unit.training.recording import Stage, make_stage

SCORE = Score(confusion=[[3, 1, 0], [2, 5, 0], [0, 0, 4]], loss=0.75)
STANDING = Standing(samples=48, data_wait_s=0.25, train_loss=1.5, skipped_steps=3)
COMPLETED = RunStop(
    status="completed", error=None, segments_s={"train": 2.0}, stopped_step=None, best_step=None
)


@pytest.fixture
def stage(tmp_path, monkeypatch) -> Stage:
    return make_stage(tmp_path, monkeypatch)


def evaluate(stage: Stage, score: Score = SCORE, *, final: bool = False) -> None:
    stage.recorder.evaluated("val", score, 6, STANDING, final=final)


def test_a_start_is_written_and_told_at_once(stage):
    start = make_start(resumed_step=6)
    stage.recorder.started(start, 6)
    (event,) = stage.events()
    assert (event.kind, event.step, event.epoch, event.rank) == ("run_start", 6, 1.5, 0)
    assert event.data == start
    assert stage.journal == ["write in build", "tell run_start"]


def test_an_epochs_end_is_only_noted_until_the_next_delivery(stage):
    stage.recorder.switch("train")
    stage.recorder.epoch_stopped(4)
    assert stage.events() == []
    assert stage.journal == ["segment train"]
    stage.recorder.switch("log")
    stage.recorder.deliver()
    (event,) = stage.events()
    assert (event.kind, event.step, event.epoch) == ("epoch_stop", 4, 1.0)
    assert stage.journal[2:] == ["write in log", "tell epoch_stop"]


def test_what_was_delivered_is_not_told_again(stage):
    stage.recorder.epoch_stopped(4)
    stage.recorder.deliver()
    stage.recorder.deliver()
    assert stage.journal.count("tell epoch_stop") == 1
    assert len(stage.events()) == 1


def test_scores_are_counted_from_the_confusion(stage):
    evaluate(stage)
    (event,) = stage.events()
    scores = event.data
    assert (event.kind, event.step, event.epoch) == ("eval_stop", 6, 1.5)
    assert (scores.split, scores.samples, scores.loss) == ("val", 48, 0.75)
    assert (scores.correct, scores.total) == (12, 15)
    assert scores.class_correct == (3, 5, 4)
    assert (scores.data_wait_s, scores.train_loss, scores.skipped_steps) == (0.25, 1.5, 3)


CONFUSION = ((3, 1, 0), (2, 5, 0), (0, 0, 4))


@pytest.mark.parametrize(("final", "kept"), [(False, None), (True, CONFUSION)])
def test_the_confusion_is_kept_at_the_end_alone(stage, final, kept):
    evaluate(stage, final=final)
    assert stage.events()[0].data.confusion == kept


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_recorded_as_none(stage, loss):
    standing = STANDING._replace(train_loss=loss)
    stage.recorder.evaluated("val", SCORE._replace(loss=loss), 6, standing, final=False)
    (event,) = stage.events()
    assert (event.data.loss, event.data.train_loss) == (None, None)


def test_seconds_are_the_slowest_ranks_in_every_segment(tmp_path, monkeypatch):
    stage = make_stage(tmp_path, monkeypatch, slower_s=0.5)
    stage.timer.seconds = {"train": 2.0, "log": 1.0}
    expected_s = {segment: 0.5 for segment in SEGMENTS} | {"train": 2.5, "log": 1.5}
    assert stage.recorder.segments_s() == expected_s
    assert list(stage.recorder.segments_s()) == list(SEGMENTS)
    evaluate(stage)
    scores = stage.events()[0].data
    assert scores.segments_s == expected_s
    assert scores.data_wait_s == 0.75


def test_where_the_others_may_be_gone_the_last_reading_is_continued_without_them(
    tmp_path, monkeypatch
):
    """So that segments sum to the time that passed, whichever rank was the slower one before."""
    stage = make_stage(tmp_path, monkeypatch, slower_s=0.5)
    stage.timer.seconds = {"train": 2.0, "log": 1.0}
    read_s = stage.recorder.segments_s()
    stage.timer.seconds = {"train": 2.0, "log": 1.25}
    later_s = stage.recorder.segments_s_without_others()
    assert later_s == read_s | {"log": 1.75}
    assert list(later_s) == list(SEGMENTS)
    assert stage.journal.count("slowest") == 1


def test_what_was_never_read_with_the_others_is_this_ranks(stage):
    stage.timer.seconds = {"train": 2.0}
    assert stage.recorder.segments_s_without_others()["train"] == 2.0
    assert stage.recorder.rank_segments_ns() == {"train": 2 * 10**9}
    assert "slowest" not in stage.journal


def test_a_checkpoint_is_named_by_its_folder(stage, tmp_path):
    stage.recorder.checkpoint_saved(tmp_path / "checkpoints" / "step-00000006", 6)
    assert stage.events() == []
    stage.recorder.deliver()
    (event,) = stage.events()
    assert (event.kind, event.data.path, event.step) == ("checkpoint", "step-00000006", 6)


def test_the_end_is_written_with_what_was_noted_before_it(stage):
    stage.recorder.epoch_stopped(4)
    stage.recorder.stopped(COMPLETED, 6)
    assert [event.kind for event in stage.events()] == ["epoch_stop", "run_stop"]
    assert stage.events()[1].data == COMPLETED
    assert stage.journal == ["write in build", "tell epoch_stop", "tell run_stop"]


def test_an_attempt_goes_on_in_the_same_ledger(stage, tmp_path, monkeypatch):
    stage.recorder.started(make_start(), 0)
    monkeypatch.undo()
    resumed = make_stage(tmp_path, monkeypatch)
    resumed.recorder.started(make_start(resumed_step=4), 4)
    assert [event.seq for event in resumed.events()] == [0, 1]


def test_another_rank_writes_nothing_and_joins_in_every_sum(tmp_path, monkeypatch):
    (tmp_path / "main").mkdir()
    (tmp_path / "other").mkdir()
    sums = []
    for name in ("main", "other"):
        stage = make_stage(tmp_path / name, monkeypatch, is_main=name == "main")
        stage.recorder.started(make_start(segments_s=stage.recorder.segments_s()), 0)
        stage.recorder.epoch_stopped(4)
        evaluate(stage)
        stage.recorder.checkpoint_saved(tmp_path / "step-4", 4)
        stage.recorder.stopped(COMPLETED, 6)
        sums.append(stage.journal.count("slowest"))
        monkeypatch.undo()
    assert sums == [3, 3]
    assert stage.events() == []
    assert stage.journal == ["slowest"] * 3
