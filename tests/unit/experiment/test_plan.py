"""The plan: which runs, in which order, under which names, and what they cost."""

import collections
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config.load import load
from bench.experiment.plan import arm_counts, cost, plan, plan_record, plan_text, run_ids
from bench.models.counts import Counts

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
    return {run.arm: run.run_id for run in plan(load(experiment, overrides))[0].runs}


def orders(blocks: int, *overrides: str) -> list[str]:
    """The arms' first letters, a word a block."""
    planned = plan(load(EMBEDDED, [f"--blocks={blocks}", *overrides]))
    return ["".join(run.arm[0] for run in block.runs) for block in planned]


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
    assert [block.index for block in blocks] == list(range(7))
    for block in blocks:
        assert sorted(run.arm for run in block.runs) == sorted(config.arms)
        assert {run.block for run in block.runs} == {block.index}


def test_the_arms_of_a_block_share_its_seed_and_blocks_count_up():
    for block in plan(load(EMBEDDED, ["--seed=40"])):
        assert {run.seed for run in block.runs} == {block.seed} == {40 + block.index}


def test_a_run_has_the_config_of_its_arm():
    for block in plan(load(EMBEDDED)):
        found = {run.arm: (run.config.model.name, run.config.weights.source) for run in block.runs}
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
    assert ids == [run.run_id for block in blocks for run in block.runs]


def test_run_ids_name_arm_seed_and_digest():
    for run in (run for block in plan(load(EMBEDDED)) for run in block.runs):
        assert re.fullmatch(rf"{run.arm}-s{run.seed}-[0-9a-f]{{8}}", run.run_id)


def test_a_run_id_changes_with_what_is_computed():
    assert not set(ids_of().values()) & set(ids_of("--optim.lr=2e-3").values())
    assert not set(ids_of().values()) & set(ids_of("--seed=1").values())


@pytest.mark.parametrize("override", ["--blocks=3", "--thresholds=[0.9]", "--trackers=[]", "--output=x", "--clock=mlperf"])
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
    for changes in ({"seed": 5}, {"train": {"global_batch_size": 64, "samples": 44800, "label_smoothing": 0.1}}):
        after = ids_of(experiment=recipe_study(tmp_path, **changes))
        assert {arm for arm in first if first[arm] == after[arm]} == {"random", "small_cnn"}
    assert ids_of(experiment=recipe_study(tmp_path, name="renamed", output="elsewhere", trackers=[])) == first


def test_a_missing_recipe_is_named(tmp_path):
    study = recipe_study(tmp_path)
    (tmp_path / "recipe.yaml").rename(tmp_path / "recipes.yaml")
    with pytest.raises(ValueError, match=r"no config file '.*recipe\.yaml'; .*did you mean '.*recipes\.yaml'\?"):
        plan(load(study))


def test_an_unknown_clock_lists_those_there_are():
    with pytest.raises(ValueError, match=r"^clock: no clock 'trian'; allowed: airbench, .*; did you mean 'train'\?$"):
        plan(load(EMBEDDED, ["--clock=trian"]))


def test_the_record_of_a_plan_is_plain_data():
    config = load(EMBEDDED)
    record = plan_record(config, plan(config))
    assert yaml.safe_load(yaml.safe_dump(record)) == record
    assert [run_id for block in record["blocks"] for run_id in block] == run_ids(plan(config))


def test_the_cost_of_resnet18_by_hand():
    config = load(EMBEDDED)
    rows = {row["arm"]: row for row in cost(config, arm_counts(config))}
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
        return cost(config, arm_counts(config))[0]["train_pflop_all_runs"]

    assert pflop("--train.samples=11520") == pytest.approx(2 * pflop())
    assert pflop("--blocks=14") == pytest.approx(2 * pflop())


def test_a_network_at_another_size_costs_another_sum():
    config = load(EMBEDDED, ["--model.input_size=64"])
    row = cost(config, arm_counts(config))[0]
    assert (row["input_size"], row["flops_per_image"]) == (64, 296_101_888)


def test_what_is_not_counted_is_null():
    config = load(EMBEDDED, ["--model.name=resnet50"])
    row = cost(config, arm_counts(config))[0]
    assert row["parameters"] is row["flops_per_image"] is row["train_pflop_all_runs"] is None
    line = plan_text(config, [row]).splitlines()[-1]
    assert columns(line) == ["pretrained", "resnet50", "self", "not stored", "--build", "90", "18"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_shipped_plans_fit_a_terminal_and_know_their_cost(name):
    config = load(name)
    rows = cost(config, arm_counts(config))
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
    text = plan_text(config, cost(config, arm_counts(config)))
    assert "7 blocks of 3 runs (21 runs), seeds 0 to 6" in text
    assert "primary: pretrained against random at 0.90 on the train clock" in text


def test_one_arm_alone_is_compared_with_nothing():
    config = load("small_cnn")
    text = plan_text(config, cost(config, arm_counts(config)))
    assert "primary: small_cnn at 0.80 on the train clock" in text
    assert "against" not in text
