"""Rules about assertions in tests: each is reached, and asks one question that can fail.

Each rule reads one Python source and yields its breaches. Knows nothing of files and rooms.
"""

import ast
from collections.abc import Iterator

from tests.architecture.breach import Breach, breach_at


def conditional_assertions(source: str) -> Iterator[Breach]:
    """Report assertions of a test below an `if`: where the condition is false, nothing is asked."""
    for test in _tests(source):
        conditions = [node for node in ast.walk(test) if isinstance(node, ast.If)]
        for condition in conditions:
            for node in ast.walk(condition):
                if isinstance(node, ast.Assert):
                    yield breach_at(node, "an assertion that may not be reached")


def alternative_assertions(source: str) -> Iterator[Breach]:
    """Report `assert a or b`, which does not say which of them is true."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and _is_alternative(node.test):
            yield breach_at(node, "an assertion of one thing or another")


def self_comparisons(source: str) -> Iterator[Breach]:
    """Report comparisons of an expression with itself, as `a == a`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        compared = [ast.dump(side) for side in (node.left, *node.comparators)]
        calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
        if len(set(compared)) < len(compared) and not calls:
            yield breach_at(node, "a comparison of a thing with itself")


def _tests(source: str) -> list[ast.AST]:
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [function for function in functions if function.name.startswith("test_")]


def _is_alternative(expression: ast.expr) -> bool:
    return isinstance(expression, ast.BoolOp) and isinstance(expression.op, ast.Or)
