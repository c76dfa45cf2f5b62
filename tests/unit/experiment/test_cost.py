"""What a plan costs, arm by arm, and how a plan reads on a terminal."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.config.load import load
from bench.config.schema import ExperimentConfig
from bench.experiment.cost import ArmCost, IsoFlops, arm_costs
from bench.experiment.plan_text import plan_text, text_table, updates_until_decay
from bench.ledger.json_records import to_json
from bench.models.counts import Counts

ROOT = Path(__file__).parents[3]
EMBEDDED = "configs/experiments/embedded.yaml"
EXPERIMENTS = sorted(path.stem for path in ROOT.glob("configs/experiments/*.yaml"))
ANNEALED = ("--kind=annealed", "--schedule.name=cosine", "--budgets=[1920, 3840, 5760]")
# Multiply-accumulates of ResNet-18 at 32 px: first convolution; layer 1; layers 2 to 4, each the
# same; ten classes.
RESNET18_MAC = (64 * 3 * 7**2) * 16**2 + 4 * (64 * 64 * 9) * 8**2
RESNET18_MAC += 3 * ((128 * 64 * 9 + 3 * 128 * 128 * 9 + 128 * 64) * 4**2) + 512 * 10


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    """Configs name each other from the repository's root."""
    monkeypatch.chdir(ROOT)


def columns(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def text_of(config: ExperimentConfig) -> str:
    return plan_text(config, arm_costs(config))


def first_cost(*overrides: str) -> ArmCost:
    return arm_costs(load(EMBEDDED, overrides))[0]


def first_pflop(*overrides: str) -> float:
    pflop = first_cost(*overrides).train_pflop_all_runs
    assert pflop is not None
    return pflop


def test_the_cost_of_resnet18_by_hand():
    config = load(EMBEDDED)
    costs = {cost.arm: cost for cost in arm_costs(config)}
    assert RESNET18_MAC == 37_016_576
    assert to_json(costs["random"]) == {
        "arm": "random",
        "network": "resnet18",
        "stem": "stock",
        "input_size": None,
        "weights": "random",
        "parameters": 11_181_642,
        "flops_per_image": 2 * RESNET18_MAC,
        "steps": 5760 // 64,
        "looks": 5760 // 320,
        "train_pflop_all_runs": pytest.approx(3 * 2 * RESNET18_MAC * 5760 * 7 / 1e15, rel=1e-12),
        "memory_bytes": None,
        "iso_flops": None,
    }
    assert costs["small_cnn"].parameters == 551_018
    assert list(costs) == list(config.arms)


def test_the_cost_grows_with_budget_and_blocks():
    assert first_pflop("--train.samples=11520") == pytest.approx(2 * first_pflop())
    assert first_pflop("--blocks=14") == pytest.approx(2 * first_pflop())


def test_every_budget_of_a_block_is_in_the_cost():
    assert first_pflop(*ANNEALED) == pytest.approx(2 * first_pflop())
    text = text_of(load(EMBEDDED, ANNEALED))
    assert "7 blocks of 9 runs (63 runs), seeds 0 to 6; annealed; primary" in text


def test_until_decided_costs_as_many_blocks_as_there_may_be():
    until_decided = ("--until_decided=true", "--primary.max_blocks=14")
    assert first_pflop(*until_decided) == pytest.approx(2 * first_pflop())
    text = text_of(load(EMBEDDED, until_decided))
    assert "at most 14 blocks of 3 runs (42 runs), seeds 0 to 13" in text


def test_a_network_at_another_size_costs_another_sum():
    cost = first_cost("--model.input_size=64")
    assert (cost.input_size, cost.flops_per_image) == (64, 296_101_888)


def test_what_is_not_counted_is_null():
    config = load(EMBEDDED, ["--model.name=resnet34"])
    cost = arm_costs(config)[0]
    assert cost.parameters is cost.flops_per_image is cost.train_pflop_all_runs is None
    line = plan_text(config, [cost]).splitlines()[-1]
    assert columns(line) == ["pretrained", "resnet34", "self", "not stored", "--build", "90", "18"]


def test_counts_that_were_made_go_before_the_stored_ones():
    config = load(EMBEDDED)
    counts = Counts(parameters=7, statistics=1, forward_mmac=2.0)
    costs = {cost.arm: cost for cost in arm_costs(config, {"random": counts})}
    assert (costs["random"].parameters, costs["random"].flops_per_image) == (7, 4_000_000)
    assert costs["pretrained"].parameters == 11_181_642


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_shipped_plans_fit_a_terminal_and_know_their_cost(name):
    config = load(name)
    costs = arm_costs(config)
    text = plan_text(config, costs)
    assert max(len(line) for line in text.splitlines()) <= 130
    assert [cost.arm for cost in costs] == list(config.arms)
    assert [cost.arm for cost in costs if not cost.parameters] == []
    assert [cost.arm for cost in costs if not cost.flops_per_image] == []
    for part in (config.question, config.cost):
        assert " ".join(part.split()) in " ".join(text.split())
    table = text.splitlines()[-len(config.arms) - 1 :]
    assert {len(columns(line)) for line in table} == {8}


def test_long_names_do_not_run_into_each_other():
    arm = "pretrained_on_twenty_one_thousand_classes"
    network = "{model.name: tf_efficientnetv2_xl, model.input_size: 224}"
    arms = f"{{{arm}: {network}, random: {{}}}}"
    config = load(EMBEDDED, [f"--arms={arms}", f"--primary.arm={arm}"])
    counts = Counts(parameters=208_120_000, statistics=1, forward_mmac=98_765.4)
    costs = arm_costs(config, {name: counts for name in config.arms})
    lines = plan_text(config, costs).splitlines()[-3:]
    assert max(len(line) for line in lines) <= 130
    assert {len(columns(line)) for line in lines} == {8}
    assert columns(lines[1])[:3] == [arm, "tf_efficientnetv2_xl 224 px", "random"]


def test_a_stem_that_is_not_the_stock_one_is_named():
    config = load(EMBEDDED, ["--model.stem=3x3", "--arms.small_cnn.model.stem=stock"])
    lines = text_of(config).splitlines()[-3:]
    assert [columns(line)[1] for line in lines] == [
        "resnet18 3x3 stem",
        "resnet18 3x3 stem",
        "small_cnn",
    ]


def test_the_text_names_the_comparison_that_decides():
    text = text_of(load(EMBEDDED))
    assert "7 blocks of 3 runs (21 runs), seeds 0 to 6" in text
    assert "primary: pretrained against random at 0.90 on the train clock" in text


def test_one_arm_alone_is_compared_with_nothing():
    text = text_of(load("small_cnn"))
    assert "primary: small_cnn at 0.80 on the train clock" in text
    assert "against" not in text


@pytest.mark.parametrize(
    ("threshold", "label"), [(0.925, "0.925"), (0.9, "0.90"), (0.995, "0.995"), (0.5, "0.50")]
)
def test_the_text_never_shows_a_threshold_as_another(threshold, label):
    config = load(EMBEDDED, [f"--thresholds=[{threshold}]", f"--primary.threshold={threshold}"])
    assert f"against random at {label} on the train clock" in text_of(config)


def test_the_text_tells_how_many_blocks_decide_where_a_spread_is_stored():
    config = load(EMBEDDED, ["--primary.spread=0.1", "--primary.smallest_ratio=1.2"])
    deciding = "decide 9 times in 10, at the stored spread 0.1: 1.2x 12, 1.5x 7, 2x 7, 4x 7"
    assert deciding in text_of(config)
    assert "stored spread" not in text_of(load(EMBEDDED, ["--primary.spread=null"]))


def test_a_spread_that_a_hundred_blocks_do_not_decide_is_told_as_such():
    config = load(EMBEDDED, ["--primary.spread=2.0", "--primary.smallest_ratio=1.05"])
    assert "1.05x more than 100, " in text_of(config)


def built(costs: Sequence[ArmCost]) -> list[ArmCost]:
    """Give each arm a rank's memory, and the last one a size that matches the first's FLOPs."""
    with_memory = []
    for cost in costs:
        memory_bytes = {"weights": 1_000_000_000, "activations": 230_000_000}
        with_memory.append(dataclasses.replace(cost, memory_bytes=memory_bytes))
    iso_flops = IsoFlops(of=costs[0].arm, input_size=96, flops_ratio=1.028)
    return [*with_memory[:-1], dataclasses.replace(with_memory[-1], iso_flops=iso_flops)]


def test_built_networks_show_a_ranks_memory_and_the_sizes_that_match():
    config = load(EMBEDDED)
    lines = plan_text(config, built(arm_costs(config))).splitlines()
    assert columns(lines[-5])[-1] == "GB a rank (estimate)"
    assert [columns(line)[-1] for line in lines[-4:-1]] == ["1.23"] * 3
    assert lines[-1] == (
        "--arms.small_cnn.model.input_size=96: 1.03x the FLOPs an image of pretrained"
    )


@pytest.mark.parametrize(("decay", "updates"), [(0.95, 170), (0.995, 1790), (0.99, 890)])
def test_an_average_has_its_decay_after_so_many_updates(decay, updates):
    """After n updates an average's decay is at most (1 + n) / (10 + n)."""
    assert updates_until_decay(decay) == updates
    assert (1 + updates) / (10 + updates) >= decay > updates / (9 + updates)


def test_the_text_tells_where_an_average_stays_younger_than_asked_for_and_whose():
    config = load("embedded")
    text = plan_text(config, arm_costs(config))
    sentence = (
        "schedule.average_decay 0.95 is in force from update 170 on, and a run has 90: "
        "the average stays younger (pretrained, random, small_cnn)"
    )
    assert sentence in " ".join(text.split())
    longer = load("embedded", ["--train.samples=64000", "--schedule.average_decay=0.5"])
    assert "average stays younger" not in plan_text(longer, arm_costs(longer))


def test_a_tables_words_go_to_the_left_and_its_figures_to_the_right():
    rows = [["arm", "steps"], ["a longer arm", "9"]]
    assert text_table(rows, text_columns=1) == "arm             steps\na longer arm        9"
