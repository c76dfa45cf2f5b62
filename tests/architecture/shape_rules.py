"""Rules about lines, names, docstrings and sizes.

Each rule reads one Python source and yields its breaches. Knows nothing of files and rooms.
"""

import ast
import io
import tokenize
from collections.abc import Iterator
from statistics import median

from tests.architecture.breach import Breach

MAX_COLUMNS = 100
MAX_FUNCTION_LINES = 60
MAX_KERNEL_LINES = 120
MAX_MEDIAN_LINES = 12
MAX_POSITIONAL = 5
MAX_DOCSTRING_LINES = 5
# Participles and pronouns: they say nothing of the thing.
NO_NAMES = (
    "own",
    "found",
    "told",
    "known",
    "whole",
    "held",
    "asked",
    "made",
    "given",
    "how",
    "what",
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_lines(source: str) -> Iterator[Breach]:
    """Report lines over 100 columns, in code, docstrings, comments and templates alike."""
    for number, line in enumerate(source.splitlines(), 1):
        if len(line) > MAX_COLUMNS:
            yield Breach(number, line, f"{len(line)} columns; at most {MAX_COLUMNS}")


def skipped_formats(source: str) -> Iterator[Breach]:
    """Report `fmt: skip` and `fmt: off`; a table of data, which computes nothing, is let be."""
    tree = ast.parse(source)
    marks = ("# fmt: skip", "# fmt: off")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or not token.string.startswith(marks):
            continue
        line = token.start[0]
        if not any(_is_table(node) for node in _statements_at(tree, line)):
            yield Breach(line, token.line.strip(), "`fmt: skip` only on a table of data")


def _statements_at(tree: ast.AST, line: int) -> list[ast.stmt]:
    """The statements that end on a line."""
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.stmt) and node.end_lineno == line
    ]


def _is_table(statement: ast.stmt) -> bool:
    """Whether a statement assigns a display in which nothing is computed."""
    value = getattr(statement, "value", None)
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return False
    if not isinstance(value, ast.List | ast.Tuple | ast.Dict | ast.Set):
        return False
    computing = ast.Call | ast.BinOp | ast.BoolOp | ast.IfExp | ast.comprehension | ast.Lambda
    return not any(isinstance(part, computing) for part in ast.walk(value))


def empty_names(source: str) -> Iterator[Breach]:
    """Report variables and parameters whose name does not say what the thing is."""
    for node in ast.walk(ast.parse(source)):
        name = _assigned_name(node)
        if name in NO_NAMES:
            yield Breach(node.lineno, name, f"{name}: name the thing")


def _assigned_name(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return node.name
    return None


def module_docstrings(source: str) -> Iterator[Breach]:
    """Report a module without a docstring, or with one over five lines."""
    docstring = ast.get_docstring(ast.parse(source))
    if not docstring:
        yield Breach(1, "", "no module docstring")
        return
    lines = len(docstring.splitlines())
    if lines > MAX_DOCSTRING_LINES:
        yield Breach(1, "", f"module docstring of {lines} lines; at most {MAX_DOCSTRING_LINES}")


def functions(source: str) -> list[Function]:
    """List every function and method, those inside others too."""
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]


def length(function: Function) -> int:
    """Count a function's lines from its `def`, docstring and comments with it."""
    return function.end_lineno - function.lineno + 1


def long_functions(source: str, limit: int = MAX_FUNCTION_LINES) -> Iterator[Breach]:
    """Report functions over a number of lines."""
    for function in functions(source):
        if length(function) > limit:
            message = f"{function.name} has {length(function)} lines; at most {limit}"
            yield Breach(function.lineno, function.name, message)


def positional_parameters(source: str) -> Iterator[Breach]:
    """Report functions with more than five positional parameters, `self` and `cls` left out."""
    for function in functions(source):
        parameters = [*function.args.posonlyargs, *function.args.args]
        names = [parameter.arg for parameter in parameters if parameter.arg not in ("self", "cls")]
        if len(names) > MAX_POSITIONAL:
            message = f"{function.name} has {len(names)} positional parameters; at most 5"
            yield Breach(function.lineno, function.name, message)


def median_length(sources: list[str]) -> float:
    """Return the median length of the functions of several sources, in lines; 0 for none."""
    lengths = [length(function) for source in sources for function in functions(source)]
    return median(lengths) if lengths else 0


def long_file(source: str, limit: int) -> Iterator[Breach]:
    """Report a file over a number of lines."""
    lines = source.count("\n")
    if lines > limit:
        yield Breach(1, "", f"{lines} lines; at most {limit}")
