"""Which learning rate is tried next, and which experiments can be tuned.

tests/integration/test_tune.py tunes.
"""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config.load import load
from bench.experiment.tune import Tuner, check_tunable, next_rate

RATES = Path(__file__).parents[2] / "experiments" / "rates.yaml"
THREE = (1e-4, 1e-3, 1e-2)


@pytest.mark.parametrize(
    ("scores", "coarse", "finer"),
    [
        ((0.1, 0.2, 0.3), 1e-1, 1e-1),
        ((0.3, 0.2, 0.1), 1e-5, 1e-5),
        ((0.1, 0.3, 0.2), 1e-1, 3.16e-3),
        ((0.2, 0.3, 0.1), 1e-5, 3.16e-4),
        ((0.0, 0.0, 0.0), 1e-5, 1e-5),  # all diverged
        ((0.1, 0.1, 0.1), 1e-1, 1e-1),  # nothing learned yet
    ],
)
def test_the_fourth_rate(scores, coarse, finer):
    by_rate = dict(zip(THREE, scores, strict=True))
    assert next_rate(by_rate, finer=False) == coarse
    assert next_rate(by_rate, finer=True) == finer


@given(
    centre=st.floats(1e-6, 10.0),
    scores=st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.7, 0.9]), min_size=12, max_size=12),
    finer=st.booleans(),
)
def test_no_rate_is_tried_twice_and_the_grid_grows_from_its_edges_or_between(centre, scores, finer):
    tried = dict(zip((centre, centre / 10, centre * 10), scores[:3], strict=True))
    for score in scores[3:]:
        rate = next_rate(tried, finer=finer)
        assert rate not in tried
        assert place_among(tried, rate) in allowed_places(tried, finer)
        tried[rate] = score


def place_among(tried: dict[float, float], rate: float) -> str:
    """Where a rate lies to those that were tried: a step of ten from an edge, or between."""
    if math.isclose(rate, min(tried) / 10, rel_tol=0.01):
        return "below"
    if math.isclose(rate, max(tried) * 10, rel_tol=0.01):
        return "above"
    return "between" if min(tried) < rate < max(tried) else "elsewhere"


def allowed_places(tried: dict[float, float], finer: bool) -> set[str]:
    """Beyond an edge where that was best alone, else beyond one of them or, if finer, between."""
    if is_best_alone(tried, min(tried)):
        return {"below"}
    if is_best_alone(tried, max(tried)):
        return {"above"}
    return {"below", "above", "between"} if finer else {"below", "above"}


def is_best_alone(tried: dict[float, float], rate: float) -> bool:
    scores = list(tried.values())
    return tried[rate] == max(scores) and scores.count(max(scores)) == 1


def test_where_nothing_lies_between_the_grid_grows_again():
    """Ever finer around one peak, until three digits tell no more rates apart."""
    tried: dict[float, float] = {}
    rate = 1e-3
    for _ in range(25):
        assert rate not in tried
        tried[rate] = 1 / (1 + abs(math.log(rate / 1.234e-3)))
        rate = next_rate(tried, finer=True) if len(tried) > 2 else THREE[2 * len(tried) - 2]
    assert max(tried) > 1e-2


def test_an_experiment_must_let_its_arms_have_rates_and_leave_them_to_tuning():
    check_tunable(load(RATES))
    with pytest.raises(
        ValueError, match=r"optim\.lr must be one of the factors, which are \['data\.flip'\]"
    ):
        check_tunable(load(RATES, ["--factors=[data.flip]"]))
    with pytest.raises(ValueError, match=r"arm flipped sets optim\.lr itself"):
        check_tunable(load(RATES, ["--arms.flipped.optim.lr=0.1"]))


def test_what_a_trial_cannot_be_is_told_before_any_work():
    with pytest.raises(
        ValueError,
        match=r"^tuning of arm still: train\.samples: 300 is no multiple of "
        r"evaluation\.every_samples 256",
    ):
        Tuner(load(RATES, ["--tune.samples=300"]), SimpleNamespace(startup_s=0.0))
