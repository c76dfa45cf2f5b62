"""Learning rates as fractions of their peak, over all steps of a run."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.training.schedules import constant, cosine

SCHEDULES = pytest.mark.parametrize("schedule", [constant, cosine])
TOTALS, WARMUPS = st.integers(1, 500), st.integers(0, 100)


@SCHEDULES
@given(warmup_steps=st.integers(1, 100), more=TOTALS)
def test_the_rate_rises_evenly_to_its_peak(schedule, warmup_steps, more):
    rates = [schedule(step, warmup_steps, warmup_steps + more) for step in range(warmup_steps)]
    assert rates == pytest.approx([(step + 1) / warmup_steps for step in range(warmup_steps)])
    assert rates[-1] == 1


@SCHEDULES
@given(total_steps=TOTALS)
def test_without_a_rise_the_first_step_has_the_peak(schedule, total_steps):
    assert schedule(0, 0, total_steps) == 1


@SCHEDULES
@given(total_steps=TOTALS, warmup_steps=WARMUPS)
def test_a_rate_is_a_fraction_at_every_step(schedule, total_steps, warmup_steps):
    rates = [schedule(step, warmup_steps, total_steps) for step in range(total_steps)]
    assert all(0 < rate <= 1 for rate in rates)


@given(total_steps=TOTALS, warmup_steps=WARMUPS, step=st.integers(0, 10**6))
def test_constant_stays_at_its_peak_and_knows_no_end(total_steps, warmup_steps, step):
    assert constant(warmup_steps + step, warmup_steps, total_steps) == 1
    assert constant(step, warmup_steps, total_steps) == constant(step, warmup_steps, total_steps + 1)


@given(warmup_steps=WARMUPS, more=st.integers(2, 500))
def test_cosine_falls_from_its_peak_to_nearly_nothing(warmup_steps, more):
    total_steps = warmup_steps + more
    rates = [cosine(step, warmup_steps, total_steps) for step in range(warmup_steps, total_steps)]
    assert rates[0] == 1
    assert all(after < before for before, after in itertools.pairwise(rates))
    assert rates[-1] <= 2.5 / more**2  # (pi / 2 / more) ** 2, its last step before zero
    assert cosine(total_steps, warmup_steps, total_steps) == pytest.approx(0, abs=1e-12)


@given(half=st.integers(1, 200))
def test_cosine_is_a_half_at_half_way(half):
    assert cosine(half, 0, 2 * half) == pytest.approx(0.5)
