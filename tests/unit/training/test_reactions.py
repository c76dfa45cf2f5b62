"""What a run does when val loss no longer falls: as Keras does it, by the losses alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.training.schedules import react
from tests.unit.training.factory import make_config

LOSSES = st.lists(st.floats(0.01, 10) | st.just(math.inf), min_size=1, max_size=30)


def recipe(**changes):
    keys = {
        "schedule.plateau_factor": 0.5,
        "schedule.plateau_patience": 2,
        "train.stop_patience": 3,
        "optim.lr": 0.1,
    }
    for key, value in changes.items():
        keys[key.replace("__", ".")] = value
    return make_config(keys)


RECIPE = recipe()
NO_RECIPE = make_config()


@pytest.mark.parametrize(
    ("losses", "lr_scale", "best", "stop"),
    [
        ([], 1.0, 0, False),
        ([1.0], 1.0, 0, False),
        ([1.0, 0.9, 0.8], 1.0, 2, False),
        ([1.0, 1.1], 1.0, 0, False),
        ([1.0, 1.1, 1.0], 0.5, 0, False),  # an equal loss is not a lower one
        ([1.0, 1.1, 1.2, 1.3], 0.5, 0, True),
        ([1.0, 1.1, 1.2, 0.9], 0.5, 3, False),  # a rate that fell stays
        ([1.0, 1.1, 0.9, 1.0, 1.0], 0.5, 2, False),  # waiting starts again after a lower loss
        ([math.inf, math.inf, 2.0], 1.0, 2, False),
    ],
)
def test_the_rate_falls_and_the_run_ends_after_their_patience(losses, lr_scale, best, stop):
    reaction = react(losses, RECIPE)
    assert (reaction.lr_scale, reaction.best, reaction.stop) == (lr_scale, best, stop)


def test_the_rate_does_not_fall_below_its_least():
    config = recipe(schedule__plateau_min_lr=0.03, train__stop_patience="null")
    scales = [react([1.0] * looks, config).lr_scale for looks in range(1, 12)]
    assert scales[:5] == [1.0, 1.0, 0.5, 0.5, 0.3]
    assert set(scales[5:]) == {0.03 / 0.1}


def test_a_rate_below_its_least_does_not_rise():
    config = recipe(schedule__plateau_min_lr=0.5, train__stop_patience="null")
    assert react([1.0] * 50, config).lr_scale == 1.0


@given(LOSSES)
def test_without_a_recipe_nothing_reacts(losses):
    reaction = react(losses, NO_RECIPE)
    assert (reaction.lr_scale, reaction.stop) == (1.0, False)
    assert reaction.best == losses.index(min(losses))


@given(st.floats(0.01, 10), LOSSES)
def test_as_keras_has_it(first, later):
    """Its two callbacks, as they stand in its documentation, beside ours, look for look.

    From a finite loss on: Keras starts to wait before it has one.
    """
    losses = [first, *later]
    rate = 1.0
    best_rate = math.inf
    waited_rate = 0
    best = math.inf
    waited = 0
    for look, loss in enumerate(losses, 1):
        waited_rate = 0 if loss < best_rate else waited_rate + 1
        best_rate = min(best_rate, loss)
        if waited_rate >= 2:
            rate *= 0.5
            waited_rate = 0
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        reaction = react(losses[:look], RECIPE)
        assert (reaction.lr_scale, reaction.stop) == (rate, waited >= 3)
