"""A cache and a table of known digests that belong to one test, and a deadline for it."""

import signal

import pytest

from bench.data import cifar10_layouts


@pytest.fixture
def cifar10_cache(tmp_path, monkeypatch):
    """Nothing of CIFAR-10 is cached or named by the environment; published digests may be added."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10_layouts, "KNOWN_MD5", dict(cifar10_layouts.KNOWN_MD5))
    monkeypatch.delenv("CIFAR10_DIR", raising=False)


@pytest.fixture
def deadline():
    """A test that hangs fails after a minute, with an error that no `except OSError` takes."""

    def fail(signal_number, frame):
        pytest.fail("hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
