"""What a launcher says through the environment is input too."""

import pytest

from bench.runtime.launched import launched_processes


@pytest.mark.parametrize(("text", "processes"), [("1", 1), ("8", 8)])
def test_processes_are_as_many_as_the_launcher_says(monkeypatch, text, processes):
    monkeypatch.setenv("WORLD_SIZE", text)
    assert launched_processes() == processes


def test_without_a_launcher_there_is_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert launched_processes() == 1


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1.5"])
def test_another_text_is_refused(monkeypatch, text):
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(ValueError, match=f"WORLD_SIZE='{text}'.*1 or more"):
        launched_processes()
