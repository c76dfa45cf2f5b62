"""Every rule of style by its name, and what breaks it in a file or a room."""

from collections.abc import Callable, Iterator
from pathlib import PurePath

from tests.architecture import assertion_rules, record_rules, shape_rules, statement_rules
from tests.architecture.breach import Breach
from tests.architecture.exemptions import is_exempt
from tests.architecture.template_rules import computing_templates

Rule = Callable[[str], Iterator[Breach]]

MAX_FILE_LINES = 350
MAX_TEST_FILE_LINES = 400


def _by_name(*rules: Rule) -> dict[str, Rule]:
    return {rule.__name__: rule for rule in rules}


RULES = _by_name(
    shape_rules.long_lines,
    shape_rules.skipped_formats,
    shape_rules.empty_names,
    shape_rules.positional_parameters,
    statement_rules.dense_statements,
    statement_rules.paired_displays,
    statement_rules.parallel_sequences,
    statement_rules.boolean_arithmetic,
    statement_rules.hidden_conditions,
    record_rules.string_keys,
    record_rules.any_types,
    record_rules.bare_mappings,
    record_rules.foreign_fields,
)
# What holds in tests too: they call with more arguments, and read JSON by its keys. Then what
# holds in tests alone.
TEST_RULES = _by_name(
    shape_rules.long_lines,
    shape_rules.skipped_formats,
    shape_rules.empty_names,
    statement_rules.dense_statements,
    statement_rules.paired_displays,
    statement_rules.parallel_sequences,
    statement_rules.boolean_arithmetic,
    statement_rules.hidden_conditions,
    assertion_rules.conditional_assertions,
    assertion_rules.alternative_assertions,
    assertion_rules.self_comparisons,
)
ALL_RULES = {**RULES, **TEST_RULES}
TEMPLATE_RULES = _by_name(shape_rules.long_lines, computing_templates)


def is_test(path: str) -> bool:
    """Whether a file counts as a test; a path below the root."""
    return path.startswith("tests/")


def size_breaches(path: str, source: str) -> list[str]:
    """List what is too long in a Python file, or has no docstring."""
    lines = MAX_TEST_FILE_LINES if is_test(path) else MAX_FILE_LINES
    function_lines = shape_rules.MAX_FUNCTION_LINES
    if path.startswith("kernels/"):
        function_lines = shape_rules.MAX_KERNEL_LINES
    breaches = [
        *shape_rules.module_docstrings(source),
        *shape_rules.long_file(source, lines),
        *shape_rules.long_functions(source, function_lines),
    ]
    return [f"{path}:{breach}" for breach in breaches]


def rule_breaches(name: str, path: str, source: str) -> list[Breach]:
    """List what breaks a rule in a file, without what is exempt from it."""
    rules = TEMPLATE_RULES if PurePath(path).suffix == ".j2" else ALL_RULES
    return [breach for breach in rules[name](source) if not is_exempt(name, path, breach)]


def breaches_of(name: str, texts: dict[str, str]) -> list[str]:
    """List what breaks a rule in files, given by path, a line each."""
    lines = []
    for path, source in texts.items():
        lines += [f"{path}:{breach}" for breach in rule_breaches(name, path, source)]
    return lines
