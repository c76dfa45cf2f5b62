"""The rule about templates: markup, loops and ifs over prepared rows, and nothing that computes.

Whatever a page shows is computed in Python, where it has a type and a test.
"""

from collections.abc import Iterator

from jinja2 import Environment, TemplateSyntaxError, nodes

from tests.architecture.breach import Breach

_ARITHMETIC = (nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)
_ORDER = ("lt", "lteq", "gt", "gteq")
# They choose, look up or count. Forms of numbers and text are let be.
DECIDING_FILTERS = (
    "attr",
    "batch",
    "default",
    "d",
    "dictsort",
    "first",
    "format",
    "groupby",
    "items",
    "last",
    "list",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "sum",
    "unique",
)
_NAMES = (nodes.Name, nodes.Getattr, nodes.Const)


def computing_templates(source: str) -> Iterator[Breach]:
    """Report `do`, sets that compute, arithmetic, orders of numbers, lookups, deciding filters."""
    environment = Environment(extensions=["jinja2.ext.do"])
    try:
        tree = environment.parse(source)
    except TemplateSyntaxError as error:
        yield Breach(error.lineno, "", f"no template: {error.message}")
        return
    for node in tree.find_all(nodes.Node):
        message = _message(node)
        if message:
            yield Breach(node.lineno, type(node).__name__, message)


def _message(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.ExprStmt):
        return "`do`"
    if isinstance(node, nodes.Assign) and not isinstance(node.node, _NAMES):
        return "a `set` that computes"
    if isinstance(node, _ARITHMETIC):
        return "arithmetic"
    if isinstance(node, nodes.Operand) and node.op in _ORDER:
        return "an order of numbers decides"
    if isinstance(node, nodes.Dict | nodes.Getitem):
        return "a lookup"
    if isinstance(node, nodes.Filter) and node.name in DECIDING_FILTERS:
        return f"the filter {node.name} decides"
    if isinstance(node, nodes.Call) and getattr(node.node, "attr", None) == "get":
        return "a lookup"
    return None
