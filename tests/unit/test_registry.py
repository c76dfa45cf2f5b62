"""Names to things: every entry exists, wrong names are refused, third parties add theirs."""

import copy
import sys
import textwrap
from pathlib import Path

import pytest

from bench import registry
from bench.config.load import load

ROOT = Path(__file__).parents[2]
EMBEDDED = ROOT / "configs/experiments/embedded.yaml"
KINDS = ("loader", "network", "optimizer", "schedule", "source", "tracker")
ENTRIES = [(kind, name) for kind in KINDS for name in registry.names(kind)]


@pytest.fixture(autouse=True)
def table(monkeypatch):
    """A copy of the table for each test, and no module of a third party left over."""
    monkeypatch.setattr(registry, "_ENTRIES", copy.deepcopy(registry._ENTRIES))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("third_party"):
            del sys.modules[name]


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """Writes an importable module."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str, name: str = "third_party") -> str:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        return name

    return write


def test_the_plug_in_points_are_six():
    with pytest.raises(ValueError, match=rf"'none'; allowed: {', '.join(KINDS)}$"):
        registry.register("none", "mine", "third_party:Mine")


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_can_be_called(kind, name):
    assert callable(registry.resolve(kind, name))


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_passes_its_check(kind, name):
    registry.check(kind, name, "the.key")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_lists_what_exists(kind):
    names = registry.names(kind)
    allowed = f"allowed: {', '.join(names)}"
    message = rf"^data\.x: no {kind} '{names[0]}_'; {allowed}; did you mean '{names[0]}'\?$"
    with pytest.raises(ValueError, match=message):
        registry.check(kind, f"{names[0]}_", "data.x")
    with pytest.raises(ValueError, match=rf"^{kind}: no {kind} 'quux'; {allowed}"):
        registry.resolve(kind, "quux")


def test_nothing_near_is_no_hint():
    assert registry.nearest("zzz", ["beta", "alpha"]) == "allowed: alpha, beta"
    assert (
        registry.nearest("beto", ["beta", "alpha"]) == "allowed: alpha, beta; did you mean 'beta'?"
    )


def test_an_unknown_plug_in_point_is_refused():
    with pytest.raises(ValueError, match=r"no plug-in point 'lodaer'; .*did you mean 'loader'\?"):
        registry.register("lodaer", "mine", "third_party:Mine")


def test_a_name_is_registered_once_with_one_meaning():
    registry.register("loader", "mine", "third_party:Mine")
    registry.register("loader", "mine", "third_party:Mine")
    assert "mine" in registry.names("loader")
    with pytest.raises(ValueError, match="loader 'mine' is already registered as third_party:Mine"):
        registry.register("loader", "mine", "third_party:Other")
    with pytest.raises(
        ValueError, match=r"loader 'dali' is already registered as bench\.data\.dali:DaliLoader"
    ):
        registry.register("loader", "dali", "third_party:Mine")
    registry.register("loader", "mine", "third_party:Mine")  # it still means what it did


def test_a_name_belongs_to_one_plug_in_point():
    registry.register("optimizer", "mine", "third_party:mine")
    assert "mine" not in registry.names("schedule")


def test_a_registered_thing_is_imported_when_it_is_asked_for(third_party):
    third_party("raise SystemExit('imported too soon')", "third_party_early")
    registry.register("optimizer", "early", "third_party_early:thing")
    registry.check("optimizer", "early", "optim.name")
    third_party("def thing():\n    return 42\n", "third_party_late")
    registry.register("optimizer", "late", "third_party_late:thing")
    assert registry.resolve("optimizer", "late")() == 42


def test_a_config_imports_modules_before_its_names_are_checked(third_party):
    module = third_party("""
        from bench import registry

        for kind in ("source", "loader", "optimizer", "schedule", "tracker"):
            registry.register(kind, "mine", "third_party:thing")

        def thing():
            return 42
    """)
    overrides = [
        "--data.source=mine",
        "--data.loader=mine",
        "--optim.name=mine",
        "--schedule.name=mine",
        "--trackers=[mine]",
    ]
    with pytest.raises(ValueError, match="no tracker 'mine'"):
        load(EMBEDDED, overrides)
    config = load(EMBEDDED, [*overrides, f"--imports=[{module}]"])
    assert registry.resolve("loader", config.data.loader)() == 42


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def (", "SyntaxError: invalid syntax"),
        ("import third_party_absent", "ModuleNotFoundError: No module named 'third_party_absent'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        (
            "from bench import registry\nregistry.register('loader', 'dali', 'x:y')",
            "ValueError: loader 'dali' is already",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(third_party, source, said):
    module = third_party(source)
    with pytest.raises(ValueError, match=rf"^imports: cannot import '{module}': {said}") as caught:
        load(EMBEDDED, [f"--imports=[{module}]"])
    assert "\n" not in str(caught.value)
