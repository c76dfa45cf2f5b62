"""For the tests of configs: a small study as a file, the message of a refusal, a config's keys."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config.load import load
from bench.config.schema import ExperimentConfig

ROOT = Path(__file__).parents[3]
EMBEDDED = "configs/experiments/embedded.yaml"
SECTIONS = {
    f.name: f.type for f in dataclasses.fields(ExperimentConfig) if dataclasses.is_dataclass(f.type)
}
LEAVES = [
    (root, leaf.name) for root, section in SECTIONS.items() for leaf in dataclasses.fields(section)
]
STUDY: dict[str, Any] = {
    "name": "study", "question": "Is it so?", "cost": "little", "command": "none",
    "expected": "yes",
    "arms": {"slow": {}, "fast": {"optim.lr": "3e-3"}}, "baseline": "slow", "factors": ["optim.lr"],
    "primary": {"arm": "fast", "threshold": 0.5}, "thresholds": [0.3, 0.5],
    "data": {"source": "digits"}, "schedule": {"lr_warmup_steps": 4},
    "train": {"global_batch_size": 32, "samples": 1024}, "evaluation": {"every_samples": 128},
}  # fmt: skip


def write(folder: Path, **changes: Any) -> Path:
    """Write the small study with changes; return its path."""
    path = folder / "study.yaml"
    path.write_text(
        yaml.safe_dump({**STUDY, **changes}, allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    return path


def refusal(path: str | Path, *overrides: str) -> str:
    """The message that a config is refused with: one line."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        load(path, overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def leaves(tree: dict[str, Any]) -> dict[str, Any]:
    """Dotted key to value, over the sections of a config."""
    return {f"{root}.{leaf}": tree[root][leaf] for root, leaf in LEAVES}
