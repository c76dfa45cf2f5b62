"""What tests start hears nothing of how they were started themselves."""

import os
import subprocess

from tests.commands import CLEARED, ROOT, environment


def test_what_make_hands_down_is_unset(tmp_path, monkeypatch):
    for name in CLEARED:
        monkeypatch.setenv(name, "from outside")
    monkeypatch.setenv("KEPT", "yes")
    variables = environment(tmp_path, EXP="mine", KEPT=None)
    assert set(variables) & CLEARED == {"EXP"}
    assert variables["EXP"] == "mine"
    assert "KEPT" not in variables
    assert variables["PATH"] == os.environ["PATH"]
    assert variables["HEADSTART_CACHE"] == str(tmp_path / "cache")


def test_a_make_inside_a_make_does_not_take_its_args(tmp_path, monkeypatch):
    """As `make test ARGS=...` has it, whose MAKEFLAGS would decide ARGS in every make below."""
    monkeypatch.setenv("MAKEFLAGS", " -- ARGS=of-the-outer-make")
    monkeypatch.setenv("ARGS", "of-the-outer-make")
    shown = subprocess.run(
        ["make", "--dry-run", "test"],
        cwd=ROOT,
        env=environment(tmp_path, ARGS="of-this-one"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "of-this-one" in shown.stdout
    assert "of-the-outer-make" not in shown.stdout
