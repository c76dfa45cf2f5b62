"""What an arm's runs tell: how a step splits, what compiling paid, what was confused, whether it is
as its reference was.
"""

from math import log

import pytest

from bench.judge.arms import ends, spread, train_flops
from tests.unit.study_factory import FLAT, RISING, timed, told

CLASSES = ["cat", "dog", "frog"]


def arm_of(runs, **changes):
    return next(arm for arm in told(runs, **changes)["arms"] if arm["name"] == "pretrained")


def run(block=0, *, compiled=None, **changes):
    made = timed(RISING, block=block, **changes)
    made.start["compile"] = {**made.start["compile"], **(compiled or {})}
    return made


def test_the_bottleneck_is_named_from_five_percent_waiting_on():
    def bottleneck(waiting, exchange=0.0):
        return arm_of(
            [run(data_wait_fraction=waiting, compiled={"communication_fraction": exchange})]
        )["step"]["bottleneck"]

    assert [bottleneck(fraction) for fraction in (None, 0.0, 0.05, 0.051, 1.0)] == [
        None,
        "compute",
        "compute",
        "data",
        "data",
    ]
    assert [bottleneck(0.0, exchange) for exchange in (0.5, 0.51)] == ["compute", "communication"]
    assert bottleneck(0.06, 0.9) == "data"


def test_a_step_splits_into_waiting_exchange_and_compute():
    runs = [run(block, data_wait_fraction=wait, compiled={"communication_fraction": 0.25})
            for block, wait in enumerate((0.1, 0.2, 0.9))]  # fmt: skip
    step = arm_of(runs)["step"]
    assert step == {
        "data_wait": 0.2, "communication": pytest.approx(0.2), "compute": pytest.approx(0.6),
        "bottleneck": "data",
    }  # fmt: skip
    assert set(
        arm_of([timed(FLAT, status="failed", data_wait_fraction=None)])["step"].values()
    ) == {None}


def test_compiling_has_paid_after_this_many_runs():
    """A step saves 0.1 s, a run has 200 steps: 40 s of compiling are paid by the second run."""
    compiled = arm_of([run(compiled={"compile_s": 40.0, "step_s": 0.1, "eager_step_s": 0.2})])[
        "compile"
    ]
    assert compiled["break_even_runs"] == pytest.approx(2.0)
    assert (compiled["compile_s"], compiled["cache_misses"], compiled["enabled"]) == (40.0, 3, True)


@pytest.mark.parametrize(
    "slow",
    [{"step_s": 0.2}, {"step_s": 0.3}, {"enabled": False}, {"step_s": None, "eager_step_s": None}],
)
def test_compiling_that_saves_nothing_never_pays(slow):
    assert arm_of([run(compiled=slow)])["compile"]["break_even_runs"] is None


def test_confusion_is_counted_over_all_runs():
    first, second = [[8, 1, 1], [3, 7, 0], [0, 0, 10]], [[9, 1, 0], [0, 10, 0], [4, 0, 6]]
    runs = [run(block, confusion=matrix) for block, matrix in enumerate((first, second))]
    for made in runs:
        made.start["dataset"] = {**made.start["dataset"], "classes": CLASSES}
    assert arm_of(runs)["classes"] == {
        "names": CLASSES,
        "confusion": [[17, 2, 1], [3, 17, 0], [4, 0, 16]],
        "accuracy": [17 / 20, 17 / 20, 16 / 20],
    }


def test_classes_without_an_error_or_without_an_image():
    assert arm_of([run(confusion=[[10, 0], [0, 0]])])["classes"]["accuracy"] == [1.0, None]
    assert arm_of([run(confusion=None)])["classes"] is None


def reference(stored, looks):
    """How an arm stands that crossed at these looks (epochs look x 320 / 1200); a look of 0: it
    never did.
    """
    curves = [[0.5] * (n - 1) + [0.95, 0.95] if n else FLAT for n in looks]
    runs = [timed(curve, block=block) for block, curve in enumerate(curves)]
    return arm_of(runs, reference={"pretrained": stored})["reference"]


def test_an_arm_is_as_its_stored_reference():
    found = reference([320 / 1200 * n for n in (3, 4, 5)], (3, 4, 5))
    assert found["told"] == "as stored"
    assert found["epochs"]["median"] == pytest.approx(4 * 320 / 1200)
    assert found["p_sooner"] > 0.3
    assert found["p_later"] > 0.3
    assert arm_of([run()])["reference"] is None


@pytest.mark.parametrize(
    ("looks", "stored", "state"),
    [
        ([1] * 7, [2.0, 2.1, 2.2, 2.3, 2.4], "too good"),  # 1 of 792 splits
        ([1] * 2, [2.0, 2.1, 2.2], "as stored"),  # 1 of 10: too few to tell
        ([9] * 7, [1.0, 1.1, 1.2, 1.3, 1.4], "too slow"),
        ([0] * 2, [1.0, 1.1], "too slow"),
        ([], [1.0, 1.1], "as stored"),
    ],
)
def test_what_is_unlike_its_reference_is_told(looks, stored, state):
    assert reference(stored, looks)["told"] == state


def test_one_percent_decides_whether_it_is_unlike():
    """One sided, exact: 1 of C(9, 4) = 126 splits is under 1 %, 1 of C(8, 4) = 70 is not."""
    assert reference([2.0, 2.1, 2.2, 2.3, 2.4], [1] * 4)["told"] == "too good"
    assert reference([2.0, 2.1, 2.2, 2.3], [1] * 4)["told"] == "as stored"


def test_area_is_mean_accuracy_over_log_flops():
    """Looks at 1, 2, 3 and 4 shares of samples: trapezoids over their logs, whatever an image
    costs.
    """
    parts = [(0.5 + 0.85) / 2 * log(2), (0.85 + 0.95) / 2 * log(3 / 2), 0.95 * log(4 / 3)]
    assert arm_of([run()])["area_log_flops"]["median"] == pytest.approx(sum(parts) / log(4))
    unknown = run()
    unknown.start["network"] = {**unknown.start["network"], "flops_per_image": None}
    found = arm_of([unknown])
    assert found["area_log_flops"]["median"] is None
    assert found["thresholds"][1]["flops_to_accuracy"]["median"] is None


WHOLE = {
    "train_flops_per_image": 30,
    "train_flops_once": 0,
    "head_first_samples": 0,
    "head_first_flops_per_image": 12,
}


@pytest.mark.parametrize(
    ("network", "flops"),
    [
        ({}, [0, 30, 3000]),
        ({"train_flops_once": 500}, [500, 530, 3500]),
        ({"head_first_samples": 10}, [0, 12, 120 + 90 * 30]),
        ({"head_first_samples": 200}, [0, 12, 1200]),
        (
            {"head_first_samples": 10, "train_flops_once": 7, "train_flops_per_image": 3},
            [7, 19, 7 + 120 + 270],
        ),
    ],
)
def test_flops_of_training_by_hand(network, flops):
    assert [train_flops({**WHOLE, **network}, samples) for samples in (0, 1, 100)] == flops


def test_flops_to_accuracy_and_the_area_are_at_the_price_that_was_paid():
    frozen = run()
    frozen.start["network"] = {
        **frozen.start["network"],
        "train_flops_per_image": 5,
        "train_flops_once": 10**6,
    }
    arm = arm_of([frozen])
    assert arm["thresholds"][1]["flops_to_accuracy"]["median"] == 10**6 + 5 * 960
    assert arm["area_log_flops"]["median"] != pytest.approx(
        arm_of([run()])["area_log_flops"]["median"]
    )


def test_the_optimism_gap_is_of_the_look_that_test_was_scored_on():
    made = run(
        test_correct=400, best_step=10, stopped_step=20
    )  # 0.8 on test; 0.85 on val at step 10, 0.95 at the last
    assert arm_of([made])["optimism_gap"]["median"] == pytest.approx(0.05)
    assert arm_of([run(test_correct=400)])["optimism_gap"]["median"] == pytest.approx(0.15)


def test_a_spread_leaves_out_what_is_not_known():
    assert spread([3.0, None, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}
    assert spread([None]) == spread([]) == {"median": None, "low": None, "high": None}


def test_an_open_end_is_null():
    assert ends(None) == ends((-float("inf"), float("inf"))) == {"low": None, "high": None}
    assert ends((0.0, 2.0)) == {"low": 0.0, "high": 2.0}


def test_an_arm_without_runs_is_described_by_nulls():
    arm = arm_of([])
    assert (arm["network"], arm["runs"], arm["step"], arm["compile"], arm["classes"]) == (
        None,
        0,
        None,
        None,
        None,
    )
    assert arm["thresholds"][0]["mean_s"] == {"value": None, "tau": None}
    assert arm["thresholds"][0]["restarts_s"] == {
        "value": None,
        "low": None,
        "high": None,
        "floor": None,
    }
