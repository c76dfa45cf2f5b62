"""Events to results: every way in which a run can end, and go on."""

import dataclasses
import json

import pytest

from bench.files import sha256_of
from bench.ledger.events import EventLog, RunStarted, RunStopped, read_events
from bench.ledger.fold import fold, segment_gaps
from bench.ledger.json_records import to_json
from bench.ledger.records import RunStop
from tests.unit.disk_factory import StudyOnDisk, moved_clock, write_plan, write_run
from tests.unit.results_factory import make_event, make_look, make_looks, make_run_start
from tests.unit.study_factory import RISING


def stop(status="completed", error=None, train_s=9.0, *, stopped_step=None, best_step=None):
    end = RunStop(
        status=status,
        error=error,
        segments_s={"train": train_s, "evaluate": 1.0},
        stopped_step=stopped_step,
        best_step=best_step,
    )
    return make_event(RunStopped, end)


def steps(result):
    return [evaluation.step for evaluation in result.evaluations]


def accuracies(evaluations):
    return [evaluation.accuracy for evaluation in evaluations]


def test_a_completed_run():
    on_test = make_look(3, 0.75, split="test", confusion=((400, 100), (150, 350)))
    start = make_run_start(seed=4, block=2)
    result = fold([start, *make_looks((0.25, 0.5, 0.75)), on_test, stop()], "e" * 64)
    assert result.run_id == "pretrained-s4-1a2b3c4d"
    assert result.arm == "pretrained"
    assert result.seed == 4
    assert result.block == 2
    assert result.status == "completed"
    assert result.error is None
    assert result.attempts == 1
    assert result.resumed is False
    assert accuracies(result.evaluations) == [0.25, 0.5, 0.75]
    assert result.test_correct == 750
    assert result.test_total == 1000
    assert result.test_accuracy == 0.75
    assert result.confusion == ((400, 100), (150, 350))
    assert result.is_finished
    assert result.budget_samples == 12_800
    assert result.test_loss == on_test.data.loss
    assert result.segments_s == {"train": 9.0, "evaluate": 1.0}
    assert result.data_wait_fraction == pytest.approx(0.05)
    assert result.start == start.data
    assert result.ledger_sha256 == "e" * 64
    assert json.loads(json.dumps(to_json(result)))["looks"][1]["samples"] == 640


def test_an_evaluation_has_all_that_its_event_has():
    event = make_look(2, 0.4)
    scores = event.data
    (evaluation,) = fold([make_run_start(), event]).evaluations
    assert (evaluation.step, evaluation.epoch) == (event.step, event.epoch)
    names = {field.name for field in dataclasses.fields(evaluation)} - {"step", "epoch"}
    assert len(names) > 5
    for name in names:
        assert getattr(evaluation, name) == getattr(scores, name)


def test_a_stream_without_its_end_is_interrupted():
    result = fold([make_run_start(), make_look(1, 0.3), make_look(2, 0.4)])
    assert (result.status, result.error) == ("interrupted", None)
    assert not result.is_finished
    assert result.segments_s == make_look(2, 0.4).data.segments_s
    assert (result.test_correct, result.test_total, result.test_loss) == (None, None, None)
    assert (result.test_accuracy, result.confusion) == (None, None)


def test_a_run_that_was_only_started():
    result = fold([make_run_start()])
    assert (result.status, result.evaluations, result.segments_s) == ("interrupted", [], {})
    assert (result.images_per_s, result.data_wait_fraction) == (None, None)
    assert fold([make_run_start(segments_s={"init": 2.0})]).segments_s == {"init": 2.0}


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_run_that_broke_keeps_its_evaluations_and_its_error(status):
    result = fold([make_run_start(), make_look(1, 0.3), stop(status, "loss is nan at step 7")])
    assert (result.status, result.error) == (status, "loss is nan at step 7")
    assert result.is_finished == (status == "diverged")
    assert steps(result) == [5]


def test_a_resumed_attempt_keeps_evaluations_up_to_its_checkpoint_only():
    first = [make_run_start(), *make_looks((0.1, 0.2, 0.3, 0.4))]
    checkpoint_step = make_look(2, 0.2).step
    second = [
        make_run_start(resumed_step=checkpoint_step),
        make_look(3, 0.9),
        make_look(4, 0.95),
        stop(),
    ]
    result = fold(first + second)
    assert steps(result) == [5, 10, 15, 20]
    assert accuracies(result.evaluations) == [0.1, 0.2, 0.9, 0.95]
    assert (result.status, result.attempts, result.resumed) == ("completed", 2, True)
    assert result.start.resumed_step == checkpoint_step


def test_a_resumed_attempt_that_was_killed_at_once_keeps_what_its_checkpoint_holds():
    result = fold(
        [make_run_start(), make_look(1, 0.1), make_look(2, 0.2), make_run_start(resumed_step=5)]
    )
    assert (steps(result), result.status) == ([5], "interrupted")
    assert result.segments_s == make_look(1, 0.1).data.segments_s


def test_a_restarted_attempt_drops_all_of_the_killed_one():
    killed = [
        make_run_start(),
        make_look(1, 0.1),
        make_look(2, 0.2),
        make_look(2, 0.99, split="test"),
        make_look(2, 0.99, split="test", confusion=((1, 0), (0, 1))),
    ]
    result = fold([*killed, make_run_start(), make_look(1, 0.5), stop()])
    assert accuracies(result.evaluations) == [0.5]
    assert result.test_evaluations == []
    assert (result.attempts, result.resumed) == (2, False)
    assert (result.test_correct, result.confusion) == (None, None)


def test_an_attempt_after_a_failed_one_is_judged_by_its_own_end():
    result = fold(
        [
            make_run_start(),
            make_look(1, 0.1),
            stop("failed", "out of memory"),
            make_run_start(),
            make_look(1, 0.5),
        ]
    )
    assert (result.status, result.error) == ("interrupted", None)


def test_where_a_run_ended_itself_and_which_evaluation_was_scored():
    begun = [make_run_start(), *make_looks((0.3, 0.6, 0.5))]
    plain = fold([*begun, stop()])
    assert (plain.stopped_step, plain.best_step, plain.scored_evaluation.step) == (None, None, 15)
    stopped = fold([*begun, stop(stopped_step=15, best_step=10)])
    assert (stopped.stopped_step, stopped.best_step) == (15, 10)
    assert stopped.scored_evaluation.accuracy == 0.6
    killed = fold(begun)
    assert (killed.stopped_step, killed.best_step) == (None, None)


def test_throughput_leaves_the_first_epoch_out():
    """Evaluations lie 320 images apart, an epoch is 1200: the first one after it is the fourth."""
    seconds = [10.0, 20.0, 30.0, 40.0, 41.0, 42.0]
    looks = [make_look(number, 0.5, train_s=train_s) for number, train_s in enumerate(seconds, 1)]
    assert fold([make_run_start(), *looks]).images_per_s == pytest.approx(320.0)
    assert fold([make_run_start(), *looks[:4]]).images_per_s is None


def test_data_wait_is_a_share_of_the_train_segment():
    look = make_look(4, 0.5, train_s=8.0, data_wait_s=2.0)
    assert fold([make_run_start(), look]).data_wait_fraction == 0.25


def test_a_stream_without_a_start_is_refused():
    with pytest.raises(ValueError, match="no run_start"):
        fold([make_look(1, 0.5), stop()])


def test_evaluations_on_test_are_for_the_record_and_the_last_alone_is_the_result():
    begun = [
        make_run_start(),
        make_look(1, 0.1),
        make_look(1, 0.15, split="test"),
        make_look(2, 0.2),
        make_look(2, 0.25, split="test"),
        make_look(3, 0.3),
    ]
    final = make_look(3, 0.35, split="test", confusion=((1, 0), (0, 1)))
    result = fold([*begun, final, stop()])
    assert accuracies(result.evaluations_on("val")) == [0.1, 0.2, 0.3]
    assert accuracies(result.evaluations_on("test")) == [0.15, 0.25, 0.35]
    assert result.test_accuracy == 0.35
    assert fold([*begun, make_look(3, 0.3, split="test")]).test_accuracy is None


def test_a_resumed_attempt_keeps_evaluations_on_test_up_to_its_checkpoint():
    first = [make_run_start()]
    for number in (1, 2, 3):
        first.append(make_look(number, 0.1 * number, split="test"))
    result = fold([*first, make_run_start(resumed_step=10), make_look(3, 0.9, split="test")])
    assert accuracies(result.test_evaluations) == [0.1, 0.2, 0.9]


@pytest.mark.parametrize("correct", [0.5, 750.5])
def test_a_part_of_an_image_is_not_counted(tmp_path, correct):
    log = EventLog(tmp_path)
    look = make_look(1, 0.5, split="test", confusion=((1, 0), (0, 1)))
    log.emit(type(look), look.data, epoch=look.epoch, step=look.step)
    log.flush()
    assert '"correct":500,' in log.path.read_text()
    log.path.write_text(log.path.read_text().replace('"correct":500,', f'"correct":{correct},'))
    with pytest.raises(ValueError, match=r"jsonl:1: not an event: .*correct"):
        read_events(log.path)


@pytest.fixture
def study(tmp_path) -> StudyOnDisk:
    return write_plan(tmp_path)


@pytest.fixture
def ledger(study):
    """A finished run's ledger, written event by event while a clock of its own passed."""
    with moved_clock() as clock:
        return write_run(study, study.runs[0], clock, RISING, step_s=2.0)


def test_a_ledger_with_known_phases_reads_on_all_clocks_as_worked_out_by_hand(study, ledger):
    """4 evaluations after 2 s of training, each 0.1 s and 0.01 s of log; 0.1 s for test; 0.02 s
    for the end; what was paid before.
    """
    result = study.store.result(study.runs[0].run_id)
    assert result is not None
    by_hand_s = {
        "startup": 1.5,
        "data_setup": 0.5,
        "compile": 21.5,
        "build": 0.25,
        "init": 0.125,
        "train": 8.0,
        "evaluate": 0.4,
        "evaluate_final": 0.1,
        "log": 0.07,
    }
    assert result.segments_s == pytest.approx(by_hand_s)
    assert result.evaluations[1].segments_s["train"] == 4.0
    assert result.ledger_sha256 == sha256_of(ledger)
    assert segment_gaps(read_events(ledger)) == []


def with_more_training(event, change_s):
    """The event with other seconds in its train segment."""
    segments_s = {**event.data.segments_s, "train": event.data.segments_s["train"] + change_s}
    return dataclasses.replace(event, data=dataclasses.replace(event.data, segments_s=segments_s))


def gaps(path, line, change_s, world_size=1):
    """The gaps where an event's train segment is another than it was, from that line on."""
    first, *later = read_events(path)
    assert isinstance(first, RunStarted)
    start = dataclasses.replace(first.data, world_size=world_size)
    events = [dataclasses.replace(first, data=start)]
    for place, event in enumerate(later, 1):
        if place >= line and hasattr(event.data, "segments_s"):
            event = with_more_training(event, change_s)
        events.append(event)
    return segment_gaps(events)


@pytest.mark.parametrize("change_s", [0.0, 0.07, -0.07])
def test_segments_sum_to_the_time_that_passed_within_one_percent_and_two_cuts(ledger, change_s):
    """From evaluation to evaluation 2.11 s pass: 0.0211 s and 0.05 s may be missing."""
    assert gaps(ledger, 3, change_s) == []


@pytest.mark.parametrize("change_s", [0.08, -0.08, -9.0])
def test_segments_that_are_further_from_the_time_that_passed_are_a_gap(ledger, change_s):
    sentence = f"seq 1 to 3: segments tell {2.11 + change_s:.3f} s of 2.110 s"
    assert gaps(ledger, 3, change_s) == [sentence]


def test_over_several_ranks_segments_may_sum_to_more_than_passed(ledger):
    assert gaps(ledger, 3, 0.5, world_size=2) == []
    assert len(gaps(ledger, 3, -0.5, world_size=2)) == 1


def test_the_start_and_the_end_of_a_run_are_timed_too(ledger):
    last = len(read_events(ledger)) - 1
    assert len(gaps(ledger, 1, 0.5)) == 1
    assert len(gaps(ledger, last, 0.5)) == 1


def test_gaps_are_looked_for_in_the_last_attempt(study):
    with moved_clock() as clock:
        write_run(study, study.runs[0], clock, status=None)
        clock.ns += 10**12  # nobody knows how long it lay killed
        path = write_run(study, study.runs[0], clock, resumed_from=2)
    assert segment_gaps(read_events(path)) == []
    assert segment_gaps([]) == []
