"""Rules about records: what has fields is no mapping, and nobody else sets them.

Each rule reads one Python source and yields its breaches; where a breach is let be, and why, stands
in exemptions.py.
"""

import ast
from collections.abc import Iterator

from tests.architecture.breach import Breach, breach_at

MAPPINGS = ("dict", "Dict", "Mapping", "MutableMapping")
_SELF = ("self", "cls")
_ENVIRONMENT = ("environ", "os.environ")


def string_keys(source: str) -> Iterator[Breach]:
    """Report `x["key"]` and `x.get("key")`, which a record's field would say; types are let be.

    The environment is no record of ours. The subject is the mapping, `x`.
    """
    tree = ast.parse(source)
    types = _parts_of_types(tree)
    for node in ast.walk(tree):
        mapping = _read_by_string(node)
        if mapping is None or node in types or ast.unparse(mapping) in _ENVIRONMENT:
            continue
        yield breach_at(node, "a field of a record instead of a key", subject=mapping)


def _read_by_string(node: ast.AST) -> ast.expr | None:
    """The mapping that a node reads by a literal key; None where it does not."""
    if isinstance(node, ast.Subscript) and _is_text(node.slice):
        return node.value
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    if node.func.attr == "get" and node.args and _is_text(node.args[0]):
        return node.func.value
    return None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _parts_of_types(tree: ast.AST) -> set[ast.AST]:
    """Every node of an annotation, and of `Literal["x"]` wherever it stands."""
    parts = set()
    for node in ast.walk(tree):
        for annotation in _annotations(node):
            parts |= set(ast.walk(annotation))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal"):
            parts.add(node)
    return parts


def _annotations(node: ast.AST) -> list[ast.expr]:
    """The type that a parameter, a function's result or a field has."""
    annotation = None
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        annotation = node.returns
    elif isinstance(node, ast.arg | ast.AnnAssign):
        annotation = node.annotation
    return [annotation] if annotation else []


def any_types(source: str) -> Iterator[Breach]:
    """Report `Any`, wherever it is used; its import is let be."""
    for node in ast.walk(ast.parse(source)):
        name = getattr(node, "id", getattr(node, "attr", None))
        if name == "Any":
            yield breach_at(node, "a type instead of Any")


def bare_mappings(source: str) -> Iterator[Breach]:
    """Report parameters, results and fields that are mappings of anything, as `dict[str, Any]`."""
    for node in ast.walk(ast.parse(source)):
        for annotation in _annotations(node):
            if _holds_bare_mapping(annotation):
                yield breach_at(annotation, "a record, or what the values are")


def _holds_bare_mapping(annotation: ast.expr) -> bool:
    typed = set()
    for node in ast.walk(annotation):
        if not isinstance(node, ast.Subscript):
            continue
        typed.add(node.value)
        values = getattr(node.slice, "elts", [node.slice])[-1]
        if _last_name(node.value) in MAPPINGS and _last_name(values) in ("Any", "object"):
            return True
    bare = [node for node in ast.walk(annotation) if _last_name(node) in MAPPINGS]
    return any(node not in typed for node in bare)


def _last_name(node: ast.AST) -> str | None:
    return getattr(node, "id", getattr(node, "attr", None))


def foreign_fields(source: str) -> Iterator[Breach]:
    """Report fields that are set from outside: `x.y = 1`, where x is neither self nor cls."""
    for node in ast.walk(ast.parse(source)):
        changed = _changed_object(node)
        if changed is not None and ast.unparse(changed) not in _SELF:
            yield breach_at(node, "a method instead of setting another object's field")


def _changed_object(node: ast.AST) -> ast.expr | None:
    """The object of which a node sets or deletes a field; None where it does not."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        return node.value
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "delattr"):
        return node.args[0]
    return None
