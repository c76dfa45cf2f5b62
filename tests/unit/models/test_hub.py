"""Weights from the hub: what is known of a tag, and one local copy of its file whatever the
network does.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save

from bench.config.schema import WeightsConfig
from bench.models.hub import OPEN_LICENSES, HubWeights, hub_weights
from bench.models.networks import build
from tests.commands import ROOT, environment
from tests.hub_server import FAULTS, HubServer
from tests.unit.models.factory import weights_config

CONFIGS = [(name, timm.get_pretrained_cfg(name)) for name in timm.list_pretrained()]
LISTED = [(name, cfg) for name, cfg in CONFIGS if cfg.hf_hub_id]
# Fetches timm/<argument> for every argument, and tells what came of each and which addresses were
# connected to.
FETCH = """
import json, sys, time
contacted = set()
def listen(event, args):
    if event == "socket.connect":
        contacted.add(str(args[1]))
sys.addaudithook(listen)
from bench.models.hub import HubWeights, available, fetch
outcomes = {}
for name in sys.argv[1:]:
    weights = HubWeights(
        name=name, tag="", repository=f"timm/{name}", file="model.safetensors", license="mit"
    )
    where = available(weights)
    began = time.monotonic()
    try:
        outcome = str(fetch(weights))
    except ValueError as error:
        outcome = f"refused: {error}"
    outcomes[name] = {"where": where, "outcome": outcome, "s": time.monotonic() - began}
print(json.dumps({"outcomes": outcomes, "contacted": sorted(contacted)}))
"""
# Starts networks as a run does: one JSON [model, weights] an argument.
START = """
import json, sys
from bench.config.schema import WeightsConfig
from bench.ledger.json_records import to_json
from bench.models.networks import build
from bench.models.weights import initial_weights
from tests.unit.models.factory import model_config
for argument in sys.argv[1:]:
    name, weights = json.loads(argument)
    config = model_config(name)
    try:
        facts = initial_weights(config, WeightsConfig(**weights), build(name, 10)).facts
        print(json.dumps(to_json(facts)))
    except ValueError as error:
        print(json.dumps(str(error)))
"""


def config(**changes) -> WeightsConfig:
    return weights_config("hub", **changes)


def begin(code: str, env: dict[str, str], *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(child: subprocess.Popen) -> SimpleNamespace:
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    return SimpleNamespace(**json.loads(out), err=err)


def fetched(hub: HubServer, home: Path, *names: str, **changes: str) -> SimpleNamespace:
    return end(begin(FETCH, environment(home, **{**hub.settings(home), **changes}), *names))


def test_a_null_tag_is_timms_default():
    name = "resnet18.a1_in1k"
    tag = "a1_in1k"
    a1 = HubWeights(
        name=name,
        tag=tag,
        repository=f"timm/{name}",
        file="model.safetensors",
        license="apache-2.0",
    )
    assert hub_weights("resnet18", config()) == hub_weights("resnet18", config(tag="a1_in1k")) == a1
    assert hub_weights("resnet18", config(tag="tv_in1k")).license == "bsd-3-clause"
    assert (
        hub_weights("resnet18.tv_in1k", config()).name == "resnet18.tv_in1k"
    )  # as timm lets a network's name say it


def test_every_tag_of_timm_is_known_and_needs_consent_unless_its_licence_is_open():
    asking = 0
    for name, cfg in LISTED:
        network, _, tag = name.partition(".")
        terms = cfg.license or "unknown"
        weights = hub_weights(network, config(tag=tag, accept_license=terms))
        assert (weights.name, weights.repository) == (name, cfg.hf_hub_id)
        assert weights.license == terms
        if terms not in OPEN_LICENSES:
            asking += 1
            for other in (None, "mit"):
                with pytest.raises(
                    ValueError,
                    match=rf"^weights.accept_license: {other and repr(other)} .*{name}.* {terms}: ",
                ):
                    hub_weights(network, config(tag=tag, accept_license=other))
    assert 150 < asking < len(LISTED) / 2


@pytest.mark.parametrize(
    ("network", "changes", "sentence"),
    [
        ("resnet81", {}, r"model.name: no network 'resnet81'; nearest: .*resnet18"),
        (
            "small_cnn",
            {},
            r"weights.source: the hub has no weights of small_cnn; "
            r"allowed for it: random, file, self",
        ),
        ("legacy_seresnet18", {}, r"the hub has no weights of legacy_seresnet18"),
        (
            "resnet18",
            {"tag": "a1_in"},
            r"weights.tag: the hub has no weights 'a1_in' of resnet18; "
            r"allowed: a1_in1k, .*mean 'a1_in1k'",
        ),
        (
            "resnet18",
            {"tag": "fb_swsl_ig1b_ft_in1k"},
            r"is cc-by-nc-4.0: set it to 'cc-by-nc-4.0' .*an open tag: a1_in1k, a2_in1k",
        ),
    ],
)
def test_what_the_hub_does_not_have(network: str, changes: dict, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        hub_weights(network, config(**changes))


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.npz"])
def test_a_file_that_could_run_code_is_refused(monkeypatch, file):
    cfg = timm.get_pretrained_cfg("resnet18")
    cfg.hf_hub_filename = file
    monkeypatch.setattr(
        "timm.models.get_arch_pretrained_cfgs", lambda name: {"resnet18.a1_in1k": cfg}
    )
    with pytest.raises(ValueError, match=rf"resnet18.a1_in1k is '{file}', .*allowed: .safetensors"):
        hub_weights("resnet18", config())


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """What came of every fault, and of the same repositories when they were sound again."""
    home = tmp_path_factory.mktemp("faulty")
    names = {fault: fault.replace(" ", "_") for fault in FAULTS}
    files = {f"timm/{name}": os.urandom(10_000) for name in names.values()}
    with HubServer(files, {f"timm/{name}": fault for fault, name in names.items()}) as hub:
        patience = {"HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        env = environment(home, **{**hub.settings(home), **patience})
        quick = [name for name in names.values() if name not in {"stall", "cut"}]
        children = [begin(FETCH, env, *arguments) for arguments in (["stall"], ["cut"], quick)]
        outcomes = {}
        contacted = set()
        for child in children:
            answer = end(child)
            outcomes |= answer.outcomes
            contacted |= set(answer.contacted)
        requests = {}
        for name in names.values():
            for method in ("HEAD", "GET"):
                requests[method, name] = hub.request_count(method, f"timm/{name}")
        hub.faults.clear()
        again = fetched(hub, home, "stall", "cut", "hang", "error").outcomes
        address = ("127.0.0.1", int(hub.url.rpartition(":")[2]))
    return SimpleNamespace(
        outcomes={fault: outcomes[name] for fault, name in names.items()},
        contacted=contacted,
        requests=requests,
        address=str(address),
        files=files,
        again=again,
    )


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("no file", "the answer is 404, Entry not found"),
        ("no repository", "the answer is 404, Repository not found"),
        (
            "gated",
            "the answer is 401, Access to this model is restricted "
            "(a gated or private one needs HF_TOKEN)",
        ),
        ("error", "the answer is 500, Internal error"),
        ("hang", "ReadTimeout"),
        ("stall", "ReadTimeout"),
        (
            "short",
            "OSError: Consistency check failed: file should be of size 10000 but has size 5000",
        ),
        ("cut", "peer closed connection without sending complete message body"),
    ],
)
def test_a_hub_that_fails_gives_one_sentence_with_the_ways_out(faulty, fault, cause):
    sentence = faulty.outcomes[fault]["outcome"]
    name = fault.replace(" ", "_")
    assert sentence.startswith(
        f"refused: weights.source: {name} cannot be had from http://127.0.0.1:"
    )
    assert f"/timm/{name}: " in sentence
    ways = (
        "random weights are never put in its place",
        "HF_ENDPOINT",
        "HF_HUB_OFFLINE=1",
        "weights.file",
    )
    assert all(part in sentence for part in (cause, *ways))
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("fault", "heads", "gets"),
    [
        ("no file", 2, 0),
        ("no repository", 2, 0),
        ("gated", 2, 0),
        ("error", 2, 0),
        ("hang", 2, 0),
        ("stall", 3, 6),
        ("short", 3, 1),
        ("cut", 3, 6),
    ],
)
def test_a_hub_that_fails_is_not_asked_again_and_again(faulty, fault, heads, gets):
    name = fault.replace(" ", "_")
    assert 1 <= faulty.requests["HEAD", name] <= heads
    assert faulty.requests["GET", name] <= gets


@pytest.mark.parametrize(("fault", "most_s"), [("hang", 8), ("stall", 23), ("cut", 18)])
def test_a_silent_hub_is_given_up_after_the_clients_patience(faulty, fault, most_s):
    """Told to wait for 1 s at a time, where 10 s are its default; 3 s are for a busy machine."""
    assert faulty.outcomes[fault]["s"] < most_s


def test_other_bytes_than_the_hub_named_are_refused_though_the_client_takes_them(faulty):
    assert "damaged" in faulty.outcomes["other bytes"]["outcome"]
    assert "delete it and start again" in faulty.outcomes["other bytes"]["outcome"]


def test_only_the_endpoint_is_contacted(faulty):
    assert faulty.contacted == {faulty.address}


def test_the_start_after_a_fault_has_the_whole_file(faulty):
    assert len(faulty.again) == 4
    for name, attempt in faulty.again.items():
        assert Path(attempt["outcome"]).read_bytes() == faulty.files[f"timm/{name}"]


def test_a_file_is_downloaded_once_and_reused_without_the_hub(tmp_path):
    with HubServer({"timm/some": b"weights" * 1000}) as hub:
        attempt = fetched(hub, tmp_path, "some").outcomes["some"]
        first = attempt["outcome"]
        cache = str(tmp_path / "hub")
        assert attempt["where"] == f"to be fetched from {hub.url}"
        assert Path(first).read_bytes() == b"weights" * 1000
        assert fetched(hub, tmp_path, "some").outcomes["some"]["outcome"] == first
        assert hub.request_count("GET", "timm/some") == 1
    down = fetched(hub, tmp_path, "some", "other")
    assert [down.outcomes[name]["where"] for name in ("some", "other")] == [cache, None]
    assert down.outcomes["some"]["outcome"] == first
    assert "weights: some from the cache, perhaps not the newest: ConnectError" in down.err
    assert "other cannot be had" in down.outcomes["other"]["outcome"]
    offline = fetched(hub, tmp_path, "some", "other", HF_HUB_OFFLINE="1")
    assert offline.outcomes["some"]["outcome"] == first
    assert [offline.outcomes[name]["where"] for name in ("some", "other")] == [cache, None]
    assert (offline.err, offline.contacted) == ("", [])  # what was asked for is no news
    assert "HF_HUB_OFFLINE is set, and" in offline.outcomes["other"]["outcome"]


def test_a_damaged_copy_is_named_and_comes_anew_when_it_is_deleted(tmp_path):
    with HubServer({"timm/some": b"weights" * 1000}) as hub:
        path = Path(fetched(hub, tmp_path, "some").outcomes["some"]["outcome"])
        path.write_bytes(b"weight!" * 1000)
        damaged = fetched(hub, tmp_path, "some").outcomes["some"]["outcome"]
        assert f"'{path.resolve()}' is damaged" in damaged
        path.resolve().unlink()
        assert (
            Path(fetched(hub, tmp_path, "some").outcomes["some"]["outcome"]).read_bytes()
            == b"weights" * 1000
        )


def test_a_network_starts_from_the_hub_and_records_it(tmp_path):
    torch.manual_seed(0)
    content = save(build("test_resnet", 1000).state_dict())
    sha256 = hashlib.sha256(content).hexdigest()
    tag = hub_weights("test_resnet", config()).tag
    with HubServer({f"timm/test_resnet.{tag}": content}) as hub:
        pinned = [{**vars(config()), "sha256": digest} for digest in (None, sha256, "0" * 64)]
        cases = [json.dumps(["test_resnet", weights]) for weights in pinned] + [
            json.dumps(["resnet18", vars(config())])
        ]
        out, err = begin(
            START, environment(tmp_path, **hub.settings(tmp_path)), *cases
        ).communicate(timeout=120)
        assert hub.request_count("GET", f"timm/test_resnet.{tag}") == 1
    default, same, other, missing = map(json.loads, out.splitlines() or pytest.fail(err))
    keys = len(build("test_resnet", 10).state_dict())
    assert sorted(default.pop("skipped")) == sorted(same.pop("skipped")) == ["fc.bias", "fc.weight"]
    assert default == same
    assert default == {
        "source": "hub",
        "tag": tag,
        "license": "apache-2.0",
        "sha256": sha256,
        "loaded": keys - 2,
        "stem": None,
        "transform": None,
        "pretraining": None,
    }
    assert f"has the sha256 {sha256}, not weights.sha256 {'0' * 64}" in other
    assert "weights.source hub: " in other
    assert "resnet18.a1_in1k cannot be had" in missing
