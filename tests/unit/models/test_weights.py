"""What a network starts from: exactly its own tensors but the head.

They come from a file that is read and never run.
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
def pretrained(network) -> dict[str, torch.Tensor]:
    """A trained state with another head: every number differs from the network's own."""
    state = {key: value + 1 for key, value in network.state_dict().items()}
    return state | {"head.weight": torch.zeros(1000, 128), "head.bias": torch.zeros(1000)}


def write(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    path = folder / "some.safetensors"
    save_file(state, path)
    return path


def start_from(path: Path, network: nn.Module, **changes) -> InitialWeights:
    return file_weights(path, network, weights_config(**changes), tag="in1k")


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without(state: dict, *keys: str) -> dict:
    return {key: value for key, value in state.items() if key not in keys}


def test_a_file_gives_all_but_the_head(tmp_path, network, pretrained):
    path = write(tmp_path, pretrained)
    start = start_from(path, network)
    assert start.tensors.keys() == network.state_dict().keys() - HEAD
    assert all(torch.equal(start.tensors[key], pretrained[key]) for key in start.tensors)
    assert start.facts == WeightsFacts(
        source="file",
        tag="in1k",
        sha256=sha256_of(path),
        stem=None,
        transform=None,
        pretraining=None,
        loaded=len(pretrained) - 2,
        skipped=start.facts.skipped,
    )
    assert set(start.facts.skipped) == HEAD


def test_a_config_with_a_file_starts_from_it(tmp_path, network, pretrained):
    path = write(tmp_path, pretrained)
    config = weights_config("file", file=str(path), tag="in1k", sha256=sha256_of(path))
    start = initial_weights(model_config(), config, network)
    assert start.facts == start_from(path, network).facts
    assert start.tensors.keys() == network.state_dict().keys() - HEAD


def test_a_config_without_weights_starts_from_random_ones(network):
    start = initial_weights(model_config(), weights_config("random"), network)
    assert start == random_weights()


def test_a_config_whose_file_is_missing_is_refused(network):
    config = weights_config("file", file="none.safetensors")
    with pytest.raises(ValueError, match="HEADSTART_WEIGHTS_DIR"):
        initial_weights(model_config(), config, network)


def test_a_config_with_another_digest_is_refused(tmp_path, network, pretrained):
    path = write(tmp_path, pretrained)
    config = weights_config("file", file=str(path), sha256="0" * 64)
    with pytest.raises(ValueError, match=f"has the sha256 {sha256_of(path)}"):
        initial_weights(model_config(), config, network)


def test_a_config_for_the_hub_needs_a_network_that_it_has(network):
    with pytest.raises(ValueError, match="the hub has no weights of small_cnn"):
        initial_weights(model_config(), weights_config("hub"), network)


def test_a_file_with_the_pinned_digest_is_taken(tmp_path, network, pretrained):
    path = write(tmp_path, pretrained)
    config = weights_config("self", sha256=sha256_of(path))
    pinned = file_weights(path, network, config, tag=None, terms="mit")
    assert pinned.facts.sha256 == sha256_of(path)
    assert pinned.facts.license == "mit"


def test_a_file_with_another_digest_than_the_pinned_is_refused(tmp_path, network, pretrained):
    path = write(tmp_path, pretrained)
    other = "0" * 64
    message = (
        f"weights.source self: .*some.safetensors' has the sha256 {sha256_of(path)}, not .* {other}"
    )
    with pytest.raises(ValueError, match=message):
        start_from(path, network, source="self", sha256=other)


def test_a_file_without_head_or_counters_is_enough(tmp_path, network, pretrained):
    counters = [key for key in pretrained if key.endswith("num_batches_tracked")]
    start = start_from(write(tmp_path, without(pretrained, *HEAD, *counters)), network)
    assert start.facts.skipped == ()
    assert start.facts.loaded == len(pretrained) - len(HEAD) - len(counters)
    assert initial_state(model_config(), 10, 0, start)[counters[0]] == 0


@pytest.mark.parametrize("key", ["features.0.weight", "features.3.running_var", "hidden.0.bias"])
def test_a_missing_tensor_is_refused(tmp_path, network, pretrained, key):
    path = write(tmp_path, without(pretrained, key))
    with pytest.raises(ValueError, match=rf"1 tensors missing \['{key}'\], 0 unknown"):
        start_from(path, network)


def test_an_unknown_tensor_is_refused(tmp_path, network, pretrained):
    path = write(tmp_path, {**pretrained, "features.99.weight": torch.zeros(3)})
    message = r"0 tensors missing \[\], 1 unknown \['features.99.weight'\]"
    with pytest.raises(ValueError, match=message):
        start_from(path, network)


def test_another_shape_is_refused(tmp_path, network, pretrained):
    path = write(tmp_path, {**pretrained, "features.0.weight": torch.zeros(32, 3, 5, 5)})
    message = r"features.0.weight is \(32, 3, 5, 5\), the network's \(32, 3, 3, 3\)"
    with pytest.raises(ValueError, match=message):
        start_from(path, network)


def check_unreadable(path: Path, network: nn.Module) -> None:
    message = r"^weights.source file: .*some.safetensors' cannot be read as safetensors"
    with pytest.raises(ValueError, match=message):
        start_from(path, network)


@pytest.mark.parametrize("content", [b"", b"not weights\n" * 50], ids=["an empty file", "a text"])
def test_a_file_that_is_not_safetensors_is_refused(tmp_path, network, content):
    path = tmp_path / "some.safetensors"
    path.write_bytes(content)
    check_unreadable(path, network)


@pytest.mark.parametrize("stop", [-100, 64], ids=["without its end", "of a part of its header"])
def test_a_cut_file_is_refused(tmp_path, network, pretrained, stop):
    path = write(tmp_path, pretrained)
    path.write_bytes(path.read_bytes()[:stop])
    check_unreadable(path, network)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return (Path.touch, (self._path,))


def trusting_torch_load(file):
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    ("dump", "load"),
    [
        pytest.param(pickle.dump, pickle.load, id="pickle"),
        pytest.param(torch.save, trusting_torch_load, id="torch"),
    ],
)
def test_a_pickle_is_refused_and_not_run(tmp_path, network, dump, load):
    path = tmp_path / "some.safetensors"
    mark = tmp_path / "mark"
    with path.open("wb") as file:
        dump({"features.0.weight": Bomb(mark)}, file)
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        start_from(path, network)
    assert not mark.exists()
    with path.open("rb") as file:
        load(file)
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


def check_no_file(setting: str) -> None:
    """The sentence names the setting of HEADSTART_WEIGHTS_DIR."""
    message = (
        "no file 'w.safetensors', neither as a path nor in "
        rf"HEADSTART_WEIGHTS_DIR \({setting}\); random weights are never"
    )
    with pytest.raises(ValueError, match=message):
        find_file("w.safetensors")


def test_a_file_that_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").mkdir()  # a folder is no file
    monkeypatch.setenv("HEADSTART_WEIGHTS_DIR", "there")
    check_no_file("there")


def test_a_file_that_is_nowhere_without_a_weights_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.safetensors").mkdir()
    monkeypatch.delenv("HEADSTART_WEIGHTS_DIR", raising=False)
    check_no_file("not set")


def differing_keys(state: dict, other: dict) -> set[str]:
    """The keys, the same in both, under which two states have other values."""
    assert state.keys() == other.keys()
    return {key for key, value in state.items() if not torch.equal(value, other[key])}


def test_a_start_is_a_function_of_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = initial_state(model_config(), 10, 3, random_weights())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again = initial_state(model_config(), 10, 3, random_weights())
    assert differing_keys(first, again) == set()
    other = initial_state(model_config(), 10, 4, random_weights())
    drawn = {key for key, value in first.items() if value.unique().numel() > 1}
    assert len(drawn) == 16  # kernel and bias of six convolutions and two dense layers
    assert drawn <= differing_keys(first, other)


def test_a_start_has_the_arms_stem():
    stock = initial_state(model_config("resnet18", stem="stock"), 10, 0, random_weights())
    small = initial_state(model_config("resnet18", stem="3x3"), 10, 0, random_weights())
    assert stock["conv1.weight"].shape == (64, 3, 7, 7)
    assert small["conv1.weight"].shape == (64, 3, 3, 3)
    build("resnet18", 10, "3x3").load_state_dict(small)


def test_over_seeds_the_pretrained_tensors_stay_and_the_head_differs(tmp_path, network, pretrained):
    start = start_from(write(tmp_path, pretrained), network)
    states = [initial_state(model_config(), 10, seed, start) for seed in (0, 1)]
    assert differing_keys(*states) == HEAD
    assert all(torch.equal(states[0][key], pretrained[key]) for key in start.tensors)
    assert states[0]["head.weight"].shape == (10, 128)


def test_the_arms_of_a_block_share_the_heads_draw(tmp_path, network, pretrained):
    start = start_from(write(tmp_path, pretrained), network)
    finetuned = initial_state(model_config(), 10, 0, start)
    scratch = initial_state(model_config(), 10, 0, random_weights())
    assert not HEAD & differing_keys(finetuned, scratch)


def test_random_weights_are_recorded_as_such():
    assert to_json(random_weights().facts) == {
        "source": "random",
        "tag": None,
        "license": None,
        "sha256": None,
        "stem": None,
        "transform": None,
        "pretraining": None,
        "loaded": 0,
        "skipped": [],
    }
    assert not random_weights().tensors


def test_saved_weights_come_back_with_their_card(tmp_path, network, pretrained):
    path = tmp_path / "new" / "w.safetensors"
    kernel = pretrained["features.0.weight"].to(memory_format=torch.channels_last)
    state = {**pretrained, "features.0.weight": kernel.requires_grad_()}
    save_weights(path, state, {"recipe": "letters", "accuracy": 0.9})
    assert differing_keys(load_file(path), pretrained) == set()
    sha256 = sha256_of(path)
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "recipe": "letters",
        "accuracy": 0.9,
        "sha256": sha256,
    }
    assert sorted(file.name for file in path.parent.iterdir()) == ["w.json", "w.safetensors"]
    assert start_from(path, network).facts.sha256 == sha256


@pytest.mark.parametrize("breaks", ["save_file", "sha256_of"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, pretrained, breaks):
    path = tmp_path / "w.safetensors"
    save_weights(path, pretrained, {})
    weights_before = path.read_bytes()
    card_before = path.with_suffix(".json").read_bytes()

    def fail(*args) -> None:
        raise OSError("no space")

    monkeypatch.setattr(weights, breaks, fail)
    doubled = {key: value * 2 for key, value in pretrained.items()}
    with pytest.raises(OSError, match="no space"):
        save_weights(path, doubled, {"accuracy": 1.0})
    assert path.read_bytes() == weights_before
    assert path.with_suffix(".json").read_bytes() == card_before


def test_weights_appear_only_whole(tmp_path, monkeypatch, pretrained):
    """Until the rename, nothing stands under the final name; at it, the part is complete."""
    part_sizes = {}
    plain_replace = os.replace

    def watched_replace(part, final) -> None:
        assert not Path(final).exists()
        part_sizes[Path(final).name] = Path(part).stat().st_size
        plain_replace(part, final)

    monkeypatch.setattr(os, "replace", watched_replace)
    save_weights(tmp_path / "w.safetensors", pretrained, {})
    assert list(part_sizes) == ["w.json", "w.safetensors"]  # the card comes first
    for name, size in part_sizes.items():
        assert (tmp_path / name).stat().st_size == size


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
    assert start.facts.sha256 == sha256_of(path)
    model = model_config("tf_efficientnet_lite0")
    states = [initial_state(model, 10, seed, start) for seed in (0, 1)]
    assert differing_keys(*states) == {"classifier.weight"}  # timm's bias starts at 0
    lite.load_state_dict(states[0])
    assert lite.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 10)
