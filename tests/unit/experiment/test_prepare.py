"""What a study still has to do, by what is stored of it."""

import dataclasses

import pytest

from bench.experiment.plan import run_ids
from bench.experiment.prepare import prepare
from bench.ledger.errors import LedgerError
from bench.ledger.json_records import to_json
from tests.unit.disk_factory import StudyOnDisk, moved_clock, write_plan, write_run, write_study

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


def damage_a_ledger(study: StudyOnDisk) -> str:
    """Put a line into the first run's ledger that is none; return the run's id."""
    run_id = study.runs[0].run_id
    ledger = study.store.run_dir(run_id) / "events.rank0.jsonl"
    ledger.write_text("nothing\n")
    return run_id


def test_a_run_whose_ledger_is_damaged_is_missing_and_has_no_results(tmp_path):
    study = write_study(tmp_path)
    run_id = damage_a_ledger(study)
    prepared = prepare(study.config)
    assert prepared.missing_run_ids() == {run_id}
    with pytest.raises(LedgerError, match=rf"{run_id}/events\.rank0\.jsonl:1"):
        prepared.results()


def test_nothing_is_decided_beside_a_damaged_ledger(tmp_path):
    damage_a_ledger(write_study(tmp_path, "--blocks=7"))
    prepared = prepare(write_plan(tmp_path, "--blocks=7", *DECIDING).config)
    assert len(prepared.missing_run_ids()) == 24 - 13


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("--optim.lr=0.5",), "they were made by another config"),
        (("--seed=1",), "they are of more blocks or seeds"),
        (("--blocks=1",), "they are of more blocks or seeds"),
    ],
)
def test_runs_that_are_not_of_the_plan_are_neither_left_out_nor_mixed_in(
    tmp_path, overrides, reason
):
    study = write_study(tmp_path, "--blocks=2")
    other = write_plan(tmp_path / "elsewhere", "--blocks=2", *overrides)
    config = dataclasses.replace(other.config, output=str(tmp_path))
    with pytest.raises(ValueError, match=rf"runs lie here .*\(\d, as .*{reason}.*another --output"):
        prepare(config)
    assert study.store.plan() == study.plan
