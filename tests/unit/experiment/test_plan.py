"""The plan: which runs, in which order, under which names, and what they cost."""

import collections
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config.load import load
from bench.experiment.plan import block_count, cost, plan, plan_record, plan_text, run_ids
from bench.models.counts import Counts
from bench.ledger.plan_record import plan_sha256, primary_record

ROOT = Path(__file__).parents[3]
EMBEDDED = "configs/experiments/embedded.yaml"
EXPERIMENTS = sorted(path.stem for path in ROOT.glob("configs/experiments/*.yaml"))
LETTERS = "configs/weights/resnet18_letters.yaml"
# Multiply-accumulates of ResNet-18 at 32 px: first convolution; layer 1; layers 2 to 4, each the same; ten classes.
RESNET18_MAC = (64 * 3 * 7**2) * 16**2 + 4 * (64 * 64 * 9) * 8**2
RESNET18_MAC += 3 * ((128 * 64 * 9 + 3 * 128 * 128 * 9 + 128 * 64) * 4**2) + 512 * 10


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    """Configs name each other from the repository's root."""
    monkeypatch.chdir(ROOT)


def ids_of(*overrides: str, experiment: Any = EMBEDDED) -> dict[str, str]:
    """Each arm's run id in the first block."""
    return {run.arm: run.run_id for run in plan(load(experiment, overrides))[0]}


def orders(blocks: int, *overrides: str) -> list[str]:
    """The arms' first letters, a word a block."""
    planned = plan(load(EMBEDDED, [f"--blocks={blocks}", *overrides]))
    return ["".join(run.arm[0] for run in block) for block in planned]


def recipe_study(folder: Path, **changes: Any) -> Path:
    """The embedded experiment with a recipe of the test's own."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(Path(LETTERS).read_text()), **changes}))
    study = folder / "study.yaml"
    study.write_text(Path(EMBEDDED).read_text().replace(LETTERS, str(recipe)))
    return study


def columns(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


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
        found = {run.arm: (run.config.model.name, run.config.weights.source) for run in block}
        assert found == {
            "pretrained": ("resnet18", "self"), "random": ("resnet18", "random"), "small_cnn": ("small_cnn", "random"),
        }  # fmt: skip


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
    for run in (run for block in plan(load(EMBEDDED)) for run in block):
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
    arms = "{pretrained: {weights.source: random}, random: {}, small_cnn: {model.name: small_cnn}, more: {model.name: resnet50}}"
    before, after = ids_of(), ids_of(f"--arms={arms}")
    assert {arm for arm in before if before[arm] == after[arm]} == {"random", "small_cnn"}


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
        assert {arm for arm in first if first[arm] == after[arm]} == {"random", "small_cnn"}
    assert (
        ids_of(experiment=recipe_study(tmp_path, name="renamed", output="elsewhere", trackers=[]))
        == first
    )


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


def test_the_record_of_a_plan_is_plain_data():
    config = load(EMBEDDED)
    record = plan_record(config, plan(config))
    assert yaml.safe_load(yaml.safe_dump(record)) == record
    assert [run_id for block in record["blocks"] for run_id in block] == run_ids(plan(config))


def test_the_cost_of_resnet18_by_hand():
    config = load(EMBEDDED)
    rows = {row["arm"]: row for row in cost(config)}
    assert RESNET18_MAC == 37_016_576
    assert rows["random"] == {
        "arm": "random", "network": "resnet18", "stem": "stock", "input_size": None, "weights": "random",
        "parameters": 11_181_642, "flops_per_image": 2 * RESNET18_MAC, "steps": 5760 // 64, "looks": 5760 // 320,
        "train_pflop_all_runs": pytest.approx(3 * 2 * RESNET18_MAC * 5760 * 7 / 1e15, rel=1e-12),
    }  # fmt: skip
    assert rows["small_cnn"]["parameters"] == 551_018
    assert list(rows) == list(config.arms)


def test_the_cost_grows_with_budget_and_blocks():
    def pflop(*overrides: str) -> float:
        config = load(EMBEDDED, overrides)
        return cost(config)[0]["train_pflop_all_runs"]

    assert pflop("--train.samples=11520") == pytest.approx(2 * pflop())
    assert pflop("--blocks=14") == pytest.approx(2 * pflop())


def test_a_network_at_another_size_costs_another_sum():
    config = load(EMBEDDED, ["--model.input_size=64"])
    row = cost(config)[0]
    assert (row["input_size"], row["flops_per_image"]) == (64, 296_101_888)


def test_what_is_not_counted_is_null():
    config = load(EMBEDDED, ["--model.name=resnet34"])
    row = cost(config)[0]
    assert row["parameters"] is row["flops_per_image"] is row["train_pflop_all_runs"] is None
    line = plan_text(config, [row]).splitlines()[-1]
    assert columns(line) == ["pretrained", "resnet34", "self", "not stored", "--build", "90", "18"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_shipped_plans_fit_a_terminal_and_know_their_cost(name):
    config = load(name)
    rows = cost(config)
    text = plan_text(config, rows)
    assert max(len(line) for line in text.splitlines()) <= 130
    assert all(row["parameters"] and row["flops_per_image"] for row in rows)
    for part in (config.question, config.cost):
        assert " ".join(part.split()) in " ".join(text.split())
    table = text.splitlines()[-len(config.arms) - 1 :]
    assert {len(columns(line)) for line in table} == {8}


def test_long_names_do_not_run_into_each_other():
    arm = "pretrained_on_twenty_one_thousand_classes"
    config = load(EMBEDDED, [
        f"--arms={{{arm}: {{model.name: tf_efficientnetv2_xl, model.input_size: 224}}, random: {{}}}}", f"--primary.arm={arm}",
    ])  # fmt: skip
    counts = Counts(parameters=208_120_000, statistics=1, forward_mmac=98_765.4)
    lines = plan_text(config, cost(config, dict.fromkeys(config.arms, counts))).splitlines()[-3:]
    assert max(len(line) for line in lines) <= 130
    assert {len(columns(line)) for line in lines} == {8}
    assert columns(lines[1])[:3] == [arm, "tf_efficientnetv2_xl 224 px", "random"]


def test_the_text_names_the_comparison_that_decides():
    config = load(EMBEDDED)
    text = plan_text(config, cost(config))
    assert "7 blocks of 3 runs (21 runs), seeds 0 to 6" in text
    assert "primary: pretrained against random at 0.90 on the train clock" in text


def test_one_arm_alone_is_compared_with_nothing():
    config = load("small_cnn")
    text = plan_text(config, cost(config))
    assert "primary: small_cnn at 0.80 on the train clock" in text
    assert "against" not in text


def record_of(*overrides: str) -> dict[str, Any]:
    config = load(EMBEDDED, overrides)
    return plan_record(config, plan(config))


def test_the_hash_of_a_plan_is_that_of_its_primary_comparison_and_stays():
    record = record_of()
    assert record["sha256"] == plan_sha256(record["primary"]) == record_of()["sha256"]
    assert record["primary"] == primary_record(record["config"], record["blocks"])
    again = json.loads(json.dumps(record))
    assert plan_sha256(again["primary"]) == record["sha256"]


@pytest.mark.parametrize(
    "override",
    ["--primary.arm=small_cnn", "--baseline=small_cnn", "--primary.threshold=0.8", "--primary.alpha=0.01",
     "--primary.max_blocks=9", "--primary.smallest_ratio=1.1", "--primary.interval_width=1.5", "--primary.spread=0.2",
     "--clock=mlperf", "--kind=annealed",
     "--confirm_looks=2", "--train.samples=11520", "--blocks=9", "--seed=1", "--optim.lr=2e-3", "--controls={small_cnn: equal}",
     "--reference={random: [2.0]}", "--until_decided=true"],
)  # fmt: skip
def test_the_hash_of_a_plan_changes_with_each_part_of_the_primary_comparison(override):
    assert record_of(override)["sha256"] != record_of()["sha256"]


@pytest.mark.parametrize(
    "override",
    ["--question=Why?", "--expected=nothing", "--trackers=[]", "--output=x", "--wandb.project=x", "--thresholds=[0.9]",
     "--name=x", "--hardware.loader_threads=1", "--data.dir=x"],
)  # fmt: skip
def test_the_hash_of_a_plan_does_not_change_with_what_is_shown(override):
    assert record_of(override)["sha256"] == record_of()["sha256"]


ANNEALED = ("--kind=annealed", "--schedule.name=cosine", "--budgets=[1920, 3840, 5760]")


def test_every_arm_runs_at_every_budget_in_each_block():
    for index, block in enumerate(plan(load(EMBEDDED, ANNEALED))):
        made = [(run.arm, run.config.train.samples) for run in block]
        assert sorted(made) == [
            (arm, n) for arm in ("pretrained", "random", "small_cnn") for n in (1920, 3840, 5760)
        ]
        assert {run.seed for run in block} == {index}
    assert len(set(run_ids(plan(load(EMBEDDED, ANNEALED))))) == 63


def test_the_longest_budget_alone_is_the_run_without_budgets():
    several = {
        run.run_id for run in plan(load(EMBEDDED, ANNEALED))[0] if run.config.train.samples == 5760
    }
    assert several == set(ids_of(*ANNEALED[:2]).values())


def test_budgets_are_in_the_record_and_in_the_cost():
    config = load(EMBEDDED, ANNEALED)
    assert plan_record(config, plan(config))["primary"]["budget_samples"] == [1920, 3840, 5760]
    row, alone = (cost(c)[0]["train_pflop_all_runs"] for c in (config, load(EMBEDDED)))
    assert row == pytest.approx(2 * alone)
    text = plan_text(config, cost(config))
    assert "7 blocks of 9 runs (63 runs), seeds 0 to 6; annealed; primary" in text


def test_until_decided_plans_as_many_blocks_as_there_may_be():
    config = load(EMBEDDED, ["--until_decided=true", "--primary.max_blocks=12"])
    assert (block_count(config), len(plan(config)), block_count(load(EMBEDDED))) == (12, 12, 7)
    assert "at most 12 blocks of 3 runs (36 runs), seeds 0 to 11" in plan_text(config, cost(config))
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


def test_the_text_never_shows_a_threshold_as_another():
    def text(threshold: float) -> str:
        config = load(EMBEDDED, [f"--thresholds=[{threshold}]", f"--primary.threshold={threshold}"])
        return plan_text(config, cost(config))

    for threshold, label in ((0.925, "0.925"), (0.9, "0.90"), (0.995, "0.995")):
        assert f"against random at {label} on the train clock" in text(threshold)


def test_the_text_tells_how_many_blocks_decide_where_a_spread_is_stored():
    config = load(EMBEDDED, ["--primary.spread=0.1", "--primary.smallest_ratio=1.2"])
    text = plan_text(config, cost(config))
    assert "decide 9 times in 10, at the stored spread 0.1: 1.2x 12, 1.5x 7, 2x 7, 4x 7" in text
    assert "stored spread" not in plan_text(load(EMBEDDED, ["--primary.spread=null"]), cost(config))


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
