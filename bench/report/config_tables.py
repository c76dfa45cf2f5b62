"""The tables of what the arms share and where they differ: as it was asked for, and as it ran."""

from collections.abc import Sequence

from bench.config.load import as_dict
from bench.judge.records import Difference, Report
from bench.judge.study import Study
from bench.ledger.json_records import JsonObject, JsonValue
from bench.report.table import Entry, Table, make_table, make_turned_table
from bench.report.words import value_text

# Of the config: what decides a run's numbers, and what judges them.
SECTIONS = (
    "data",
    "model",
    "weights",
    "finetune",
    "optim",
    "schedule",
    "train",
    "evaluation",
    "precision",
    "compile",
    "kind",
    "confirm_looks",
)
PLACES = ("data.dir", "data.download", "data.urls")  # where images lie, not which they are
CAUSES_HEADING = " through"  # no arm's name begins with a space


def differing_table(study: Study) -> Table:
    """Build the keys in which the arms were asked to differ, with every arm's value."""
    shared = _flat_config(study)
    keys = _differing_keys(study)
    entries = []
    for arm, overrides in study.arms.items():
        cells: dict[str, str | None] = {"factor": arm}
        for key in keys:
            cells[key] = value_text(overrides.get(key, shared.get(key)))
        entries.append(Entry(cells=cells))
    return make_turned_table("What differed", entries)


def equal_table(study: Study) -> Table:
    """Build what the arms share, a section of the config a row; keys without a value are left out.

    Of curves from elsewhere nothing is known.
    """
    differing = _differing_keys(study)
    values: dict[str, list[str]] = {section: [] for section in SECTIONS}
    for key, value in _flat_config(study).items():
        section, _, name = key.partition(".")
        if section not in values or value is None or key in differing or key in PLACES:
            continue
        values[section].append(f"{name} {value_text(value)}".strip())
    entries = []
    for section, texts in values.items():
        if texts:
            entries.append(Entry(cells={"section": section, "values": ", ".join(texts)}))
    return make_table("What was held equal", entries, words=2)


def _differing_keys(study: Study) -> list[str]:
    """Return the keys that some arm overrides, in the order that they come up in."""
    keys: list[str] = []
    for overrides in study.arms.values():
        keys += [key for key in overrides if key not in keys]
    return keys


def _flat_config(study: Study) -> dict[str, JsonValue]:
    """Return the config that arms share by dotted key; nothing of curves from elsewhere."""
    return {} if study.config is None else _flatten(as_dict(study.config), "")


def _flatten(tree: JsonObject, prefix: str) -> dict[str, JsonValue]:
    flat: dict[str, JsonValue] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def audit_table(report: Report) -> Table:
    """Build what else differs in what ran: a row a fact with every arm's value.

    A fact that no factor explains stands out.
    """
    facts = sorted({difference.fact for difference in report.audit})
    entries = []
    for fact in facts:
        differences = [difference for difference in report.audit if difference.fact == fact]
        is_hidden = not all(difference.explained_by for difference in differences)
        entries.append(Entry(cells=_audit_cells(report, fact, differences), marked=is_hidden))
    return make_table(
        "What else differed",
        entries,
        words=len(report.arms) + 2,
        note="Read from the network, optimizer, images and rates that ran. Each follows from the "
        "keys named last; a marked row follows from none of the arm’s factors, and leaves the "
        "verdict undecided.",
    )


def _audit_cells(
    report: Report, fact: str, differences: Sequence[Difference]
) -> dict[str, str | None]:
    by_arm = {difference.arm: difference for difference in differences}
    cells: dict[str, str | None] = {"": fact}
    causes: list[str] = []
    for arm in report.arms:
        value = differences[0].baseline
        if arm.name in by_arm:
            difference = by_arm[arm.name]
            value = difference.value
            causes += [key for key in difference.explained_by if key not in causes]
        cells[arm.name] = value_text(value)
    cells[CAUSES_HEADING] = ", ".join(causes) or "nothing declared"
    return cells
