"""Batches, looks and budgets lie on one grid: a refusal names the nearest place on it."""

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.config.load import load
from tests.unit.config.studies import write

MANY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@MANY
@given(batch=st.integers(1, 200), every=st.integers(1, 500), samples=st.integers(1, 3000))
def test_the_grid_that_a_refusal_names_is_the_nearest_and_is_accepted(
    tmp_path, batch, every, samples
):
    path = write(tmp_path, schedule={"lr_warmup_steps": 0})
    grid = {
        "train.global_batch_size": batch,
        "evaluation.every_samples": every,
        "train.samples": samples,
    }
    accepted = with_refusals_followed(path, grid)
    accepted_every = accepted["evaluation.every_samples"]
    assert is_nearest_multiple(accepted_every, every, unit=batch)
    assert is_nearest_multiple(accepted["train.samples"], samples, unit=accepted_every)


def with_refusals_followed(path: str, grid: dict[str, int]) -> dict[str, int]:
    """Change each value that is refused to the one that is named as nearest, until all load."""
    accepted = dict(grid)
    while message := refusal_of_grid(path, accepted):
        refused = re.search(r"([\w.]+): (\d+) is no multiple of .*nearest: (\d+)$", message)
        assert refused is not None, message
        key, value, nearest = refused.groups()
        assert accepted[key] == int(value) != int(nearest)
        accepted[key] = int(nearest)
    return accepted


def refusal_of_grid(path: str, grid: dict[str, int]) -> str:
    """What a grid is refused with; nothing where it is accepted."""
    try:
        load(path, [f"--{key}={value}" for key, value in grid.items()])
    except ValueError as error:
        return str(error)
    return ""


def is_nearest_multiple(number: int, value: int, *, unit: int) -> bool:
    multiples = [unit * count for count in range(1, value // unit + 2)]
    distances = [abs(multiple - value) for multiple in multiples]
    return number in multiples and abs(number - value) == min(distances)


@MANY
@given(batch=st.integers(1, 50), steps=st.integers(1, 9), looks=st.integers(1, 9))
def test_a_grid_of_multiples_is_accepted(tmp_path, batch, steps, looks):
    every = batch * steps
    path = write(tmp_path, schedule={"lr_warmup_steps": 0})
    grid = {
        "train.global_batch_size": batch,
        "evaluation.every_samples": every,
        "train.samples": every * looks,
    }
    assert with_refusals_followed(path, grid) == grid
