"""Each rule of style on examples: what it reports, and what it lets be."""

import pytest

from tests.architecture.breach import Breach
from tests.architecture.exemptions import Exemption
from tests.architecture.style import ALL_RULES, size_breaches

LONG = 101

BREACHES = [
    ("long_lines", "# " + "x" * (LONG - 2)),
    ("long_lines", '"""' + "x" * LONG + '"""'),
    ("skipped_formats", "f(\n    1,\n)  # fmt: skip"),
    ("skipped_formats", "x = [\n    f(1),\n]  # fmt: skip"),
    ("skipped_formats", "return_ = x  # fmt: skip"),
    ("empty_names", "own = 1"),
    ("empty_names", "for found in rows: ..."),
    ("empty_names", "def f(asked): ..."),
    ("empty_names", "f = lambda given: 1"),
    ("empty_names", "class A:\n    told: str"),
    ("empty_names", "rows = [what for what in words]"),
    ("empty_names", "if (held := f()): ..."),
    ("empty_names", "with f() as made: ..."),
    ("empty_names", "a, (known, c) = f()"),
    ("empty_names", "try: ...\nexcept E as how: ..."),
    ("empty_names", "match x:\n    case [whole]: ..."),
    ("positional_parameters", "def f(a, b, c, d, e, g): ..."),
    ("positional_parameters", "class A:\n    def f(self, a, b, /, c, d, e, g): ..."),
    ("dense_statements", "x = [a if a else b for a in c]"),
    ("dense_statements", "x = [a for a in b] + [a for a in c]"),
    ("dense_statements", "x = [[a for a in b] for b in c]"),
    ("dense_statements", "f(key=lambda a: a if a else 1)"),
    ("dense_statements", "if (n := f()) > (1 if a else 2): ..."),
    ("dense_statements", "for a in [b for b in c if (d := b)]: ..."),
    ("dense_statements", "with f(x for x in a), f(x for x in b): ..."),
    ("dense_statements", "def f(a=lambda: 1, b=lambda: 2): ..."),
    ("dense_statements", "x = a if b else c if d else e"),
    ("dense_statements", "if a:\n    return_ = [x or y for x in (y for y in z)]"),
    ("paired_displays", "a, b = 1, 2"),
    ("paired_displays", "a, b = f(), []"),
    ("paired_displays", "[a, b] = [1, 2]"),
    ("paired_displays", "a, b, c = b, a, 1"),
    ("parallel_sequences", "for a, b, c in zip(x, y, z, strict=True): ..."),
    ("parallel_sequences", "map(f, a, b, c)"),
    ("boolean_arithmetic", "n = 1 + (a > b)"),
    ("boolean_arithmetic", "n -= a == b"),
    ("boolean_arithmetic", "'s' * (n != 1)"),
    ("boolean_arithmetic", "2 * (not a)"),
    ("boolean_arithmetic", "sum(a > b for a in c)"),
    ("boolean_arithmetic", "('no', 'yes')[a > b]"),
    ("boolean_arithmetic", "{True: 1, False: 2}[not a]"),
    ("hidden_conditions", "dict.fromkeys(a)"),
    ("hidden_conditions", "with contextlib.suppress(OSError): ..."),
    ("hidden_conditions", "with suppress(OSError): ..."),
    ("hidden_conditions", "next(a for a in b)"),
    ("hidden_conditions", "next(iter(a), None)"),
    ("hidden_conditions", "next(filter(f, a))"),
    ("hidden_conditions", "a and f()"),
    ("hidden_conditions", "f() if a else g()"),
    ("hidden_conditions", "[f(a) for a in b]"),
    ("hidden_conditions", "for a in b if c else (): ..."),
    ("conditional_assertions", "def test_a():\n    if a:\n        assert b"),
    ("conditional_assertions", "def test_a():\n    if a: ...\n    else:\n        assert b"),
    (
        "conditional_assertions",
        "def test_a():\n  for b in c:\n    if b:\n      assert d",
    ),
    ("alternative_assertions", "assert a or b"),
    ("alternative_assertions", "assert a is None or a == b, c"),
    ("self_comparisons", "assert a == a"),
    ("self_comparisons", "assert a.b != a.b"),
    ("self_comparisons", "x = a == b == a"),
    ("string_keys", "a['b']"),
    ("string_keys", "a['b'] = 1"),
    ("string_keys", "f(a)['b']['c']"),
    ("string_keys", "a.get('b')"),
    ("string_keys", "a.get('b', {})"),
    ("any_types", "def f(a: Any): ..."),
    ("any_types", "x: dict[str, typing.Any] = {}"),
    ("any_types", "Json = list[Any]"),
    ("bare_mappings", "def f(a: dict): ..."),
    ("bare_mappings", "def f() -> dict[str, Any]: ..."),
    ("bare_mappings", "def f() -> Mapping[str, object] | None: ..."),
    ("bare_mappings", "class A:\n    rows: list[dict]"),
    ("bare_mappings", "def f(*a: typing.Mapping): ..."),
    ("foreign_fields", "a.b = 1"),
    ("foreign_fields", "a.b += 1"),
    ("foreign_fields", "self.a.b = 1"),
    ("foreign_fields", "del a.b"),
    ("foreign_fields", "a.b, c = 1, 2"),
    ("foreign_fields", "for a.b in c: ..."),
    ("foreign_fields", "setattr(a, 'b', 1)"),
]

LET_BE = [
    ("long_lines", "# " + "x" * (LONG - 3)),
    ("skipped_formats", "TABLE = [\n    (1, a.b),\n]  # fmt: skip"),
    ("skipped_formats", "TABLE: dict[str, int] = {\n    'a': 1,\n}  # fmt: skip"),
    ("skipped_formats", "x = '# fmt: skip'"),
    ("empty_names", "f(found=1)\nx.told\nfound_runs = 1\nknown()"),
    ("positional_parameters", "class A:\n    def f(self, a, b, c, d, e, *, g): ..."),
    ("dense_statements", "x = [a for a in b for c in d]"),
    ("dense_statements", "for a in (b for b in c):\n    x = 1 if a else 2"),
    ("dense_statements", "if any(a for a in b):\n    x = [a for a in b]\nelse:\n    f(lambda: 1)"),
    ("dense_statements", "class A:\n    a = [b for b in c]\n    d = [b for b in c]"),
    ("dense_statements", "try:\n    x = 1 if a else 2\nexcept E:\n    x = 1 if b else 2"),
    ("paired_displays", "a, b = b, a"),
    ("paired_displays", "a[i], a[j] = a[j], a[i]"),
    ("paired_displays", "low, high = interval()"),
    ("paired_displays", "pair = 1, 2"),
    ("parallel_sequences", "zip(a, b, strict=True)\nzip(*rows)\nmap(f, a, b)"),
    ("boolean_arithmetic", "(a == b).sum()\n1 + n\nsum(a for a in b)\na[b > c]\nd & (a > b)"),
    ("hidden_conditions", "next(lines)\nnext(iter(a))\nx = a and b\nf(a for a in b)"),
    ("hidden_conditions", "try: ...\nexcept OSError: ..."),
    ("conditional_assertions", "def test_a():\n    if a:\n        b = 1\n    assert b"),
    ("conditional_assertions", "def check(a):\n    if a:\n        assert b"),
    ("alternative_assertions", "assert a and b\nassert (a or b) == c\nassert not (a or b)"),
    ("self_comparisons", "assert a == b == c\nassert f() == f()\nassert a.b == b.a"),
    ("string_keys", "a[0]\na[b]\na.get(b)\nos.environ['B']\nos.environ.get('B')"),
    ("string_keys", "x: Literal['a']\ndef f(a: list['B']) -> Type['C']: ..."),
    ("string_keys", "Kind = Literal['a']\nKinds = typing.Literal['a']"),
    ("any_types", "from typing import Any\ncompany = any(a)"),
    ("bare_mappings", "def f(a: dict[str, int], b: Mapping[str, list[int]]) -> JsonObject: ..."),
    ("bare_mappings", "def f(a):\n    rows = dict(a)\n    return Mapping"),
    ("foreign_fields", "self.a = 1\ncls.a = 1\na = b.c\na[0] = 1\nsetattr(self, 'a', 1)"),
]


@pytest.mark.parametrize(("rule", "source"), BREACHES)
def test_a_breach_is_reported(rule: str, source: str):
    assert list(ALL_RULES[rule](source))


@pytest.mark.parametrize(("rule", "source"), LET_BE)
def test_good_style_is_let_be(rule: str, source: str):
    assert list(ALL_RULES[rule](source)) == []


@pytest.mark.parametrize("rule", ALL_RULES)
def test_every_rule_has_examples_of_both(rule: str):
    assert rule in {name for name, _ in BREACHES}
    assert rule in {name for name, _ in LET_BE}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("bench/long.py", '"""Long."""\n' + "x = 1\n" * 350),
        ("tests/unit/test_long.py", '"""Long."""\n' + "x = 1\n" * 400),
        ("bench/bare.py", "x = 1\n"),
        ("bench/__init__.py", ""),
        ("bench/wordy.py", '"""One.\n2\n3\n4\n5\n6\n"""\n'),
        ("bench/deep.py", '"""D."""\nclass A:\n    async def f(self):\n' + "        x = 1\n" * 60),
        ("kernels/pad/kernel.py", '"""Deep."""\ndef f():\n' + "    x = 1\n" * 120),
    ],
)
def test_a_file_over_a_limit_is_reported(path: str, source: str):
    assert size_breaches(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("bench/full.py", '"""Full."""\n' + "x = 1\n" * 349),
        ("bench/wordy.py", '"""One.\n2\n3\n4\n5\n"""\n'),
        ("bench/deep.py", '"""Deep."""\ndef f():\n' + "    x = 1\n" * 59),
        ("kernels/pad/kernel.py", '"""Deep."""\ndef f():\n' + "    x = 1\n" * 119),
    ],
)
def test_a_file_at_a_limit_is_let_be(path: str, source: str):
    assert size_breaches(path, source) == []


def test_an_exemption_is_for_one_rule_one_place_and_one_thing():
    exemption = Exemption("string_keys", "bench/a/*", "counters*", "another library's")
    counters = Breach(1, "counters['a']", "")
    assert exemption.covers("string_keys", "bench/a/b.py", counters)
    assert not exemption.covers("any_types", "bench/a/b.py", counters)
    assert not exemption.covers("string_keys", "bench/b.py", counters)
    assert not exemption.covers("string_keys", "bench/a/b.py", Breach(1, "record", ""))
