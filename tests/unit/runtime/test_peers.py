"""A rank that died is named, with its signal as long as nobody has reaped it."""

import signal
import subprocess
import sys

import pytest

from bench.runtime import peers
from bench.runtime.peers import Peer, lost_peers, this_peer


def start(code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code])


def peer_of(process: subprocess.Popen, **changes) -> Peer:
    facts = {"rank": 1, "host": this_peer(0).host, "pid": process.pid}
    return Peer(**{**facts, **changes})


@pytest.fixture
def sleeper():
    process = start("import time; time.sleep(60)")
    yield process
    process.kill()
    process.wait()


def test_a_killed_rank_is_named_with_its_signal(sleeper):
    sleeper.send_signal(signal.SIGKILL)
    assert lost_peers([this_peer(0), peer_of(sleeper)], 0) == ["rank 1 was killed by SIGKILL"]


def test_a_rank_that_ended_is_named_with_its_exit_code():
    process = start("raise SystemExit(3)")
    phrases = lost_peers([peer_of(process)], 0)
    process.wait()
    assert phrases == ["rank 1 ended with exit code 3"]


def test_of_one_that_was_reaped_only_that_is_known():
    process = start("")
    process.wait()
    assert lost_peers([peer_of(process)], 0) == ["rank 1 is gone"]


def test_living_ranks_this_one_and_those_of_other_hosts_are_not_lost(sleeper, monkeypatch):
    monkeypatch.setattr(peers, "NOTICE_S", 0.1)
    reaped = start("")
    reaped.wait()
    ranks = [peer_of(sleeper), peer_of(reaped, host="node-7", rank=2), peer_of(reaped, rank=0)]
    assert lost_peers(ranks, 0) == []
