"""Weights from the hub: one local copy of a tag's file, whatever the network does.

For what is known of a tag before that, see test_hub_tags.py.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save

from bench.models.hub import hub_weights
from bench.models.networks import build
from tests.commands import ROOT, environment
from tests.hub_server import FAULTS, HubServer
from tests.unit.models.factory import model_config, weights_config

# Fetches timm/<argument> for every argument. Prints what came of each, and which addresses were
# connected to.
FETCH = """
import json, sys
contacted = set()
def watch(event, arguments):
    if event == "socket.connect":
        contacted.add(str(arguments[1]))
sys.addaudithook(watch)
from bench.models.hub import HubWeights, available, fetch
fetches = {}
for name in sys.argv[1:]:
    repository = f"timm/{name}"
    weights = HubWeights(name, "", repository, file="model.safetensors", license="mit")
    where = available(weights)
    try:
        outcome = str(fetch(weights))
    except ValueError as error:
        outcome = f"refused: {error}"
    fetches[name] = {"where": where, "outcome": outcome}
print(json.dumps({"fetches": fetches, "contacted": sorted(contacted)}))
"""
# Starts networks as a run does: one JSON [model, weights] an argument, of the configs' fields.
START = """
import json, sys
from bench.config.schema import ModelConfig, WeightsConfig
from bench.ledger.json_records import to_json
from bench.models.networks import build
from bench.models.weights import initial_weights
for argument in sys.argv[1:]:
    model, weights = json.loads(argument)
    network = build(model["name"], 10)
    try:
        start = initial_weights(ModelConfig(**model), WeightsConfig(**weights), network)
        print(json.dumps(to_json(start.facts)))
    except ValueError as error:
        print(json.dumps(str(error)))
"""
CONTENT = b"weights" * 1000


class Fetch(NamedTuple):
    """Where a file was said to be before it was fetched, and its path or the refusal."""

    where: str | None
    outcome: str


class Fetched(NamedTuple):
    """What a process fetched, which addresses it connected to, and what it printed on stderr."""

    fetches: dict[str, Fetch]
    contacted: list[str]
    stderr: str


def begin(code: str, env: dict[str, str], *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(child: subprocess.Popen) -> Fetched:
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    printed = json.loads(out)
    fetches = {name: Fetch(**fields) for name, fields in printed["fetches"].items()}
    return Fetched(fetches, printed["contacted"], err)


def fetch_from(hub: HubServer, home: Path, *names: str, **changes: str) -> Fetched:
    return end(begin(FETCH, environment(home, **{**hub.settings(home), **changes}), *names))


def fetch_some(hub: HubServer, home: Path) -> Fetch:
    return fetch_from(hub, home, "some").fetches["some"]


# The repository with each fault.
NAMES = {fault: fault.replace(" ", "_") for fault in FAULTS}


class Faulty(NamedTuple):
    """What came of repositories with a fault each, and of some of them when they were sound again.

    By the repository's name, but for `requests`, which are of HEAD and of GET by fault.
    """

    outcomes: dict[str, str]
    requests: dict[str, tuple[int, int]]
    contacted: set[str]
    address: str
    files: dict[str, bytes]
    outcomes_when_sound: dict[str, str]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Faulty:
    """The slow faults have a process of their own."""
    home = tmp_path_factory.mktemp("faulty")
    files = {name: os.urandom(10_000) for name in NAMES.values()}
    contents = {f"timm/{name}": content for name, content in files.items()}
    faults = {f"timm/{name}": fault for fault, name in NAMES.items()}
    quick = [name for name in NAMES.values() if name not in ("stall", "cut")]
    with HubServer(contents, faults) as hub:
        patience = {"HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        env = environment(home, **{**hub.settings(home), **patience})
        children = [begin(FETCH, env, *names) for names in (["stall"], ["cut"], quick)]
        outcomes = {}
        contacted = set()
        for child in children:
            fetched = end(child)
            contacted |= set(fetched.contacted)
            outcomes |= {name: fetch.outcome for name, fetch in fetched.fetches.items()}
        requests = {}
        for fault, name in NAMES.items():
            heads = hub.request_count("HEAD", f"timm/{name}")
            requests[fault] = (heads, hub.request_count("GET", f"timm/{name}"))
        hub.faults.clear()
        again = fetch_from(hub, home, "stall", "cut", "hang", "error").fetches
        address = ("127.0.0.1", int(hub.url.rpartition(":")[2]))
    return Faulty(
        outcomes=outcomes,
        requests=requests,
        contacted=contacted,
        address=str(address),
        files=files,
        outcomes_when_sound={name: fetch.outcome for name, fetch in again.items()},
    )


CAUSES = {
    "no file": "the answer is 404, Entry not found",
    "no repository": "the answer is 404, Repository not found",
    "gated": "the answer is 401, Access to this model is restricted "
    "(a gated or private one needs HF_TOKEN)",
    "error": "the answer is 500, Internal error",
    "hang": "ReadTimeout",
    "stall": "ReadTimeout",
    "short": "OSError: Consistency check failed: file should be of size 10000 but has size 5000",
    "cut": "peer closed connection without sending complete message body",
}
WAYS_OUT = (
    "random weights are never put in its place",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE=1",
    "weights.file",
)


@pytest.mark.parametrize("fault", CAUSES)
def test_a_hub_that_fails_gives_one_sentence_with_the_ways_out(faulty, fault):
    name = NAMES[fault]
    sentence = faulty.outcomes[name]
    beginning = f"refused: weights.source: {name} cannot be had from http://127.0.0.1:"
    assert sentence.startswith(beginning)
    assert f"/timm/{name}: " in sentence
    assert CAUSES[fault] in sentence
    assert all(way in sentence for way in WAYS_OUT)
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("fault", "most_heads", "most_gets"),
    [
        ("no file", 2, 0),
        ("no repository", 2, 0),
        ("gated", 2, 0),
        ("error", 2, 0),
        ("hang", 2, 0),
        ("short", 3, 1),
        ("stall", 3, 6),
        ("cut", 3, 6),
    ],
)
def test_a_hub_that_fails_is_given_up_on(faulty, fault, most_heads, most_gets):
    """Each answer is waited for a second, so that few requests are few seconds.

    HEAD is sent once to say where the file is and once to fetch it; the client sends another, and
    tries a broken download five times again.
    """
    heads, gets = faulty.requests[fault]
    assert 1 <= heads <= most_heads
    assert gets <= most_gets


def test_other_bytes_than_the_hub_named_are_refused_though_the_client_takes_them(faulty):
    assert "damaged" in faulty.outcomes["other_bytes"]
    assert "delete it and start again" in faulty.outcomes["other_bytes"]


def test_only_the_endpoint_is_contacted(faulty):
    assert faulty.contacted == {faulty.address}


@pytest.mark.parametrize("name", ["stall", "cut", "hang", "error"])
def test_the_start_after_a_fault_has_the_whole_file(faulty, name):
    assert Path(faulty.outcomes_when_sound[name]).read_bytes() == faulty.files[name]


def test_a_file_is_downloaded_once(tmp_path):
    with HubServer({"timm/some": CONTENT}) as hub:
        first = fetch_some(hub, tmp_path)
        assert first.where == f"to be fetched from {hub.url}"
        assert Path(first.outcome).read_bytes() == CONTENT
        assert fetch_some(hub, tmp_path).outcome == first.outcome
        assert hub.request_count("GET", "timm/some") == 1


def test_a_file_is_reused_without_the_hub(tmp_path):
    with HubServer({"timm/some": CONTENT}) as hub:
        path = fetch_some(hub, tmp_path).outcome
    cache = str(tmp_path / "hub")
    down = fetch_from(hub, tmp_path, "some", "other")
    assert down.fetches["some"] == Fetch(where=cache, outcome=path)
    assert "weights: some from the cache, perhaps not the newest: ConnectError" in down.stderr
    assert down.fetches["other"].where is None
    assert "other cannot be had" in down.fetches["other"].outcome
    offline = fetch_from(hub, tmp_path, "some", "other", HF_HUB_OFFLINE="1")
    assert offline.fetches["some"] == Fetch(where=cache, outcome=path)
    assert offline.stderr == ""  # what was asked for is no news
    assert offline.contacted == []
    assert offline.fetches["other"].where is None
    assert "HF_HUB_OFFLINE is set, and" in offline.fetches["other"].outcome


def test_a_damaged_copy_is_named_and_comes_anew_when_it_is_deleted(tmp_path):
    with HubServer({"timm/some": CONTENT}) as hub:
        path = Path(fetch_some(hub, tmp_path).outcome)
        path.write_bytes(b"weight!" * 1000)
        assert f"'{path.resolve()}' is damaged" in fetch_some(hub, tmp_path).outcome
        path.resolve().unlink()
        assert Path(fetch_some(hub, tmp_path).outcome).read_bytes() == CONTENT


def start_case(network: str, sha256: str | None = None) -> str:
    """An argument of START."""
    return json.dumps([vars(model_config(network)), vars(weights_config("hub", sha256=sha256))])


def test_a_network_starts_from_the_hub_and_records_it(tmp_path):
    torch.manual_seed(0)
    content = save(build("test_resnet", 1000).state_dict())
    sha256 = hashlib.sha256(content).hexdigest()
    tag = hub_weights("test_resnet", weights_config("hub")).tag
    cases = [
        start_case("test_resnet"),
        start_case("test_resnet", sha256),
        start_case("test_resnet", "0" * 64),
        start_case("resnet18"),
    ]
    with HubServer({f"timm/test_resnet.{tag}": content}) as hub:
        env = environment(tmp_path, **hub.settings(tmp_path))
        child = begin(START, env, *cases)
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        assert hub.request_count("GET", f"timm/test_resnet.{tag}") == 1
    default, same, other, missing = (json.loads(line) for line in out.splitlines())
    default["skipped"].sort()
    same["skipped"].sort()
    assert default == same
    assert default == {
        "source": "hub",
        "tag": tag,
        "license": "apache-2.0",
        "sha256": sha256,
        "loaded": len(build("test_resnet", 10).state_dict()) - 2,
        "skipped": ["fc.bias", "fc.weight"],
        "stem": None,
        "transform": None,
        "pretraining": None,
    }
    assert f"has the sha256 {sha256}, not weights.sha256 {'0' * 64}" in other
    assert "weights.source hub: " in other
    assert "resnet18.a1_in1k cannot be had" in missing
