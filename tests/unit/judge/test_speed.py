"""How long a thousand stored runs take to be read, folded and judged, and that ten times the runs
take ten times as long.
"""

import math
import time

import pytest

from bench.judge.comparison import summarize
from bench.judge.study import planned_study
from tests.unit.disk_factory import moved_clock, write_plan, write_run
from tests.unit.results_factory import EVERY_SAMPLES

# With an epoch's end at each evaluation, about 200 events a run.
CURVE = [0.96 - 0.8 * math.exp(-look / 20) for look in range(99)]
THRESHOLDS = "--thresholds=[0.5, 0.7, 0.8, 0.9, 0.93, 0.94]"


def seconds(folder, blocks):
    """Return seconds of reading and folding, and of judging, two arms at six thresholds."""
    samples = len(CURVE) * EVERY_SAMPLES
    study = write_plan(folder, f"--blocks={blocks}", f"--train.samples={samples}", THRESHOLDS)
    with moved_clock() as clock:
        for run in study.runs:
            step_s = 1.0 if run.arm == "pretrained" else 3.0
            write_run(study, run, clock, CURVE, step_s=step_s, result=False)
    start = time.process_time()
    results = study.store.planned_results()
    read = time.process_time()
    report = summarize(planned_study(study.plan), results)
    judged = time.process_time()
    assert report.verdict.verdict == "arm sooner"
    return read - start, judged - read


@pytest.mark.slow
def test_a_thousand_runs_of_two_hundred_events_take_seconds(tmp_path):
    hundred = seconds(tmp_path / "hundred", 50)
    thousand = seconds(tmp_path / "thousand", 500)
    assert sum(thousand) < 6
    for few_s, many_s in zip(hundred, thousand, strict=True):
        assert many_s < 20 * few_s + 0.5
