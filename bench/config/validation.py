"""A tree of plain values to an ExperimentConfig; the first fault is told in a sentence."""

import re
from collections.abc import Mapping

from pydantic import JsonValue, TypeAdapter, ValidationError

from bench import registry
from bench.config.schema import ExperimentConfig, section_keys

_ADAPTER = TypeAdapter(ExperimentConfig)


def validate(tree: Mapping[str, JsonValue], where: str) -> ExperimentConfig:
    """Check each value by its field. Raises ValueError, in one line that begins with `where`."""
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise ValueError(f"{where}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    unknown_keys = [fault for fault in faults if fault["type"] == "unexpected_keyword_argument"]
    fault = (unknown_keys or faults)[0]  # an unknown key explains a missing one beside it
    path = [str(part) for part in fault["loc"] if part != "[key]"]
    key = ".".join(path)
    value = fault["input"]
    if unknown_keys:
        section = path[0] if len(path) > 1 else None
        return f"unknown key {key!r}; {registry.nearest(path[-1], section_keys(section))}"
    if fault["type"] == "missing":
        return f"key {key!r} is missing"
    if fault["type"] == "literal_error":
        allowed = re.findall("'([^']*)'", fault["ctx"]["expected"])  # 'drop' or 'partial'
        return f"{key}: {value!r} is not allowed; {registry.nearest(str(value), allowed)}"
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{key}: {value!r}: {message}"
