"""What differs between arms as they really are, and whether a declared factor explains it.

Pure; the facts come from the runs' starts.
"""

from collections.abc import Mapping, Sequence

from bench.judge.records import Difference
from bench.judge.study import Study
from bench.ledger.records import RealizedConfig

# First words of a fact's name: the config keys that may bring a difference about.
CAUSES: Mapping[str, tuple[str, ...]] = {
    "network.trained_parameters": ("model", "finetune"),
    "network": ("model",),
    "init": ("model",),
    "optimizer": ("optim", "model", "finetune"),
    "schedule": ("schedule", "optim", "train.samples", "train.global_batch_size"),
    "data": ("data", "model"),  # the normalisation follows the network
    "precision": ("precision",),
}
LACKING = "no such thing"


def differences(study: Study, realities: Mapping[str, RealizedConfig]) -> list[Difference]:
    """List every fact of every arm that is not the baseline's, and what may be why.

    That is, the config keys that differ and may bring it about (none: it is hidden). A fact that
    one of them lacks differs too. Without the baseline there is nothing to differ from.
    """
    baseline = realities.get(study.baseline)
    if not baseline:
        return []
    rows = []
    for arm, reality in realities.items():
        changed_keys = _changed_keys(study, arm)
        for fact in sorted({*reality, *baseline}):
            value = reality.get(fact, LACKING)
            baseline_value = baseline.get(fact, LACKING)
            if value != baseline_value:
                rows.append(
                    Difference(
                        arm=arm,
                        fact=fact,
                        value=value,
                        baseline=baseline_value,
                        explained_by=_explaining_keys(fact, changed_keys),
                    )
                )
    return rows


def check_declared(study: Study, realities: Mapping[str, RealizedConfig]) -> None:
    """Raise ValueError, with both values, for a difference that no declared factor explains."""
    for difference in differences(study, realities):
        if not difference.explained_by:
            factors = ", ".join(study.arms[difference.arm]) or "none"
            raise ValueError(
                f"arm {difference.arm} and baseline {study.baseline} differ in {difference.fact} "
                f"({difference.value} against {difference.baseline}), which none of its factors "
                f"({factors}) explains: declare it or make it equal"
            )


def _changed_keys(study: Study, arm: str) -> list[str]:
    """Return the config keys in which an arm differs from the baseline."""
    arm_overrides = study.arms[arm]
    baseline_overrides = study.arms[study.baseline]
    keys = sorted({*arm_overrides, *baseline_overrides})
    return [key for key in keys if arm_overrides.get(key) != baseline_overrides.get(key)]


def _explaining_keys(fact: str, changed_keys: Sequence[str]) -> list[str]:
    """Return those of the keys that lie below a cause of the fact."""
    prefixes = tuple(f"{cause}." for cause in _causes(fact))
    return [key for key in changed_keys if f"{key}.".startswith(prefixes)]


def _causes(fact: str) -> tuple[str, ...]:
    first_word = fact.partition(".")[0]
    for name in (fact, first_word):
        if name in CAUSES:
            return CAUSES[name]
    return (first_word,)
