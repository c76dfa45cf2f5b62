"""Which keys a run's digest depends on."""

import dataclasses
import re
from typing import Any

import pytest

from bench.config.load import load, run_digest
from bench.config.schema import PLACES, RUN_ROOTS, ExperimentConfig, section_keys
from tests.unit.config.studies import EMBEDDED, LEAVES, SECTIONS

# Named, judged or stored by these; what a run computes depends on none of them (the seed stands in
# the run's id).
NOT_DECISIVE = {
    "name", "question", "cost", "command", "expected", "arms", "baseline", "factors", "primary",
    "thresholds", "confirm_looks", "clock", "blocks", "until_decided", "budgets", "controls",
    "reference", "seed", "hardware", "checkpoint", "trackers", "wandb", "output", "imports", "tune",
}  # fmt: skip


def changed(config: ExperimentConfig, root: str, leaf: str | None = None) -> ExperimentConfig:
    value: Any = (
        dataclasses.replace(getattr(config, root), **{leaf: "changed"}) if leaf else "changed"
    )
    return dataclasses.replace(config, **{root: value})


def test_every_key_is_decisive_or_known_not_to_be():
    assert set(section_keys()) == NOT_DECISIVE | set(RUN_ROOTS)
    assert not NOT_DECISIVE & set(RUN_ROOTS)


@pytest.mark.parametrize(
    ("root", "leaf"),
    [leaf for leaf in LEAVES if leaf[0] in RUN_ROOTS and ".".join(leaf) not in PLACES],
)
def test_the_digest_changes_with_every_decisive_key(root, leaf):
    config = load(EMBEDDED)
    assert run_digest(changed(config, root, leaf)) != run_digest(config)


@pytest.mark.parametrize("root", [root for root in RUN_ROOTS if root not in SECTIONS])
def test_the_digest_changes_with_every_decisive_value(root):
    config = load(EMBEDDED)
    assert run_digest(changed(config, root)) != run_digest(config)


@pytest.mark.parametrize(
    "key", [*sorted(NOT_DECISIVE), *PLACES, "hardware.loader_threads", "wandb.tags"]
)
def test_the_digest_does_not_change_with_names_and_places(key):
    config = load(EMBEDDED)
    other = changed(config, *key.split("."))
    assert other != config
    assert run_digest(other) == run_digest(config)


def test_a_digest_is_of_values_not_of_how_they_are_written():
    written = [
        run_digest(load(EMBEDDED, [f"--optim.lr={lr}"]))
        for lr in ("1e-2", "0.01", "1.0e-2", "'0.01'", "10e-3")
    ]
    assert len(set(written)) == 1
    assert re.fullmatch(r"[0-9a-f]{8}", written[0])
    assert run_digest(load(EMBEDDED), "0.1") != run_digest(load(EMBEDDED), "0.2")
