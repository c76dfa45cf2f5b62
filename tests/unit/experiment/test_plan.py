"""The plan: which runs, in which order, under which names."""

import collections
import json
import re
from itertools import product
from pathlib import Path

import pytest
import yaml

from bench.config.load import load
from bench.experiment.plan import block_count, plan, plan_record, run_ids
from bench.judge.plan import primary_record
from bench.ledger.json_records import parse, to_json
from bench.ledger.plan_record import PlanRecord, plan_sha256

ROOT = Path(__file__).parents[3]
EMBEDDED = "configs/experiments/embedded.yaml"
LETTERS = "configs/weights/resnet18_letters.yaml"


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    """Configs name each other from the repository's root."""
    monkeypatch.chdir(ROOT)


def ids_of(*overrides: str, experiment: str | Path = EMBEDDED) -> dict[str, str]:
    """Each arm's run id in the first block."""
    return {run.arm: run.run_id for run in plan(load(experiment, overrides))[0]}


def same_arms(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The arms whose runs kept their ids."""
    return {arm for arm, run_id in before.items() if after[arm] == run_id}


def orders(blocks: int, *overrides: str) -> list[str]:
    """The arms' first letters, a word a block."""
    planned = plan(load(EMBEDDED, [f"--blocks={blocks}", *overrides]))
    letters = []
    for block in planned:
        letters.append("".join(run.arm[0] for run in block))
    return letters


def recipe_study(folder: Path, **changes: object) -> Path:
    """The embedded experiment with a recipe of the test's own."""
    recipe = folder / "recipe.yaml"
    tree = {**yaml.safe_load(Path(LETTERS).read_text()), **changes}
    recipe.write_text(yaml.safe_dump(tree))
    study = folder / "study.yaml"
    study.write_text(Path(EMBEDDED).read_text().replace(LETTERS, str(recipe)))
    return study


def test_every_arm_runs_once_in_each_of_seven_blocks():
    config = load(EMBEDDED)
    blocks = plan(config)
    assert len(blocks) == 7
    for index, block in enumerate(blocks):
        assert sorted(run.arm for run in block) == sorted(config.arms)
        assert {run.block for run in block} == {index}


def test_the_arms_of_a_block_share_its_seed_and_blocks_count_up():
    for index, block in enumerate(plan(load(EMBEDDED, ["--seed=40"]))):
        assert {run.seed for run in block} == {40 + index}


def test_a_run_has_the_config_of_its_arm():
    for block in plan(load(EMBEDDED)):
        networks = {run.arm: run.config.model.name for run in block}
        weights = {run.arm: run.config.weights.source for run in block}
        assert networks == {
            "pretrained": "resnet18",
            "random": "resnet18",
            "small_cnn": "small_cnn",
        }
        assert weights == {"pretrained": "self", "random": "random", "small_cnn": "random"}


def test_the_order_of_arms_is_pinned_to_the_seeds():
    assert orders(7) == ["rsp", "spr", "rsp", "spr", "prs", "srp", "psr"]
    assert orders(7) == orders(8)[:7]
    assert orders(3, "--seed=4") == orders(7)[4:]


def test_the_order_of_arms_is_drawn_evenly():
    counted = collections.Counter(orders(600))
    assert len(counted) == 6
    assert all(60 <= number <= 140 for number in counted.values()), counted


def test_run_ids_are_names_of_directories_and_unique():
    blocks = plan(load(EMBEDDED, ["--blocks=50"]))
    ids = run_ids(blocks)
    assert len(set(ids)) == len(ids) == 150
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", run_id) for run_id in ids)
    assert ids == [run.run_id for block in blocks for run in block]


def test_run_ids_name_arm_seed_and_digest():
    for block in plan(load(EMBEDDED)):
        for run in block:
            assert re.fullmatch(rf"{run.arm}-s{run.seed}-[0-9a-f]{{8}}", run.run_id)


def test_a_run_id_changes_with_what_is_computed():
    assert not set(ids_of().values()) & set(ids_of("--optim.lr=2e-3").values())
    assert not set(ids_of().values()) & set(ids_of("--seed=1").values())


@pytest.mark.parametrize(
    "override",
    ["--blocks=3", "--thresholds=[0.9]", "--trackers=[]", "--output=x", "--clock=mlperf"],
)
def test_a_run_id_does_not_change_with_how_runs_are_judged(override):
    assert ids_of(override) == ids_of()


def test_an_arm_of_its_own_leaves_the_ids_of_the_others():
    arms = (
        "{pretrained: {weights.source: random}, random: {}, "
        "small_cnn: {model.name: small_cnn}, more: {model.name: resnet50}}"
    )
    assert same_arms(ids_of(), ids_of(f"--arms={arms}")) == {"random", "small_cnn"}


def test_a_run_id_changes_with_the_method(monkeypatch):
    before = ids_of()
    monkeypatch.setattr("bench.experiment.plan.METHOD_VERSION", "99.0")
    assert not set(before.values()) & set(ids_of().values())


def test_the_id_of_a_run_from_trained_weights_changes_with_their_recipe(tmp_path):
    first = ids_of(experiment=recipe_study(tmp_path))
    for changes in (
        {"seed": 5},
        {"train": {"global_batch_size": 64, "samples": 44800, "label_smoothing": 0.1}},
    ):
        after = ids_of(experiment=recipe_study(tmp_path, **changes))
        assert same_arms(first, after) == {"random", "small_cnn"}
    renamed = recipe_study(tmp_path, name="renamed", output="elsewhere", trackers=[])
    assert ids_of(experiment=renamed) == first


def test_a_missing_recipe_is_named(tmp_path):
    study = recipe_study(tmp_path)
    (tmp_path / "recipe.yaml").rename(tmp_path / "recipes.yaml")
    with pytest.raises(
        ValueError, match=r"no config file '.*recipe\.yaml'; .*did you mean '.*recipes\.yaml'\?"
    ):
        plan(load(study))


def test_an_unknown_clock_lists_those_there_are():
    with pytest.raises(
        ValueError,
        match=r"^clock: no clock 'trian'; allowed: airbench, .*; did you mean 'train'\?$",
    ):
        plan(load(EMBEDDED, ["--clock=trian"]))


def test_the_record_of_a_plan_is_plain_data_and_read_back():
    config = load(EMBEDDED)
    record = plan_record(config, plan(config))
    tree = to_json(record)
    assert yaml.safe_load(yaml.safe_dump(tree)) == tree
    assert to_json(parse(PlanRecord, json.dumps(tree))) == tree
    assert record.run_ids == run_ids(plan(config))
    assert [len(block) for block in record.blocks] == [3] * 7


def record_of(*overrides: str) -> PlanRecord:
    config = load(EMBEDDED, overrides)
    return plan_record(config, plan(config))


def test_the_hash_of_a_plan_is_that_of_its_primary_comparison_and_stays():
    record = record_of()
    assert record.sha256 == plan_sha256(to_json(record.primary)) == record_of().sha256
    assert record.primary == primary_record(load(EMBEDDED), record.blocks)
    stored = json.loads(json.dumps(to_json(record)))
    assert plan_sha256(stored["primary"]) == record.sha256


@pytest.mark.parametrize(
    "override",
    [
        "--primary.arm=small_cnn",
        "--baseline=small_cnn",
        "--primary.threshold=0.8",
        "--primary.alpha=0.01",
        "--primary.max_blocks=9",
        "--primary.smallest_ratio=1.1",
        "--primary.interval_width=1.5",
        "--primary.spread=0.2",
        "--clock=mlperf",
        "--kind=annealed",
        "--confirm_looks=2",
        "--train.samples=11520",
        "--blocks=9",
        "--seed=1",
        "--optim.lr=2e-3",
        "--controls={small_cnn: equal}",
        "--reference={random: [2.0]}",
        "--until_decided=true",
    ],
)
def test_the_hash_of_a_plan_changes_with_each_part_of_the_primary_comparison(override):
    assert record_of(override).sha256 != record_of().sha256


@pytest.mark.parametrize(
    "override",
    [
        "--question=Why?",
        "--expected=nothing",
        "--trackers=[]",
        "--output=x",
        "--wandb.project=x",
        "--thresholds=[0.9]",
        "--name=x",
        "--hardware.loader_threads=1",
        "--data.dir=x",
    ],
)
def test_the_hash_of_a_plan_does_not_change_with_what_is_shown(override):
    assert record_of(override).sha256 == record_of().sha256


ANNEALED = ("--kind=annealed", "--schedule.name=cosine", "--budgets=[1920, 3840, 5760]")


def test_every_arm_runs_at_every_budget_in_each_block():
    treatments = list(product(["pretrained", "random", "small_cnn"], [1920, 3840, 5760]))
    for index, block in enumerate(plan(load(EMBEDDED, ANNEALED))):
        planned = [(run.arm, run.config.train.samples) for run in block]
        assert sorted(planned) == treatments
        assert {run.seed for run in block} == {index}
    assert len(set(run_ids(plan(load(EMBEDDED, ANNEALED))))) == 63


def test_the_longest_budget_alone_is_the_run_without_budgets():
    first_block = plan(load(EMBEDDED, ANNEALED))[0]
    longest = {run.run_id for run in first_block if run.config.train.samples == 5760}
    assert longest == set(ids_of(*ANNEALED[:2]).values())


def test_budgets_are_in_the_record():
    primary = to_json(record_of(*ANNEALED).primary)
    assert primary["budget_samples"] == [1920, 3840, 5760]
    assert record_of().primary.budget_samples == 5760


def test_until_decided_plans_as_many_blocks_as_there_may_be():
    config = load(EMBEDDED, ["--until_decided=true", "--primary.max_blocks=12"])
    assert (block_count(config), len(plan(config)), block_count(load(EMBEDDED))) == (12, 12, 7)
    assert run_ids(plan(config))[:21] == run_ids(plan(load(EMBEDDED)))


def test_an_arm_with_a_seed_of_its_own_has_its_own_seeds():
    config = load("controls")
    for index, block in enumerate(plan(config)):
        seeds = {run.arm: run.seed for run in block}
        assert seeds == {
            "pretrained": index,
            "random": index,
            "shuffled": index,
            "random_again": 1000 + index,
        }
    digests = {run.arm: run.run_id.rpartition("-")[2] for run in plan(config)[0]}
    assert digests["random_again"] == digests["random"] != digests["shuffled"]


@pytest.mark.parametrize(
    "override", ["--blocks=3", "--data.dir=x", "--thresholds=[0.9]", "--primary.alpha=0.01"]
)
def test_a_stored_reference_stays_with_what_decides_no_run(override):
    assert set(load(EMBEDDED, [override]).reference) == {"pretrained", "random", "small_cnn"}


@pytest.mark.parametrize(
    "override",
    [
        "--optim.lr=0.1",
        "--arms.random.weights.tag=x",
        "--confirm_looks=1",
        "--primary.threshold=0.95",
        "--train.samples=6400",
    ],
)
def test_a_stored_reference_is_of_the_experiment_as_its_file_has_it(override):
    assert load(EMBEDDED, [override]).reference == {}
    assert load(EMBEDDED, [override, "--reference.random=[2.0]"]).reference["random"] == (2.0,)
