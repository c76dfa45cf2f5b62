"""Differences between arms that nobody declared, planted one by one.

Each stops the study before its first run.
"""

import dataclasses
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import nn

from bench import registry
from bench.config.load import arm_config, load
from bench.config.schema import ExperimentConfig
from bench.data.order import Augmentation
from bench.experiment import assemble
from bench.experiment.assemble import Assembler
from bench.experiment.inputs import Inputs
from bench.judge.audit import check_declared
from bench.judge.study import Study, study_of
from bench.ledger.records import RealizedConfig
from bench.models.cnn import small_cnn
from bench.models.weights import random_weights
from bench.training import schedules
from tests.commands import ROOT, TINY, bench, environment
from tests.unit.training.factory import opened_world

ARMS = "{plain: {}, other: {train.label_smoothing: 0.2}}"
OVERRIDES = [
    "--factors=[train.label_smoothing]",
    f"--arms={ARMS}",
    "--baseline=plain",
    "--primary.arm=other",
    "--model.input_size=32",
    "--model.name=small_cnn",  # which the planted networks alter
]


@pytest.fixture(scope="module")
def world():
    with opened_world() as world:
        yield world


def do_nothing() -> None:
    """Leave the world as it is."""


def realize(world, before_other: Callable[[], None] = do_nothing) -> dict[str, RealizedConfig]:
    """Say what the two arms are; `before_other` changes the world between them."""
    config = load(ROOT / TINY, OVERRIDES)
    assembler = Assembler(world, Inputs())
    realized: dict[str, RealizedConfig] = {}
    for arm in config.arms:
        if arm == "other":
            before_other()
        assembly = assembler.assemble(arm_config(config, arm), random_weights())
        realized[arm] = assembly.realized
    return realized


def make_study() -> Study:
    return study_of(load(ROOT / TINY, OVERRIDES))


def test_arms_that_differ_in_what_they_declare_alone_pass(world):
    realized = realize(world)
    assert realized["plain"] == realized["other"]
    check_declared(make_study(), realized)


def test_arms_of_one_program_have_rates_of_their_own(world):
    config = load(ROOT / TINY)
    assembler = Assembler(world, Inputs())
    slow = assembler.assemble(arm_config(config, "slow"), random_weights())
    fast = assembler.assemble(arm_config(config, "fast"), random_weights())
    assert slow.program is fast.program
    realized = {"slow": slow.realized, "fast": fast.realized}
    rates = {arm: facts["schedule.rates"] for arm, facts in realized.items()}
    assert rates == {"slow": "0.00025, 0.001, 0.001", "fast": "0.00075, 0.003, 0.003"}
    study = study_of(config)
    check_declared(study, realized)
    arms: Mapping[str, Mapping[str, float]] = {"slow": {}, "fast": {"train.label_smoothing": 0.2}}
    undeclared = dataclasses.replace(study, arms=arms)
    with pytest.raises(ValueError, match=r"differ in schedule\.rates"):
        check_declared(undeclared, realized)


def zeroed(classes: int) -> nn.Module:
    """As timm's and torchvision's ResNets differ: the last normalisation of a branch at zero."""
    network = small_cnn(classes)
    nn.init.zeros_(network.features[3].weight)
    return network


def wider(classes: int) -> nn.Module:
    network = small_cnn(classes)
    network.hidden = nn.Sequential(nn.Linear(128 * 4 * 4, 129), nn.ReLU())
    network.head = nn.Linear(129, classes)
    return network


def no_decay(network, config):
    return torch.optim.AdamW(
        [{"params": [*network.parameters()], "weight_decay": 0.0}], lr=config.lr
    )


def replaced(kind: str, name: str, instead: object) -> Callable[[pytest.MonkeyPatch], None]:
    """Let a name of the registry stand for something else."""
    true_resolve = registry.resolve

    def resolve(some_kind: str, some_name: str) -> object:
        if (some_kind, some_name) == (kind, name):
            return instead
        return true_resolve(some_kind, some_name)

    return lambda patch: patch.setattr(registry, "resolve", resolve)


def set_in_assemble(name: str, value: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setattr(assemble, name, value)


plain_build = assemble.build
plain_wrap = assemble.wrap
plain_preprocessing = assemble.preprocessing
plain_augmentation = assemble.augmentation


def half(name, classes, stem="stock"):
    return plain_build(name, classes, stem).bfloat16()


def bilinear(network, config):
    return plain_wrap(network, dataclasses.replace(config, interpolation="bilinear"))


def another_mean(*arguments):
    _, std, normalization_of = plain_preprocessing(*arguments)
    return (0.5, 0.5, 0.5), std, normalization_of


def padded(config: ExperimentConfig) -> Augmentation:
    return dataclasses.replace(plain_augmentation(config), pad=1)


PLANTS = {
    "init.zeroed": replaced("network", "small_cnn", zeroed),
    "network.parameters": replaced("network", "small_cnn", wider),
    "network.interpolation": set_in_assemble("wrap", bilinear),
    "data.mean": set_in_assemble("preprocessing", another_mean),
    "optimizer.groups": replaced("optimizer", "adamw", no_decay),
    "precision.parameters": set_in_assemble("build", half),
    "data.augmentation": set_in_assemble("augmentation", padded),
    "schedule.rates": replaced("schedule", "constant", schedules.cosine),
}


@pytest.mark.parametrize("fact", PLANTS)
def test_a_planted_difference_is_caught_and_named(world, fact):
    assert schedules.cosine(0, 0, 10) == 1.0
    with pytest.MonkeyPatch.context() as patch:
        realized = realize(world, lambda: PLANTS[fact](patch))
    plain = realized["plain"]
    assert fact in [key for key, value in plain.items() if realized["other"][key] != value]
    study = make_study()
    alone = {arm: {fact: facts[fact]} for arm, facts in realized.items()}
    with pytest.raises(
        ValueError,
        match=rf"arm other and baseline plain differ in {fact} .*train\.label_smoothing",
    ):
        check_declared(study, alone)
    with pytest.raises(ValueError, match="differ in"):
        check_declared(study, realized)


def test_the_study_stops_before_its_first_run(tmp_path):
    """An optimizer from elsewhere that treats one arm otherwise: exit code 2, one line, no run."""
    (tmp_path / "uneven.py").write_text(
        "import torch\nfrom bench import registry\nfrom itertools import count\n\n"
        "calls = count()\n\n\n"
        "def uneven(network, config):\n"
        "    decay = 0.1 * next(calls)\n"
        "    parameters = [*network.parameters()]\n"
        "    return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=decay)\n\n\n"
        "registry.register('optimizer', 'uneven', 'uneven:uneven')\n"
    )
    env = environment(tmp_path, PYTHONPATH=str(tmp_path))
    overrides = [*OVERRIDES, "--imports=[uneven]", "--optim.name=uneven"]
    done = bench("run", TINY, *overrides, f"--output={tmp_path}/runs", env=env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "arm other and baseline plain differ in optimizer.groups" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").glob("tiny/*/events*"))
