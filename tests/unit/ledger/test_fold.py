"""Events to results: every way in which a run can end, and go on."""

import dataclasses
import json

import pytest

from bench.files import sha256_of
from bench.ledger.events import SCHEMA_VERSION, read_events
from bench.ledger.fold import fold, segment_gaps
from tests.unit.results_factory import make_event, make_look, make_run_start
from tests.unit.study_factory import RISING, own_clock, study_plan, write_run


def stop(status="completed", error=None, train_s=9.0, **ended):
    ended = {"stopped_step": None, "best_step": None, **ended}
    return make_event(
        "run_stop",
        status=status,
        error=error,
        segments_s={"train": train_s, "evaluate": 1.0},
        **ended,
    )


def steps(result):
    return [look.step for look in result.looks]


def test_a_completed_run():
    test_look = make_look(3, 0.75, split="test", confusion=[[400, 100], [150, 350]])
    result = fold(
        [
            make_run_start(seed=4, block=2),
            *(make_look(n, n / 4) for n in (1, 2, 3)),
            test_look,
            stop(),
        ]
    )
    assert (result.run_id, result.arm, result.seed, result.block) == (
        "pretrained-s4-1a2b3c4d",
        "pretrained",
        4,
        2,
    )
    assert (result.status, result.error, result.attempts, result.resumed) == (
        "completed",
        None,
        1,
        False,
    )
    assert [look.accuracy for look in result.looks] == [0.25, 0.5, 0.75]
    assert (result.test_correct, result.test_total, result.test_accuracy) == (750, 1000, 0.75)
    assert (result.confusion, result.is_finished, result.budget) == (
        [[400, 100], [150, 350]],
        True,
        12_800,
    )
    assert result.test_loss == test_look.data["loss"]
    assert result.segments_s == {"train": 9.0, "evaluate": 1.0}
    assert result.data_wait_fraction == pytest.approx(0.05)
    assert json.loads(json.dumps(result.to_dict()))["looks"][1]["samples"] == 640


def test_a_stream_without_its_end_is_interrupted():
    result = fold([make_run_start(), make_look(1, 0.3), make_look(2, 0.4)])
    assert (result.status, result.error) == ("interrupted", None)
    assert result.segments_s == make_look(2, 0.4).data["segments_s"]
    assert (result.test_correct, result.test_total, result.test_loss) == (None, None, None)


def test_a_run_that_was_only_started():
    result = fold([make_run_start()])
    assert (result.status, result.looks, result.segments_s) == ("interrupted", [], {})
    assert (result.images_per_s, result.data_wait_fraction) == (None, None)


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_run_that_broke_keeps_its_looks_and_its_error(status):
    result = fold([make_run_start(), make_look(1, 0.3), stop(status, "loss is nan at step 7")])
    assert (result.status, result.error) == (status, "loss is nan at step 7")
    assert steps(result) == [5]


def test_a_resumed_attempt_keeps_looks_up_to_its_checkpoint_only():
    first = [make_run_start(), *(make_look(n, 0.1 * n) for n in (1, 2, 3, 4))]
    checkpoint_step = make_look(2, 0.2).step
    second = [
        make_run_start(resumed_step=checkpoint_step),
        make_look(3, 0.9),
        make_look(4, 0.95),
        stop(),
    ]
    result = fold(first + second)
    assert steps(result) == [5, 10, 15, 20]
    assert [look.accuracy for look in result.looks] == [0.1, 0.2, 0.9, 0.95]
    assert (result.status, result.attempts, result.resumed) == ("completed", 2, True)
    assert result.start["resumed_step"] == checkpoint_step


def test_a_resumed_attempt_that_was_killed_at_once_keeps_what_its_checkpoint_holds():
    result = fold(
        [make_run_start(), make_look(1, 0.1), make_look(2, 0.2), make_run_start(resumed_step=5)]
    )
    assert (steps(result), result.status) == ([5], "interrupted")


def test_a_restarted_attempt_drops_all_of_the_killed_one():
    killed = [
        make_run_start(),
        make_look(1, 0.1),
        make_look(2, 0.2),
        make_look(2, 0.99, split="test"),
    ]
    result = fold([*killed, make_run_start(), make_look(1, 0.5), stop()])
    assert [look.accuracy for look in result.looks] == [0.5]
    assert (result.attempts, result.resumed) == (2, False)
    assert result.test_correct is None


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


def test_where_a_run_ended_itself_and_which_look_was_scored():
    looks = [make_look(n, accuracy) for n, accuracy in enumerate((0.3, 0.6, 0.5), 1)]
    plain, stopped = (
        fold([make_run_start(), *looks, end])
        for end in (stop(), stop(stopped_step=15, best_step=10))
    )
    assert (plain.stopped_step, plain.best_step, plain.scored_look.step) == (None, None, 15)
    assert (stopped.stopped_step, stopped.best_step, stopped.scored_look.accuracy) == (15, 10, 0.6)
    killed = fold([make_run_start(), *looks])
    assert (killed.stopped_step, killed.best_step) == (None, None)


def test_throughput_leaves_the_first_epoch_out():
    """Looks lie 320 images apart, an epoch is 1200: the first look at or after it is the fourth."""
    seconds = [10.0, 20.0, 30.0, 40.0, 41.0, 42.0]
    looks = [make_look(n, 0.5, train_s=train_s) for n, train_s in enumerate(seconds, 1)]
    assert fold([make_run_start(), *looks]).images_per_s == pytest.approx(320.0)
    assert fold([make_run_start(), *looks[:4]]).images_per_s is None


def test_data_wait_is_a_share_of_the_train_segment():
    look = make_look(4, 0.5, train_s=8.0, data_wait_s=2.0)
    assert fold([make_run_start(), look]).data_wait_fraction == 0.25


def test_a_stream_without_a_start_is_refused():
    with pytest.raises(ValueError, match="no run_start"):
        fold([make_look(1, 0.5), stop()])


def test_looks_on_test_are_for_the_record_and_the_last_alone_is_the_result():
    looks = [make_look(n, 0.1 * n, split=split) for n in (1, 2, 3) for split in ("val", "test")]
    result = fold(
        [
            make_run_start(),
            *looks[:-1],
            make_look(3, 0.35, split="test", confusion=[[1, 0], [0, 1]]),
            stop(),
        ]
    )
    assert [look.accuracy for look in result.looks_on("val")] == [0.1, 0.2, 0.3]
    assert [look.accuracy for look in result.looks_on("test")] == [0.1, 0.2, 0.35]
    assert result.test_accuracy == 0.35
    assert fold([make_run_start(), *looks]).test_accuracy is None


def test_a_resumed_attempt_keeps_looks_on_test_up_to_its_checkpoint():
    first = [make_run_start(), *(make_look(n, 0.1 * n, split="test") for n in (1, 2, 3))]
    result = fold([*first, make_run_start(resumed_step=10), make_look(3, 0.9, split="test")])
    assert [look.accuracy for look in result.test_looks] == [0.1, 0.2, 0.9]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_events_of_another_version_are_refused(place):
    events = [make_run_start(), make_look(1, 0.5), stop()]
    events[place] = dataclasses.replace(events[place], schema_version=SCHEMA_VERSION - 1)
    with pytest.raises(
        ValueError,
        match=f"^events of schema version {SCHEMA_VERSION - 1}, "
        f"this headstart reads {SCHEMA_VERSION}",
    ):
        fold(events)


@pytest.fixture
def ledger(tmp_path):
    """A finished run's ledger, written event by event while a clock of its own passed."""
    made = study_plan(tmp_path)
    with own_clock() as clock:
        path = write_run(made, made.specs[0], clock, RISING, step_s=2.0)
    return made, made.specs[0].run_id, path


def test_a_ledger_with_known_phases_reads_on_all_clocks_as_worked_out_by_hand(ledger):
    """4 looks of 2 s training, each 0.1 s and 0.01 s of log; 0.1 s for test; 0.02 s for the end;
    what was paid before.
    """
    made, run_id, path = ledger
    result = made.store.result(run_id)
    assert result.segments_s == pytest.approx({
        "startup": 1.5, "data_setup": 0.5, "compile": 21.5, "build": 0.25, "init": 0.125,
        "train": 8.0, "evaluate": 0.4, "evaluate_final": 0.1, "log": 0.07,
    })  # fmt: skip
    assert result.looks[1].segments_s["train"] == 4.0
    assert result.ledger_sha256 == sha256_of(path)
    assert segment_gaps(read_events(path)) == []


def gaps(path, line, change_s, **start):
    """The gaps told where an event's train segment is another than it was, from that line on."""
    events = read_events(path)
    events[0] = dataclasses.replace(events[0], data={**events[0].data, **start})
    for place, event in enumerate(events):
        if place >= line and "segments_s" in event.data:
            more = {
                **event.data["segments_s"],
                "train": event.data["segments_s"]["train"] + change_s,
            }
            events[place] = dataclasses.replace(event, data={**event.data, "segments_s": more})
    return segment_gaps(events)


@pytest.mark.parametrize(
    ("change_s", "told"),
    [(0.0, False), (0.07, False), (-0.07, False), (0.08, True), (-0.08, True), (-9.0, True)],
)
def test_segments_sum_to_the_time_that_passed_within_one_percent_and_two_cuts(
    ledger, change_s, told
):
    """From look to look 2.11 s pass: 0.0211 s and 0.05 s may be missing."""
    found = gaps(ledger[2], 3, change_s)
    assert bool(found) == told
    if told:
        assert found == [f"seq 1 to 3: segments tell {2.11 + change_s:.3f} s of 2.110 s"]


def test_over_several_ranks_segments_may_sum_to_more_than_passed(ledger):
    assert gaps(ledger[2], 3, 0.5, world_size=2) == []
    assert len(gaps(ledger[2], 3, -0.5, world_size=2)) == 1


def test_gaps_are_looked_for_in_the_last_attempt(tmp_path):
    made = study_plan(tmp_path)
    with own_clock() as clock:
        write_run(made, made.specs[0], clock, status=None)
        clock.ns += 10**12  # nobody knows how long it lay killed
        path = write_run(made, made.specs[0], clock, resumed_from=2)
    assert segment_gaps(read_events(path)) == []
    assert segment_gaps([]) == []
