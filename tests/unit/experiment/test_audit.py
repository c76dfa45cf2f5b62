"""Differences between arms that nobody declared, planted one by one: each stops the study before its first run."""

import dataclasses

import pytest
import torch
from torch import nn

from bench import registry
from bench.config.load import arm_config, as_dict, load
from bench.experiment import assemble
from bench.experiment.assemble import Assembler
from bench.experiment.inputs import Inputs
from bench.judge.audit import check_declared
from bench.models.cnn import small_cnn
from bench.models.weights import random_weights
from bench.training import optimizers
from tests.commands import ROOT, TINY, bench, environment
from tests.unit.training.factory import opened_world

ARMS = "{plain: {}, other: {train.label_smoothing: 0.2}}"
WHOLE = [
    "--factors=[train.label_smoothing]",
    f"--arms={ARMS}",
    "--baseline=plain",
    "--primary.arm=other",
    "--model.input_size=32",
]


@pytest.fixture(scope="module")
def world():
    with opened_world() as world:
        yield world


def realities(world, before_other=lambda: None):
    """What the two arms are; `before_other` changes the world between them."""
    config = load(ROOT / TINY, WHOLE)
    assembler, found = Assembler(world, Inputs()), {}
    for arm in config.arms:
        if arm == "other":
            before_other()
        found[arm] = assembler.assemble(arm_config(config, arm), random_weights()).reality
    return as_dict(config), found


def test_arms_that_differ_in_what_they_declare_alone_pass(world):
    config, found = realities(world)
    assert found["plain"] == found["other"]
    check_declared(config, found)


def test_arms_of_one_program_have_rates_of_their_own(world):
    config, assembler = load(ROOT / TINY), Assembler(world, Inputs())
    slow, fast = (
        assembler.assemble(arm_config(config, arm), random_weights()) for arm in ("slow", "fast")
    )
    assert slow.program is fast.program
    assert (slow.reality["schedule.rates"], fast.reality["schedule.rates"]) == (
        "0.00025, 0.001, 0.001",
        "0.00075, 0.003, 0.003",
    )
    check_declared(as_dict(config), {"slow": slow.reality, "fast": fast.reality})
    undeclared = as_dict(config) | {"arms": {"slow": {}, "fast": {"train.label_smoothing": 0.2}}}
    with pytest.raises(ValueError, match=r"differ in schedule\.rates"):
        check_declared(undeclared, {"slow": slow.reality, "fast": fast.reality})


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


def replaced(kind, name, target):
    def plant(patch):
        patch.setitem(registry._ENTRIES[kind], name, target)

    return plant


def half(name, classes, stem="stock"):
    return plain_build(name, classes, stem).bfloat16()


plain_build, plain_wrap, plain_normal, plain_augmentation = (
    assemble.build, assemble.wrap, assemble.preprocessing, assemble.augmentation
)  # fmt: skip


def set_in_assemble(name, value):
    return lambda patch: patch.setattr(assemble, name, value)


PLANTS = {
    "init.zeroed": replaced("network", "small_cnn", f"{__name__}:zeroed"),
    "network.parameters": replaced("network", "small_cnn", f"{__name__}:wider"),
    "network.interpolation": set_in_assemble(
        "wrap", lambda network, config: plain_wrap(network, dataclasses.replace(config, interpolation="bilinear"))
    ),
    "data.mean": set_in_assemble(
        "preprocessing", lambda *of: ((0.5, 0.5, 0.5), *plain_normal(*of)[1:])
    ),
    "optimizer.groups": replaced("optimizer", "adamw", f"{__name__}:no_decay"),
    "precision.parameters": set_in_assemble("build", half),
    "data.augmentation": set_in_assemble(
        "augmentation", lambda config: dataclasses.replace(plain_augmentation(config), pad=1)
    ),
    "schedule.rates": replaced("schedule", "constant", "bench.training.optimizers:cosine"),
}  # fmt: skip


@pytest.mark.parametrize("fact", PLANTS)
def test_a_planted_difference_is_caught_and_named(world, fact):
    assert optimizers.cosine(0, 0, 10) == 1.0
    with pytest.MonkeyPatch.context() as patch:
        config, found = realities(world, lambda: PLANTS[fact](patch))
    different = {key for key in found["plain"] if found["plain"][key] != found["other"][key]}
    assert fact in different
    with pytest.raises(
        ValueError, match=r"arm other and baseline plain differ in .*train\.label_smoothing"
    ):
        check_declared(config, {arm: {fact: reality[fact]} for arm, reality in found.items()})
    with pytest.raises(ValueError, match="differ in"):
        check_declared(config, found)


def test_the_study_stops_before_its_first_run(tmp_path):
    """An optimizer from elsewhere that treats one arm otherwise: exit code 2, one line, no run."""
    (tmp_path / "uneven.py").write_text(
        "import torch\nfrom bench import registry\nfrom itertools import count\n\nmade = count()\n\n\n"
        "def uneven(network, config):\n"
        "    decay = 0.1 * next(made)\n"
        "    return torch.optim.AdamW([*network.parameters()], lr=config.lr, weight_decay=decay)\n\n\n"
        "registry.register('optimizer', 'uneven', 'uneven:uneven')\n"
    )
    env = environment(tmp_path, PYTHONPATH=str(tmp_path))
    done = bench(
        "run", TINY, *WHOLE, "--imports=[uneven]", "--optim.name=uneven", f"--output={tmp_path}/runs", env=env
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "arm other and baseline plain differ in optimizer.groups" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").glob("tiny/*/events*"))
