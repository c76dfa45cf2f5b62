"""What a report's tables say of arms, classes, runs, and of what came on top of a run."""

import dataclasses
from collections.abc import Sequence

import pytest

from bench.judge.comparison import summarize
from bench.judge.records import Report
from bench.judge.study import Study
from bench.ledger.records import Pretraining
from bench.ledger.result import RunResult
from bench.report.arm_tables import arms_table
from bench.report.class_tables import classes_table, confused_table, matrices
from bench.report.config_tables import audit_table, differing_table, equal_table
from bench.report.cost_tables import break_even_table, tuning_table
from bench.report.run_tables import environment_table, runs_table
from bench.report.table import Table
from bench.report.tables import amended_table, crossings_table, rankings_table, times_table
from bench.report.words import NOTHING
from tests.unit.results_factory import make_result, make_study, with_fact, with_start
from tests.unit.runs_factory import make_study_runs
from tests.unit.study_factory import FLAT, RISING, pair, timed, wins

ARMS = {"pretrained": {"model.name": "resnet18"}, "random": {}, "again": {}}
MILLION_FLOPS = 1_000_000
PRICE = Pretraining(source="600 epochs of ImageNet", flops=8.36e18, estimate=True)


def three_arms(**changes: object) -> Study:
    """Make a study whose arms may differ in their network."""
    return make_study(arms=ARMS, factors=("model",), thresholds=(0.8, 0.9), **changes)


def three_arms_runs(looks: int = 6) -> list[RunResult]:
    """Make two blocks of three arms."""
    return list(make_study_runs(three_arms(), blocks=2, looks=looks))


def of_arm(runs: Sequence[RunResult], arm: str, section: str, **changes: object) -> list[RunResult]:
    """Change what one arm's runs say of a section of their start."""
    changed = []
    for run in runs:
        changed.append(with_fact(run, section, **changes) if run.arm == arm else run)
    return changed


def with_reality(runs: Sequence[RunResult], arm: str, **facts: object) -> list[RunResult]:
    """Change what one arm's runs found when they were assembled; `__` stands for a dot."""
    realities = {name.replace("__", "."): value for name, value in facts.items()}
    changed = []
    for run in runs:
        reality = {**run.start.reality, **realities}
        changed.append(with_start(run, reality=reality) if run.arm == arm else run)
    return changed


def cells(table: Table) -> list[list[str]]:
    """Return the rows of a table as text."""
    return [list(row.cells) for row in table.rows]


def marked(table: Table) -> list[str]:
    """Return the first cells of the rows that stand out."""
    return [row.cells[0] for row in table.rows if row.marked]


def column(table: Table, heading: str) -> list[str]:
    """Return the cells under a heading."""
    place = list(table.columns).index(heading)
    return [row.cells[place] for row in table.rows]


def test_times_are_grouped_by_threshold_and_the_primary_one_is_marked():
    study = make_study(thresholds=(0.8, 0.9))
    report = summarize(study, wins(7))
    table = times_table(report)
    assert table.columns[:4] == ["threshold", "arm", "reached", "seconds, train clock"]
    assert [row.cells[0] for row in table.rows] == ["0.80", "0.80", "0.90", "0.90"]
    assert [row.opens_group for row in table.rows] == [False, False, True, False]
    assert marked(table) == ["0.90", "0.90"]
    assert column(table, "blocks sooner") == ["7 of 7", NOTHING, "7 of 7", NOTHING]
    assert column(table, "p (Holm)")[1:] == [NOTHING, "decides", NOTHING]
    assert float(column(table, "p (Holm)")[0]) < 0.05
    assert column(table, "ratio against random")[1] == "baseline"


def test_what_was_not_reached_has_a_bound_that_tells_something():
    runs = []
    for block in range(7):
        runs += [timed(RISING, "pretrained", block), timed(FLAT, "random", block)]
    table = times_table(summarize(make_study(), runs))
    assert column(table, "seconds, train clock") == ["2.00", "not reached", "3.00", "not reached"]
    ratio = column(table, "ratio against random")[2]
    assert ratio.startswith("over ")
    assert ratio.endswith("x, with restarts")


def test_kinds_of_crossings_are_told_only_where_there_are_any():
    runs = [timed(RISING, "pretrained"), timed(FLAT, "random")]
    table = crossings_table(summarize(make_study(), runs))
    assert column(table, "confirmed") == ["1", NOTHING, "1", NOTHING]
    assert column(table, "expected s with restarts")[1].startswith("over ")
    assert table.folded


def test_what_else_differed_is_told_with_its_cause():
    runs = with_reality(three_arms_runs(), "pretrained", network__class="Stem", init__rms="0.04")
    table = audit_table(summarize(three_arms(), runs))
    assert table.columns == ["", "pretrained", "random", "again", " through"]
    assert cells(table) == [
        ["init.rms", "0.04", "0.03", "0.03", "model.name"],
        ["network.class", "Stem", "ResNet", "ResNet", "model.name"],
    ]
    assert marked(table) == []


def test_what_is_hidden_stands_out_and_leaves_the_verdict_undecided():
    runs = with_reality(three_arms_runs(), "again", optimizer__groups="61 tensors", new=None)
    report = summarize(three_arms(), runs)
    table = audit_table(report)
    assert cells(table) == [
        ["new", "no such thing", "no such thing", "null", "nothing declared"],
        ["optimizer.groups", "62 tensors", "62 tensors", "61 tensors", "nothing declared"],
    ]
    assert marked(table) == ["new", "optimizer.groups"]
    reason = "again differs from the baseline in new, which none of its factors explains"
    assert report.verdict.reason == reason


def test_arms_alike_in_all_that_ran_have_no_rows():
    report = summarize(three_arms(), three_arms_runs())
    assert cells(audit_table(report)) == []
    assert cells(break_even_table(report)) == []


def test_the_price_of_pretraining_and_after_how_many_runs_it_has_paid():
    runs = of_arm(three_arms_runs(looks=18), "pretrained", "weights", pretraining=PRICE)
    report = summarize(three_arms(), runs)
    saved_flops = median_flops(report, "random") - median_flops(report, "pretrained")
    assert saved_flops > 0
    table = break_even_table(report)
    assert table.columns == [
        "arm",
        "source",
        "pretraining PFLOP",
        "saved PFLOP a run",
        "pays after",
    ]
    assert cells(table) == [
        [
            "pretrained",
            "600 epochs of ImageNet",
            "8,360 (estimate)",
            f"{saved_flops / 1e15:.4g}",
            f"{8.36e18 / saved_flops:,.1f} runs",
        ],
    ]


def median_flops(report: Report, arm: str) -> float:
    """Return the median FLOP of an arm to the primary threshold."""
    median = report.arm(arm).at(0.9).flops_to_accuracy.median
    assert median is not None
    return median


def test_pretraining_that_saves_nothing_pays_never():
    price = dataclasses.replace(PRICE, estimate=False)
    runs = of_arm(three_arms_runs(looks=18), "pretrained", "weights", pretraining=price)
    dear = 30 * 37 * MILLION_FLOPS
    runs = of_arm(runs, "pretrained", "network", train_flops_per_image=dear)
    (row,) = cells(break_even_table(summarize(three_arms(), runs)))
    assert row[2] == "8,360"
    assert row[-1] == "never"


def test_where_not_all_reached_nobody_knows_when_pretraining_pays():
    runs = []
    for run in of_arm(three_arms_runs(looks=18), "pretrained", "weights", pretraining=PRICE):
        if run.arm == "random":
            run = dataclasses.replace(run, evaluations=run.evaluations[:1])
        runs.append(run)
    (row,) = cells(break_even_table(summarize(three_arms(), runs)))
    assert row[-1] == "not known: not all reached"


def test_how_weights_were_changed_is_told():
    runs = three_arms_runs()
    changes = {"transform": "shuffled", "stem": "crop", "tag": "a1_in1k", "sha256": "a" * 64}
    runs = of_arm(runs, "pretrained", "weights", **changes)
    table = arms_table(summarize(three_arms(), runs))
    assert table.columns == ["", "pretrained", "random", "again"]
    weights = "file, a1_in1k, shuffled, crop stem, sha256 aaaaaaaaaaaa"
    assert ["weights", weights, "random", "random"] in cells(table)
    assert ["runs", "2 completed", "2 completed", "2 completed"] in cells(table)


def test_where_runs_ended_is_told():
    runs = three_arms_runs()
    runs[0] = dataclasses.replace(runs[0], stopped_step=30, best_step=25)
    table = runs_table(runs)
    assert column(table, "status")[:2] == ["completed, by its own rule", "completed"]
    assert column(table, "restored from step")[:2] == ["25", NOTHING]


@pytest.mark.parametrize(
    ("process_runs", "attempts", "status", "cell"),
    [
        (1, 1, "completed", "3.5"),
        (1, 2, "completed", "several attempts"),
        (14, 1, "completed", "14 runs a process"),
        (1, 1, "interrupted", "not finished"),
        (0, 1, "completed", NOTHING),
    ],
)
def test_the_wall_clock_or_why_there_is_none(process_runs, attempts, status, cell):
    segments_s = {"train": 3.0, "init": 0.5}
    run = make_result((0.9,), status=status, attempts=attempts, segments_s=segments_s)
    other = with_start(make_result((0.9,), seed=1), process_runs=14)
    table = runs_table([with_start(run, process_runs=process_runs), other])
    assert column(table, "wall s")[0] == cell


def test_what_differed_and_what_was_held_equal_share_no_key():
    arms = {"pretrained": {"weights.source": "file", "optim.lr": 3e-4}, "random": {}}
    data = {"source": "digits", "dir": "/home/me/images"}
    study = make_study(arms=arms, factors=("weights", "optim"), data=data)
    differing = differing_table(study)
    assert differing.columns == ["factor", "pretrained", "random"]
    assert cells(differing) == [
        ["weights.source", "file", "random"],
        ["optim.lr", "0.0003", f"{study.config.optim.lr}"],
    ]
    equal = dict(cells(equal_table(study)))
    assert equal["optim"].startswith("name ")
    assert "lr " not in equal["optim"].replace("lr_", "")
    assert "source random" not in equal.get("weights", "")
    assert equal["data"].startswith("source digits, ")
    assert "/home/me" not in equal["data"]  # not where they lie
    assert "download" not in equal["data"]
    assert "null" not in equal["data"]
    assert equal["kind"] == "anytime"


def test_environments_that_differ_stand_out():
    runs = [make_result((0.9,), seed=seed) for seed in (0, 1)]
    runs[0] = with_start(runs[0], environment={"device": "cpu", "torch": "2.14"})
    runs[1] = with_start(runs[1], environment={"device": "cpu", "torch": None, "gpu": None})
    table = environment_table(runs)
    assert cells(table) == [
        ["precision", "fp32"],
        ["device", "cpu"],
        ["torch", "2.14 (runs: 1); — (runs: 1)"],
    ]
    assert marked(table) == ["torch"]


def with_confusion(arm: str, block: int, confusion: Sequence[Sequence[int]]) -> RunResult:
    """Make a run that took classes for each other."""
    run = make_result((0.95, 0.95), arm, seed=block, block=block, confusion=confusion)
    return with_fact(run, "dataset", classes=("cat", "dog", "frog"))


@pytest.fixture
def report_of_classes():
    runs = [
        with_confusion("random", 0, [[8, 1, 1], [3, 7, 0], [0, 0, 10]]),
        with_confusion("random", 1, [[9, 1, 0], [0, 10, 0], [4, 0, 6]]),
        with_confusion("pretrained", 0, [[10, 0, 0], [0, 10, 0], [0, 0, 0]]),
    ]
    return summarize(make_study(), runs)


def test_classes_are_told_the_hardest_first_and_the_worst_pairs_named(report_of_classes):
    table = classes_table(report_of_classes)
    assert table.columns == ["", "pretrained", "random"]
    assert cells(table) == [
        ["frog", NOTHING, "80.0"],
        ["cat", "100.0", "85.0"],
        ["dog", "100.0", "85.0"],
    ]
    assert cells(confused_table(report_of_classes)) == [
        ["random", "frog / cat", "5", "50 %"],
        ["random", "dog / cat", "5", "50 %"],
    ]


def test_matrices_are_shaded_by_the_shares_of_a_row(report_of_classes):
    pretrained, random = matrices(report_of_classes)
    assert (pretrained.arm, random.arm) == ("pretrained", "random")
    first, *_, last = random.rows
    assert first.name == "cat"
    assert [cell.text for cell in first.cells] == ["85", "10", "5"]
    assert [cell.is_right for cell in first.cells] == [True, False, False]
    assert [cell.shade for cell in first.cells] == ["0.42", "0.27", "0.19"]
    assert [cell.text for cell in last.cells] == ["20", "", "80"]
    assert [cell.text for cell in pretrained.rows[2].cells] == ["", "", ""]  # of no image


def with_classes(report: Report, count: int) -> Report:
    """Return a report whose first arm has so many classes."""
    names = [f"class {place}" for place in range(count)]
    confusion = [[1] * count for _ in names]
    arm = report.arms[0]
    classes = dataclasses.replace(arm.classes, names=names, confusion=confusion)
    return dataclasses.replace(report, arms=[dataclasses.replace(arm, classes=classes)])


def test_matrices_of_many_classes_have_shades_alone_and_of_more_there_are_none(report_of_classes):
    (matrix,) = matrices(with_classes(report_of_classes, 20))
    assert matrix.is_small
    assert matrix.rows[0].cells[0].text == "5"
    (matrix,) = matrices(with_classes(report_of_classes, 40))
    assert not matrix.is_small
    assert matrix.rows[0].cells[0].text == ""
    assert matrices(with_classes(report_of_classes, 41)) == []


def with_rate(run: RunResult, rate: float) -> RunResult:
    """Return a run as a trial at a learning rate, with seeds of its own."""
    return with_start(run, config={"optim": {"lr": rate}, "train": {"samples": 12_800}})


def test_tuning_tells_the_best_rate_and_what_it_took():
    study = make_study()
    rate = study.config.optim.lr
    trials = []
    for arm, best in (("pretrained", rate), ("random", 10 * rate)):
        for tried in (rate / 10, rate, 10 * rate):
            accuracy = 0.9 if tried == best else 0.5
            trials.append(with_rate(timed((accuracy,), arm), tried))
    table = tuning_table(summarize(study, pair(0, 1.0, 2.0), trials=trials), study)
    low, middle, high = (f"{factor * rate:g}" for factor in (0.1, 1, 10))
    assert column(table, "learning rates tried") == [
        f"{low}; {middle} (best); {high}",
        f"{low}; {middle}; {high} (best, at the edge)",
    ]
    assert column(table, "s to 0.90, tuning included") == ["6.00", f"ran at {middle}"]
    assert marked(table) == ["random"]


def test_rankings_say_whether_the_arms_would_come_in_another_order():
    report = summarize(make_study(), wins(2))
    table = rankings_table(report)
    assert column(table, "rules") == ["headstart", "dawnbench", "airbench"]
    assert column(table, "order")[0] == "the same"
    assert column(table, "order")[1] == "not judged: no looks on test"
    assert column(table, "soonest first, median")[0].startswith("pretrained 3.00 s; random ")


def test_a_study_that_was_not_amended_has_no_such_rows():
    assert cells(amended_table(summarize(make_study(), []))) == []
