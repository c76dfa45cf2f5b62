"""A failing tracker is told once and switched off; the run goes on."""

import pytest

from bench.trackers import Guarded
from tests.unit.results_factory import make_look, make_result, make_run_start


class Recording:
    """A tracker that writes down its calls and raises in one of them."""

    def __init__(self, raises_in: str = "", error: BaseException | None = None) -> None:
        self.calls: list[str] = []
        self._raises_in = raises_in
        self._error = error or RuntimeError("no\n space")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self._raises_in:
            raise self._error

    def start(self, event) -> None:
        self._called("start")

    def event(self, event) -> None:
        self._called("event")

    def finish(self, result) -> None:
        self._called("finish")

    def close(self) -> None:
        self._called("close")


def use(guarded: Guarded) -> None:
    """A whole run through the protocol."""
    guarded.start(make_run_start())
    guarded.event(make_look(1, 0.5))
    guarded.finish(make_result([0.5]))
    guarded.close()


def test_a_sound_tracker_hears_everything_once(capsys):
    tracker = Recording()
    use(Guarded({"fake": tracker}))
    assert tracker.calls == ["start", "event", "finish", "close"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("raises_in", ["start", "event", "finish", "close"])
def test_a_failing_tracker_is_told_once_closed_and_never_called_again(raises_in, capsys):
    tracker = Recording(raises_in)
    guarded = Guarded({"fake": tracker})
    use(guarded)
    use(guarded)
    order = ["start", "event", "finish", "close"]
    assert tracker.calls == [*order[: order.index(raises_in) + 1], "close"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "tracker fake is off for the rest of this process: RuntimeError: no\n"


def test_a_failing_tracker_leaves_the_others_alone(capsys):
    sound = Recording()
    use(Guarded({"fake": Recording("start"), "sound": sound}))
    assert sound.calls == ["start", "event", "finish", "close"]
    assert capsys.readouterr().err.startswith("tracker fake is off")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_what_ends_the_process_passes_through(error):
    with pytest.raises(type(error)):
        use(Guarded({"fake": Recording("event", error)}))


def test_a_stderr_that_is_gone_does_not_matter(monkeypatch):
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    failing = Recording("event")
    sound = Recording()
    use(Guarded({"fake": failing, "sound": sound}))
    assert failing.calls == ["start", "event", "close"]
    assert sound.calls == ["start", "event", "finish", "close"]
