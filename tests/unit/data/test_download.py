"""A download ends in the whole file or in a sentence.

Whatever the servers do, and wherever it is cut.
"""

import fcntl
import hashlib
import multiprocessing
import os
import re
import signal
import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data import download
from bench.data.download import RemoteFile, answering, fetch
from tests.unit.data.file_server import FileServer

CONTENT = hashlib.shake_256(b"content").digest(300_000)
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
FILE = RemoteFile(name="file.tar.gz", size_bytes=len(CONTENT), md5=hashlib.md5(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No proxy, and little patience."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "SILENCE_S", 0.3)
    monkeypatch.setattr(download, "PROGRESS_S", 0.2)


@pytest.fixture
def server():
    with FileServer() as running:
        yield running


@pytest.fixture
def part(tmp_path):
    """A function that leaves the first bytes of an earlier attempt."""
    return (tmp_path / "file.tar.gz.part").write_bytes


def get(tmp_path, *urls):
    """Fetch, and check that what lies there is the file and nothing but the file."""
    path = fetch(FILE, urls, tmp_path)
    assert path == tmp_path / "file.tar.gz"
    assert path.read_bytes() == CONTENT
    assert {entry.name for entry in tmp_path.iterdir()} == {"file.tar.gz", "file.tar.gz.lock"}


def fails(tmp_path, *urls) -> str:
    """Fetch in vain: the sentence. Nothing has the file's name."""
    with pytest.raises(ValueError, match="could not be fetched") as caught:
        fetch(FILE, urls, tmp_path)
    assert not (tmp_path / "file.tar.gz").exists()
    return str(caught.value)


def refused_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file.tar.gz"


def ranges(server) -> list[str | None]:
    return [request.range for request in server.requests]


def no_locks(*_) -> None:
    raise OSError(38, "Function not implemented")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_plain_download_and_none_when_the_file_is_there(tmp_path, server, chunked):
    url = server.add(CONTENT, chunked=chunked)
    get(tmp_path / "new" / "folder", url)
    get(tmp_path / "new" / "folder", url)
    assert ranges(server) == [None]
    assert fetch(FILE, [], tmp_path / "new" / "folder").is_file()


def test_what_is_there_is_read_without_a_lock(tmp_path, monkeypatch):
    (tmp_path / "file.tar.gz").write_bytes(CONTENT)
    monkeypatch.setattr("bench.data.download.locked", None)  # as in a folder that can only be read
    assert fetch(FILE, [], tmp_path).read_bytes() == CONTENT


def test_a_redirect_is_followed_with_its_range(tmp_path, server, part):
    part(CONTENT[:1000])
    get(tmp_path, server.add(location=server.add(CONTENT)))
    assert ranges(server) == ["bytes=1000-"] * 2


def test_a_proxy_of_the_environment_is_used(tmp_path, server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    get(tmp_path, server.add(CONTENT).replace(server.url, "http://mirror.invalid"))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "damaged", [b"", CONTENT[:-1], OTHER], ids=["empty", "a byte short", "another byte"]
)
def test_a_damaged_file_is_fetched_again(tmp_path, server, damaged):
    (tmp_path / "file.tar.gz").write_bytes(damaged)
    get(tmp_path, server.add(CONTENT))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_cut_transfer_is_gone_on_with(tmp_path, server, capsys, chunked):
    url = server.add(CONTENT, cuts=[100_000], chunked=chunked)
    assert url in fails(tmp_path, url)
    assert (tmp_path / "file.tar.gz.part").stat().st_size == 100_000
    get(tmp_path, url)
    assert ranges(server) == [None, "bytes=100000-"]
    assert sum(server.requests[1].sent) == len(CONTENT) - 100_000
    assert capsys.readouterr().err.endswith(f"from {url}, 0.1 of 0.3 MB are here\n")


def test_another_mirror_goes_on(tmp_path, server):
    cut = server.add(CONTENT, cuts=[100_000])
    hanging = server.add(CONTENT, hang_after=50_000)
    get(tmp_path, cut, hanging, server.add(CONTENT))
    assert ranges(server) == [None, "bytes=100000-", "bytes=150000-"]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, len(CONTENT)), st.booleans()), max_size=5),
    st.booleans(),
)
def test_wherever_it_is_cut_the_result_is_the_file(tmp_path_factory, server, cuts, last_has_ranges):
    """Every other url is tried alone, then the others together with one that is sound."""
    folder = tmp_path_factory.mktemp("cut")
    urls = [server.add(CONTENT, cuts=[cut], ranges=ranges) for cut, ranges in cuts]
    for url in urls[::2]:
        try:
            fetch(FILE, [url], folder)
        except ValueError:
            pass  # unless the cut is at the end
    get(folder, *urls[1::2], server.add(CONTENT, ranges=last_has_ranges))


def fetch_one(url, folder):
    fetch(FILE, [url], folder)


def test_a_killed_process_is_gone_on_with(tmp_path, server):
    url = server.add(CONTENT, drip=(20_000, 0.05))
    part = tmp_path / "file.tar.gz.part"
    child = multiprocessing.get_context("spawn").Process(target=fetch_one, args=(url, tmp_path))
    child.start()
    for _ in range(3000):
        if part.exists() and part.stat().st_size >= 40_000:
            break
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join(timeout=30)
    part_bytes = part.stat().st_size
    assert 40_000 <= part_bytes < len(CONTENT)
    assert not (tmp_path / "file.tar.gz").exists()
    get(tmp_path, url)
    assert ranges(server) == [None, f"bytes={part_bytes}-"]


def test_of_processes_that_start_together_one_downloads(tmp_path, server):
    url = server.add(CONTENT, drip=(30_000, 0.1))
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=fetch_one, args=(url, tmp_path)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=60)
        assert child.exitcode == 0
    get(tmp_path)
    assert len(server.requests) == 1


def test_without_locks_each_writes_a_part_for_itself(tmp_path, server, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    urls = [server.add(CONTENT, drip=(60_000, 0.02)) for _ in range(2)]
    threads = [threading.Thread(target=fetch_one, args=(url, tmp_path)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    get(tmp_path)
    assert len(server.requests) == 2


def test_without_locks_a_part_is_not_kept(tmp_path, server, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", no_locks)
    fails(tmp_path, server.add(CONTENT, cuts=[1000]))
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.tar.gz.lock"]


@pytest.mark.parametrize(
    ("begun", "behaviour", "requested_ranges"),
    [
        pytest.param(CONTENT[:1000], {"ranges": False}, ["bytes=1000-"], id="no ranges"),
        pytest.param(b"x" * 1000, {}, ["bytes=1000-", None], id="wrong bytes"),
        pytest.param(CONTENT + b"x", {}, [None], id="a byte too many"),
        pytest.param(OTHER, {}, [None], id="another file of the size"),
        pytest.param(CONTENT, {}, [], id="the whole file"),
    ],
)
def test_what_earlier_bytes_lead_to(tmp_path, server, part, begun, behaviour, requested_ranges):
    part(begun)
    get(tmp_path, server.add(CONTENT, **behaviour))
    assert ranges(server) == requested_ranges


@pytest.mark.parametrize(
    "span", ["bytes 0-299999/300000", "bytes 999-299999/300000", "bytes 1000-299999/*", "nonsense"]
)
def test_another_range_than_requested_gives_way_to_the_next(tmp_path, server, part, span):
    part(CONTENT[:1000])
    other = server.add(CONTENT, content_range=span)
    sentence = fails(tmp_path, other)
    assert re.search("HTTP 206, .* not the file's 300000 from byte 1000 on", sentence)
    get(tmp_path, other, server.add(CONTENT))
    assert ranges(server) == ["bytes=1000-"] * 3


def test_a_refused_range_is_of_a_shorter_file(tmp_path, server, part):
    part(CONTENT[:-1])
    assert "HTTP 416" in fails(tmp_path, server.add(CONTENT[:-1]))
    # Another mirror may need the last byte only.
    assert (tmp_path / "file.tar.gz.part").read_bytes() == CONTENT[:-1]


WRONG_SIZES = {"a byte short": CONTENT[:-1], "a byte too many": CONTENT + b"x"}


@pytest.mark.parametrize("wrong", WRONG_SIZES.values(), ids=WRONG_SIZES)
@pytest.mark.parametrize("with_ranges", [True, False])
def test_a_file_of_another_size_is_not_read(tmp_path, server, part, wrong, with_ranges):
    part(b"")
    url = server.add(wrong, hang_after=0, ranges=with_ranges)
    message = f"HTTP 200, {len(wrong)} bytes, not the file's {len(CONTENT)} from byte 0 on"
    assert message in fails(tmp_path, url)


@pytest.mark.parametrize("wrong", WRONG_SIZES.values(), ids=WRONG_SIZES)
def test_the_rest_of_a_file_of_another_size_is_not_read(tmp_path, server, part, wrong):
    part(CONTENT[:1000])
    url = server.add(wrong, hang_after=0)
    rest = len(wrong) - 1000
    message = f"HTTP 206, {rest} bytes, not the file's {len(CONTENT)} from byte 1000 on"
    assert message in fails(tmp_path, url)
    # Another mirror goes on with it.
    assert (tmp_path / "file.tar.gz.part").read_bytes() == CONTENT[:1000]


@pytest.mark.parametrize("wrong", WRONG_SIZES.values(), ids=WRONG_SIZES)
def test_a_file_of_another_size_in_place_of_a_rest_is_not_read(tmp_path, server, part, wrong):
    part(CONTENT[:1000])
    url = server.add(wrong, hang_after=0, ranges=False)
    message = f"HTTP 200, {len(wrong)} bytes, not the file's {len(CONTENT)} from byte 1000 on"
    assert message in fails(tmp_path, url)
    assert (tmp_path / "file.tar.gz.part").read_bytes() == CONTENT[:1000]


def test_wrong_bytes_give_way_to_the_next(tmp_path, server, capsys):
    wrong = server.add(OTHER)
    assert "another size or md5" in fails(tmp_path, wrong)
    assert not (tmp_path / "file.tar.gz.part").exists()
    get(tmp_path, wrong, server.add(CONTENT))
    assert ranges(server) == [None] * 3
    assert "another size or md5" in capsys.readouterr().err


@pytest.mark.parametrize("chunked", [False, True])
def test_an_endless_body_is_stopped(tmp_path, server, chunked):
    url = server.add(CONTENT[:100_000], endless=True, chunked=chunked)
    assert "another size or md5" in fails(tmp_path, url)
    assert not (tmp_path / "file.tar.gz.part").exists()


def test_failing_sources_give_way_and_all_are_named(tmp_path, server, capsys):
    reasons = {
        server.add(status=404): "HTTP 404",
        server.add(status=500): "HTTP 500",
        server.add(status=204): "HTTP 204",
        refused_url(): "Connection refused",
        server.add(hang_after=-1): "silent",
        server.add(CONTENT, hang_after=1000): "silent",
        server.add(location="file:///etc/hostname"): "HTTP 302",
        "ftp://127.0.0.1/x": "neither http nor https",
        "file:///etc/hostname": "neither http nor https",
        "http://[": "no valid url",
        "http://127.0.0.1:port/": "no valid url",
    }
    sentence = fails(tmp_path, *reasons)
    progress = capsys.readouterr().err
    assert sentence.startswith("file.tar.gz could not be fetched: ")
    assert "\n" not in sentence
    for url, reason in reasons.items():
        in_sentence = sentence.split(f"{url}: ")[1].split(";")[0]
        assert reason in in_sentence
        in_progress = progress.split(f" from {url},")[1].split("given up: ")[1].split("\n")[0]
        assert reason in in_progress
        assert server.request_count(url) == (1 if url.startswith(server.url) else 0)
    get(tmp_path, *reasons, server.add(CONTENT))


def test_no_url_at_all(tmp_path):
    assert "no url is given" in fails(tmp_path)


def test_a_slow_source_is_waited_for_and_tells_how_far_it_is(tmp_path, server, capsys):
    slow = server.add(CONTENT, drip=(20_000, 0.06))
    get(tmp_path, slow, server.add(CONTENT))
    assert ranges(server) == [None]
    assert re.search(r"^  0\.[0-3] of 0\.3 MB$", capsys.readouterr().err, re.MULTILINE)


def test_the_first_server_that_answers(server):
    """No body is waited for, and a query is not shown."""
    hanging = server.add(hang_after=-1)
    missing = server.add(status=404)
    there = server.add(CONTENT, hang_after=10)
    with_login = there.replace("//", "//me:secret@")
    assert answering(["ftp://x/y", refused_url(), hanging, missing, there, missing], 0.2) == there
    assert answering([with_login, there + "?token=secret"]) == there
    assert answering([missing, hanging], 0.2) is None
    assert answering([]) is None


def test_a_login_is_refused_and_no_secret_is_ever_shown(tmp_path, server, capsys):
    with_login = "neither http nor https, or with a login"
    reasons = {
        server.add(CONTENT).replace("//", "//us%40er:password@"): with_login,
        server.add(CONTENT).replace("//", "//us%40er:pass@w/o?rd@"): with_login,
        "http://user:pass/word@host/": "no valid url or answer",
        server.add(location="http://a:password@b/"): "no valid url or answer",
        server.add(status=404) + "?token=password": "HTTP 404",
        refused_url() + "?token=password": "Connection refused",
    }
    sentence = fails(tmp_path, *reasons)
    shown_reasons = []
    for part in sentence.split("; "):
        reason_and_url = part.rpartition(": ")[2]
        shown_reasons.append(reason_and_url.split(" (")[0])
    assert shown_reasons == list(reasons.values())
    shown = sentence + capsys.readouterr().err
    for secret in ("password", "pass", "word", "rd@"):
        assert secret not in shown


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_is_said_first(tmp_path, server, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=f"{tmp_path / place}.*cannot keep file.tar.gz there"):
        fetch(FILE, [server.add(CONTENT)], tmp_path / place)
    assert server.requests == []


def test_a_full_disk_is_said(tmp_path, server):
    os.symlink("/dev/full", tmp_path / "file.tar.gz.part")
    assert "No space left on device" in fails(tmp_path, server.add(CONTENT))
