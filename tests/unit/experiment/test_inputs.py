"""What is refused of an arm's inputs before any work."""

import pytest

from bench.config.load import load
from bench.experiment.inputs import check_parts_of_a_step
from tests.unit.training.factory import make_config

PARTS = {"train.accumulate_steps": 2}


def test_parts_of_a_step_are_refused_where_batch_norm_would_see_each_alone():
    message = (
        "train.accumulate_steps: 2 parts are another training for small_cnn, .*BatchNorm.*; "
        "allowed: 1, or declare train.accumulate_steps as one of the factors"
    )
    with pytest.raises(ValueError, match=message):
        check_parts_of_a_step(make_config(PARTS))


@pytest.mark.parametrize(
    "changes",
    [
        {"train.accumulate_steps": 1},
        {**PARTS, "factors": "[train.accumulate_steps]"},
        {**PARTS, "factors": "[train]"},
        {**PARTS, "model.name": "test_vit"},
        {**PARTS, "finetune.layers": "head"},
    ],
)
def test_parts_that_are_the_same_training_or_what_is_asked_are_allowed(changes):
    check_parts_of_a_step(make_config(changes))


def test_the_experiment_that_has_parts_has_no_batch_norm():
    check_parts_of_a_step(load("vit_huge", ["--model.name=test_vit"]))
