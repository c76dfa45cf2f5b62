"""What differs between arms as they really are, and whether a declared factor explains it. Pure; the facts come from assembly."""

from collections.abc import Mapping
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
LACKING = "no such thing"


def differences(
    config: Mapping[str, Any], realities: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Every fact of every arm that is not the baseline's, with the differing config keys that may be why (none: hidden).

    A fact that one of them lacks differs too. Without the baseline there is nothing to differ from.
    """
    base, found = realities.get(config["baseline"], {}), []
    for arm, own in realities.items() if base else ():
        mine, other = config["arms"][arm], config["arms"][config["baseline"]]
        changed = [key for key in sorted({*mine, *other}) if mine.get(key) != other.get(key)]
        for fact in sorted({*own, *base}):
            value, baseline, root = (
                own.get(fact, LACKING),
                base.get(fact, LACKING),
                fact.partition(".")[0],
            )
            if value != baseline:
                causes = tuple(
                    f"{cause}." for cause in CAUSES.get(fact) or CAUSES.get(root) or (root,)
                )
                why = [key for key in changed if f"{key}.".startswith(causes)]
                found.append(
                    {
                        "arm": arm,
                        "fact": fact,
                        "value": value,
                        "baseline": baseline,
                        "explained_by": why,
                    }
                )
    return found


def check_declared(config: Mapping[str, Any], realities: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError, with both values, for the first difference that no declared factor explains."""
    for found in differences(config, realities):
        if not found["explained_by"]:
            declared = ", ".join(config["arms"][found["arm"]]) or "none"
            raise ValueError(
                f"arm {found['arm']} and baseline {config['baseline']} differ in {found['fact']} ({found['value']} against "
                f"{found['baseline']}), which none of its factors ({declared}) explains: declare it or make it equal"
            )
