"""What differs between arms as they really are, and whether a declared factor explains it. Pure; the facts come from assembly."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# First words of a fact's name: the config keys that may bring a difference about.
CAUSES = {
    "network.trained_parameters": ("model", "finetune"),
    "network": ("model",),
    "init": ("model",),
    "optimizer": ("optim", "model", "finetune"),
    "schedule": ("schedule", "optim", "train.samples", "train.global_batch_size"),
    "data": ("data", "model"),  # the normalisation follows the network
    "precision": ("precision",),
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One fact in which an arm is not as the baseline, and the differing config keys that may be why (none: hidden)."""

    arm: str
    fact: str
    value: Any
    baseline: Any
    explained_by: tuple[str, ...]


def differences(config: Mapping[str, Any], realities: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Every fact of every arm that is not the baseline's; a fact that one of them lacks differs too."""
    base, found = realities[config["baseline"]], []
    for arm, own in realities.items():
        set_by = {arm: config["arms"][arm], "": config["arms"][config["baseline"]]}
        keys = sorted(set().union(*set_by.values()))
        changed = [key for key in keys if set_by[arm].get(key) != set_by[""].get(key)]
        for fact in sorted({*own, *base}):
            if own.get(fact) != base.get(fact):
                causes = CAUSES.get(fact) or CAUSES[fact.partition(".")[0]]
                why = tuple(key for key in changed if f"{key}.".startswith(tuple(f"{cause}." for cause in causes)))
                found.append(Difference(arm=arm, fact=fact, value=own.get(fact), baseline=base.get(fact), explained_by=why))
    return found


def check_declared(config: Mapping[str, Any], realities: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError, with both values, for the first difference that no declared factor explains."""
    for found in differences(config, realities):
        if not found.explained_by:
            declared = ", ".join(config["arms"][found.arm]) or "none"
            raise ValueError(
                f"arm {found.arm} and baseline {config['baseline']} differ in {found.fact} ({found.value} against "
                f"{found.baseline}), which none of its factors ({declared}) explains: declare it or make it equal"
            )
