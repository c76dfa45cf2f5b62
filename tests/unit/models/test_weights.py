"""What a network starts from: exactly its own tensors but the head, from a file that is read
and never run.
"""

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bench.ledger.json_records import to_json
from bench.ledger.records import WeightsFacts
from bench.models import weights
from bench.models.networks import build
from bench.models.weights import (
    InitialWeights,
    file_weights,
    find_file,
    initial_state,
    initial_weights,
    random_weights,
    save_weights,
)
from tests.clean_environment import WEIGHTS_DIR
from tests.unit.models.factory import model_config, weights_config

LITE = "tf_efficientnet_lite0.safetensors"
HEAD = {"head.weight", "head.bias"}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build("small_cnn", 10)


@pytest.fixture(scope="module")
def tensors(network) -> dict[str, torch.Tensor]:
    """A trained state with another head: every number differs from the network's own."""
    state = {key: value + 1 for key, value in network.state_dict().items()}
    return state | {"head.weight": torch.zeros(1000, 128), "head.bias": torch.zeros(1000)}


def write(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    path = folder / "some.safetensors"
    save_file(state, path)
    return path


def start_from(path: Path, network: nn.Module, **weights) -> InitialWeights:
    return file_weights(path, network, weights_config(**weights), tag="in1k")


def without(state: dict, *keys: str) -> dict:
    return {key: value for key, value in state.items() if key not in keys}


def test_a_file_gives_all_but_the_head(tmp_path, network, tensors):
    path = write(tmp_path, tensors)
    start = start_from(path, network)
    assert start.tensors.keys() == network.state_dict().keys() - HEAD
    assert all(torch.equal(start.tensors[key], tensors[key]) for key in start.tensors)
    assert start.facts == WeightsFacts(
        source="file",
        tag="in1k",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        stem=None,
        transform=None,
        pretraining=None,
        loaded=len(tensors) - 2,
        skipped=start.facts.skipped,
    )
    assert set(start.facts.skipped) == HEAD


def test_a_config_gives_its_start(tmp_path, network, tensors):
    model = model_config()
    config = weights_config
    path = write(tmp_path, tensors)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    start = initial_weights(
        model, config(source="file", file=str(path), tag="in1k", sha256=sha256), network
    )
    assert start.facts == start_from(path, network).facts
    assert start.tensors.keys() == network.state_dict().keys() - HEAD
    assert initial_weights(model, config(source="random"), network) == random_weights()
    with pytest.raises(ValueError, match="HEADSTART_WEIGHTS_DIR"):
        initial_weights(model, config(source="file", file="none.safetensors"), network)
    with pytest.raises(ValueError, match=f"has the sha256 {sha256}"):
        initial_weights(model, config(source="file", file=str(path), sha256="0" * 64), network)
    with pytest.raises(ValueError, match="the hub has no weights of small_cnn"):
        initial_weights(model, config(source="hub"), network)


def test_a_file_with_another_digest_than_the_pinned_is_refused(tmp_path, network, tensors):
    path = write(tmp_path, tensors)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    other = "0" * 64
    pinned = file_weights(
        path, network, weights_config("self", sha256=sha256), tag=None, terms="mit"
    )
    assert (pinned.facts.sha256, pinned.facts.license) == (sha256, "mit")
    with pytest.raises(
        ValueError,
        match=rf"weights.source self: .*some.safetensors' has the sha256 {sha256}, not .* {other}",
    ):
        start_from(path, network, source="self", sha256=other)


def test_a_file_without_head_or_counters_is_enough(tmp_path, network, tensors):
    counters = [key for key in tensors if key.endswith("num_batches_tracked")]
    start = start_from(write(tmp_path, without(tensors, *HEAD, *counters)), network)
    assert (start.facts.skipped, start.facts.loaded) == ((), len(tensors) - 2 - len(counters))
    assert initial_state(model_config(), 10, 0, start)[counters[0]] == 0


@pytest.mark.parametrize("key", ["features.0.weight", "features.3.running_var", "hidden.0.bias"])
def test_a_missing_tensor_is_refused(tmp_path, network, tensors, key):
    with pytest.raises(ValueError, match=rf"1 tensors missing \['{key}'\], 0 unknown"):
        start_from(write(tmp_path, without(tensors, key)), network)


def test_an_unknown_tensor_is_refused(tmp_path, network, tensors):
    with pytest.raises(
        ValueError, match=r"0 tensors missing \[\], 1 unknown \['features.99.weight'\]"
    ):
        start_from(write(tmp_path, {**tensors, "features.99.weight": torch.zeros(3)}), network)


def test_another_shape_is_refused(tmp_path, network, tensors):
    with pytest.raises(
        ValueError, match=r"features.0.weight is \(32, 3, 5, 5\), the network's \(32, 3, 3, 3\)"
    ):
        start_from(
            write(tmp_path, {**tensors, "features.0.weight": torch.zeros(32, 3, 5, 5)}), network
        )


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "header only"])
def test_a_file_that_is_not_safetensors_is_refused(tmp_path, network, tensors, damage):
    path = write(tmp_path, tensors)
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"not weights\n" * 50,
            "cut": content[:-100],
            "header only": content[:64],
        }[damage]
    )
    with pytest.raises(
        ValueError, match=r"^weights.source file: .*some.safetensors' cannot be read as safetensors"
    ):
        start_from(path, network)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return (Path.touch, (self._path,))


@pytest.mark.parametrize("dump", [pickle.dump, torch.save], ids=["pickle", "torch"])
def test_a_pickle_is_refused_and_not_run(tmp_path, network, dump):
    path = tmp_path / "some.safetensors"
    mark = tmp_path / "mark"
    with path.open("wb") as file:
        dump({"features.0.weight": Bomb(mark)}, file)
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        start_from(path, network)
    assert not mark.exists()
    with path.open("rb") as file:
        if dump is torch.save:
            torch.load(file, weights_only=False)
        else:
            pickle.load(file)
    assert mark.exists()  # it would have run


def test_a_file_is_found_by_its_path(tmp_path, monkeypatch):
    monkeypatch.delenv("HEADSTART_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.safetensors").touch()
    assert find_file(str(tmp_path / "w.safetensors")) == tmp_path / "w.safetensors"
    assert find_file("~/w.safetensors") == tmp_path / "w.safetensors"


def test_a_bare_name_is_looked_for_in_the_weights_folder(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "w.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADSTART_WEIGHTS_DIR", str(tmp_path / "store"))
    assert find_file("w.safetensors") == tmp_path / "store" / "w.safetensors"
    (tmp_path / "w.safetensors").touch()
    assert find_file("w.safetensors") == Path("w.safetensors")  # what was written comes first


@pytest.mark.parametrize("folder", [None, "there"])
def test_a_file_that_is_nowhere(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADSTART_WEIGHTS_DIR", raising=False)
    if folder:
        monkeypatch.setenv("HEADSTART_WEIGHTS_DIR", folder)
    (tmp_path / "w.safetensors").mkdir()  # a folder is no file
    where = rf"HEADSTART_WEIGHTS_DIR \({folder or 'not set'}\)"
    with pytest.raises(
        ValueError,
        match=rf"no file 'w.safetensors', neither as a path nor in {where}; "
        r"random weights are never",
    ):
        find_file("w.safetensors")


def equal(a: dict, b: dict) -> dict[str, bool]:
    assert a.keys() == b.keys()
    return {key: torch.equal(a[key], b[key]) for key in a}


def test_a_start_is_a_function_of_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = initial_state(model_config(), 10, 3, random_weights())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert all(equal(first, initial_state(model_config(), 10, 3, random_weights())).values())
    same = equal(first, initial_state(model_config(), 10, 4, random_weights()))
    drawn = [key for key, value in first.items() if value.unique().numel() > 1]
    assert len(drawn) == 16  # kernel and bias of six convolutions and two dense layers
    assert not any(same[key] for key in drawn)


def test_a_start_has_the_arms_stem():
    stock, small = (
        initial_state(model_config("resnet18", stem=stem), 10, 0, random_weights())
        for stem in ("stock", "3x3")
    )
    assert (stock["conv1.weight"].shape, small["conv1.weight"].shape) == (
        (64, 3, 7, 7),
        (64, 3, 3, 3),
    )
    build("resnet18", 10, "3x3").load_state_dict(small)


def test_over_seeds_the_pretrained_tensors_stay_and_the_head_differs(tmp_path, network, tensors):
    start = start_from(write(tmp_path, tensors), network)
    states = [initial_state(model_config(), 10, seed, start) for seed in (0, 1)]
    assert {key for key, same in equal(*states).items() if not same} == HEAD
    assert all(torch.equal(states[0][key], tensors[key]) for key in start.tensors)
    assert states[0]["head.weight"].shape == (10, 128)
    scratch = initial_state(model_config(), 10, 0, random_weights())
    assert all(
        torch.equal(states[0][key], scratch[key]) for key in HEAD
    )  # the arms of a block share the head's draw


def test_random_weights_are_recorded_as_such():
    keys = ("tag", "license", "sha256", "stem", "transform", "pretraining")
    none = {key: None for key in keys}
    facts = to_json(random_weights().facts)
    assert facts == {"source": "random", **none, "loaded": 0, "skipped": []}
    assert not random_weights().tensors


def test_saved_weights_come_back_with_their_card(tmp_path, network, tensors):
    path = tmp_path / "new" / "w.safetensors"
    state = {
        **tensors,
        "features.0.weight": tensors["features.0.weight"]
        .to(memory_format=torch.channels_last)
        .requires_grad_(),
    }
    save_weights(path, state, {"recipe": "letters", "accuracy": 0.9})
    assert all(equal(load_file(path), tensors).values())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "recipe": "letters",
        "accuracy": 0.9,
        "sha256": sha256,
    }
    assert sorted(file.name for file in path.parent.iterdir()) == ["w.json", "w.safetensors"]
    assert start_from(path, network).facts.sha256 == sha256


@pytest.mark.parametrize("breaks", ["save_file", "sha256_of"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, tensors, breaks):
    path = tmp_path / "w.safetensors"
    save_weights(path, tensors, {})
    before = [path.read_bytes(), path.with_suffix(".json").read_bytes()]

    def fail(*args) -> None:
        raise OSError("no space")

    monkeypatch.setattr(weights, breaks, fail)
    with pytest.raises(OSError, match="no space"):
        save_weights(path, {key: value * 2 for key, value in tensors.items()}, {"accuracy": 1.0})
    assert [path.read_bytes(), path.with_suffix(".json").read_bytes()] == before


def test_weights_appear_only_whole(tmp_path, monkeypatch, tensors):
    """Until the rename, nothing stands under the final name; at it, the part is complete."""
    path = tmp_path / "w.safetensors"
    seen = []
    plain = os.replace

    def replace(part, final) -> None:
        seen.append((Path(final).name, Path(final).exists(), Path(part).stat().st_size))
        plain(part, final)

    monkeypatch.setattr(os, "replace", replace)
    save_weights(path, tensors, {})
    sizes = {name: (tmp_path / name).stat().st_size for name in ("w.json", "w.safetensors")}
    assert seen == [(name, False, size) for name, size in sizes.items()]


@pytest.mark.skipif(
    not (WEIGHTS_DIR / LITE).is_file(),
    reason=f"no {LITE} in HEADSTART_WEIGHTS_DIR",
)
def test_real_weights_load_but_for_their_head():
    lite = build("tf_efficientnet_lite0", 10)
    path = find_file(str(WEIGHTS_DIR / LITE))
    start = start_from(path, lite)
    assert start.facts.loaded == len(lite.state_dict()) - 2 == len(load_file(path)) - 2 == 294
    assert sorted(start.facts.skipped) == ["classifier.bias", "classifier.weight"]
    assert start.facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    states = [
        initial_state(model_config("tf_efficientnet_lite0"), 10, seed, start) for seed in (0, 1)
    ]
    assert {key for key, same in equal(*states).items() if not same} == {
        "classifier.weight"
    }  # timm's bias starts at 0
    lite.load_state_dict(states[0])
    assert lite.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 10)
