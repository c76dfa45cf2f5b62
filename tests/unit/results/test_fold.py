"""Events to results: every way in which a run can end, and go on."""

import json

import pytest

from bench.results.fold import fold
from tests.unit.results_factory import make_event, make_look, make_run_start


def stop(status="completed", error=None, train_s=9.0):
    return make_event("run_stop", status=status, error=error, segments_s={"train": train_s, "evaluate": 1.0})


def steps(result):
    return [look.step for look in result.looks]


def test_a_completed_run():
    test_look = make_look(3, 0.75, split="test")
    result = fold([make_run_start(seed=4, block=2), *(make_look(n, n / 4) for n in (1, 2, 3)), test_look, stop()])
    assert (result.run_id, result.arm, result.seed, result.block) == ("pretrained-s4-1a2b3c4d", "pretrained", 4, 2)
    assert (result.status, result.error, result.attempts, result.resumed) == ("completed", None, 1, False)
    assert [look.accuracy for look in result.looks] == [0.25, 0.5, 0.75]
    assert (result.test_correct, result.test_total) == (750, 1000)
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
    second = [make_run_start(resumed_step=checkpoint_step), make_look(3, 0.9), make_look(4, 0.95), stop()]
    result = fold(first + second)
    assert steps(result) == [5, 10, 15, 20]
    assert [look.accuracy for look in result.looks] == [0.1, 0.2, 0.9, 0.95]
    assert (result.status, result.attempts, result.resumed) == ("completed", 2, True)
    assert result.start["resumed_step"] == checkpoint_step


def test_a_resumed_attempt_that_was_killed_at_once_keeps_what_its_checkpoint_holds():
    result = fold([make_run_start(), make_look(1, 0.1), make_look(2, 0.2), make_run_start(resumed_step=5)])
    assert (steps(result), result.status) == ([5], "interrupted")


def test_a_restarted_attempt_drops_all_of_the_killed_one():
    killed = [make_run_start(), make_look(1, 0.1), make_look(2, 0.2), make_look(2, 0.99, split="test")]
    result = fold([*killed, make_run_start(), make_look(1, 0.5), stop()])
    assert [look.accuracy for look in result.looks] == [0.5]
    assert (result.attempts, result.resumed) == (2, False)
    assert result.test_correct is None


def test_an_attempt_after_a_failed_one_is_judged_by_its_own_end():
    result = fold([make_run_start(), make_look(1, 0.1), stop("failed", "out of memory"), make_run_start(), make_look(1, 0.5)])
    assert (result.status, result.error) == ("interrupted", None)


def test_throughput_leaves_the_first_epoch_out():
    """Looks lie 320 images apart; an epoch is 1200, so the first look at or after it is the fourth."""
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
