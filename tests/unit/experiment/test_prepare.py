"""What a study still has to do, by what is stored of it."""

import pytest

from bench.experiment.plan import run_ids
from bench.experiment.prepare import prepare
from bench.ledger.json_records import to_json
from tests.unit.disk_factory import moved_clock, write_plan, write_run, write_study

DECIDING = ("--until_decided=true", "--primary.max_blocks=12", "--primary.interval_width=null")


def test_of_a_study_that_is_not_begun_everything_is_missing(tmp_path):
    study = write_plan(tmp_path)
    prepared = prepare(study.config)
    assert prepared.missing_run_ids() == set(prepared.run_ids) == set(study.plan.run_ids)
    assert prepared.run_ids == run_ids(prepared.blocks)
    assert prepared.results() == []


def test_runs_that_have_their_answer_are_not_missing(tmp_path):
    study = write_plan(tmp_path)
    statuses = ["completed", "diverged", "failed", None]
    with moved_clock() as clock:
        for run, status in zip(study.runs, statuses, strict=False):
            write_run(study, run, clock, status=status)
    prepared = prepare(study.config)
    done = {run.run_id for run in study.runs[:2]}
    assert prepared.missing_run_ids() == set(prepared.run_ids) - done
    assert len(prepared.results()) == 4


def test_of_a_finished_study_nothing_is_missing(tmp_path):
    assert prepare(write_study(tmp_path).config).missing_run_ids() == set()


def test_nothing_is_missing_where_the_comparison_is_decided(tmp_path):
    """Seven of at most twelve blocks are made, and the arm is three times as fast in each."""
    write_study(tmp_path, "--blocks=7")
    prepared = prepare(write_plan(tmp_path, "--blocks=7", *DECIDING).config)
    assert len(prepared.run_ids) == 24
    assert prepared.missing_run_ids() == set()


@pytest.mark.parametrize("blocks", [0, 1])
def test_what_is_not_decided_goes_on_to_the_most_blocks_there_may_be(tmp_path, blocks):
    study = write_plan(tmp_path, "--blocks=7", *DECIDING)
    with moved_clock() as clock:
        for run in study.runs[: 2 * blocks]:
            write_run(study, run, clock)
    prepared = prepare(study.config)
    assert len(prepared.missing_run_ids()) == 24 - 2 * blocks


def test_blocks_that_were_asked_for_are_made_though_the_comparison_is_decided(tmp_path):
    write_study(tmp_path, "--blocks=7")
    prepared = prepare(write_plan(tmp_path, "--blocks=9").config)
    assert len(prepared.missing_run_ids()) == 4


def test_a_plan_that_runs_were_begun_under_is_named_in_the_next(tmp_path):
    study = write_study(tmp_path)
    prepared = prepare(write_plan(tmp_path / "elsewhere", "--primary.alpha=0.01").config)
    assert prepared.record.amended == ()
    changed = write_plan(tmp_path, "--primary.alpha=0.01")
    (earlier,) = prepare(changed.config).record.amended
    assert (earlier.sha256, earlier.primary) == (study.plan.sha256, to_json(study.plan.primary))


def test_a_damaged_ledger_is_refused_with_its_name(tmp_path):
    study = write_study(tmp_path)
    ledger = study.store.run_dir(study.runs[0].run_id) / "events.rank0.jsonl"
    ledger.write_text("nothing\n")
    with pytest.raises(ValueError, match=r"events\.rank0\.jsonl:1"):
        prepare(study.config).missing_run_ids()
