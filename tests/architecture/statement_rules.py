"""Rules about single statements: what one of them may hold, and what is no way to decide anything.

Each rule reads one Python source and yields its breaches. Knows nothing of files and rooms.
"""

import ast
from collections.abc import Iterator

from tests.architecture.breach import Breach, breach_at

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
DENSE = (*COMPREHENSIONS, ast.IfExp, ast.Lambda, ast.NamedExpr)
# A clause that holds statements and is none itself.
_CLAUSES = (ast.stmt, ast.ExceptHandler, ast.match_case)
_DISPLAYS = (ast.Tuple, ast.List)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
MOST_ZIPPED = 2


def dense_parts(statement: ast.AST) -> list[ast.expr]:
    """List the comprehensions, ternaries, lambdas and walruses of a statement.

    Statements inside it, as in the body of an `if`, are not looked into.
    """
    parts = []
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, _CLAUSES):
            continue
        parts += [part for part in ast.walk(child) if isinstance(part, DENSE)]
    return parts


def dense_statements(source: str) -> Iterator[Breach]:
    """Report statements with more than one comprehension, ternary, lambda or walrus."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, _CLAUSES):
            continue
        parts = dense_parts(node)
        if len(parts) > 1:
            yield breach_at(parts[0], f"{len(parts)} comprehensions, ternaries, lambdas, walruses")


def paired_displays(source: str) -> Iterator[Breach]:
    """Report assignments of several things at once, as `a, b = 1, 2`; a swap is let be."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, _DISPLAYS):
            continue
        for target in ast.iter_child_nodes(node):
            if target is node.value:
                continue
            if isinstance(target, _DISPLAYS) and not _is_swap(target, node.value):
                yield breach_at(node, "one assignment a statement")


def _is_swap(target: ast.expr, value: ast.expr) -> bool:
    assigned = sorted(ast.unparse(element) for element in target.elts)
    return assigned == sorted(ast.unparse(element) for element in value.elts)


def parallel_sequences(source: str) -> Iterator[Breach]:
    """Report three or more sequences that are taken apart side by side."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "zip" and len(node.args) > MOST_ZIPPED:
            yield breach_at(node, "a record instead of parallel sequences")
        if node.func.id == "map" and len(node.args) > MOST_ZIPPED + 1:
            yield breach_at(node, "a record instead of parallel sequences")


def boolean_arithmetic(source: str) -> Iterator[Breach]:
    """Report numbers made of comparisons: added, multiplied, summed up, or used as an index."""
    for node in ast.walk(ast.parse(source)):
        if any(_is_truth(operand) for operand in _numbers(node)):
            yield breach_at(node, "a comparison is no number")


def _numbers(node: ast.AST) -> list[ast.expr]:
    """List the expressions that a node takes for numbers."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, _ARITHMETIC):
        return [node.left, node.right]
    if isinstance(node, ast.AugAssign) and isinstance(node.op, _ARITHMETIC):
        return [node.value]
    if isinstance(node, ast.Subscript):
        return _index(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "sum":
        return [part.elt for part in node.args if isinstance(part, ast.GeneratorExp | ast.ListComp)]
    return []


def _index(node: ast.Subscript) -> list[ast.expr]:
    """A display's index; that of a name may be a tensor's mask."""
    if isinstance(node.value, ast.Tuple | ast.List | ast.Dict | ast.Constant):
        return [node.slice]
    return []


def _is_truth(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    return isinstance(node, ast.Compare)


def hidden_conditions(source: str) -> Iterator[Breach]:
    """Report what decides without saying `if`, or repeats without saying `for`."""
    for node in ast.walk(ast.parse(source)):
        message = None
        if isinstance(node, ast.Call):
            message = _call_message(node)
        elif isinstance(node, ast.Expr):
            message = _expression_message(node.value)
        elif isinstance(node, ast.For) and isinstance(node.iter, ast.IfExp):
            message = "an `if` around the loop"
        if message:
            yield breach_at(node, message)


def _call_message(call: ast.Call) -> str | None:
    written = ast.unparse(call.func)
    if written.endswith("dict.fromkeys"):
        return "a loop or a comprehension says what the keys are for"
    if written in ("suppress", "contextlib.suppress"):
        return "`try` and `except` say what is let pass, and why"
    if written == "next" and _searches(call):
        return "a loop with an early return finds the first"
    return None


def _searches(call: ast.Call) -> bool:
    """Whether `next` looks for something; `next(lines)` only goes on."""
    source = call.args[0]
    filtered = isinstance(source, ast.Call) and ast.unparse(source.func) == "filter"
    return isinstance(source, ast.GeneratorExp) or filtered or len(call.args) > 1


def _expression_message(value: ast.expr) -> str | None:
    if isinstance(value, ast.BoolOp | ast.IfExp):
        return "an `if` statement"
    if isinstance(value, COMPREHENSIONS):
        return "a `for` statement"
    return None
