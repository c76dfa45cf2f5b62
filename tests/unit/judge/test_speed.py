"""How long a thousand stored runs take to be read, folded and judged, and that ten times the runs
take ten times as long.
"""

import math
import time

import pytest

from bench.judge.comparison import summarize
from tests.unit.study_factory import own_clock, study_plan, write_run
from tests.unit.results_factory import EVERY_SAMPLES

CURVE = [
    0.96 - 0.8 * math.exp(-look / 20) for look in range(99)
]  # with an epoch's end at each look, about 200 events a run


def seconds(folder, blocks):
    """Of reading and folding, and of judging, the runs of two arms at six thresholds."""
    thresholds = "--thresholds=[0.5, 0.7, 0.8, 0.9, 0.93, 0.94]"
    made = study_plan(
        folder, f"--blocks={blocks}", f"--train.samples={len(CURVE) * EVERY_SAMPLES}", thresholds
    )
    with own_clock() as clock:
        for spec in made.specs:
            write_run(
                made,
                spec,
                clock,
                CURVE,
                step_s=1.0 if spec.arm == "pretrained" else 3.0,
                result=False,
            )
    marks = [time.process_time()]
    results = made.store.planned_results()
    marks.append(time.process_time())
    assert summarize(made.record, results)["verdict"]["verdict"] == "arm sooner"
    marks.append(time.process_time())
    return marks[1] - marks[0], marks[2] - marks[1]


@pytest.mark.slow
def test_a_thousand_runs_of_two_hundred_events_take_seconds(tmp_path):
    hundred, thousand = seconds(tmp_path / "hundred", 50), seconds(tmp_path / "thousand", 500)
    assert sum(thousand) < 6
    assert thousand[0] < 20 * hundred[0] + 0.5
    assert thousand[1] < 20 * hundred[1] + 0.5
