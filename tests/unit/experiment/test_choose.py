"""What runs when nothing is named: the machine as it is seen, the table's rows, the launch files."""

import itertools
import re
from pathlib import Path

import pytest

from bench.config.load import load
from bench.experiment.choose import (
    CIFAR10,
    GPU,
    HUB,
    LITE0,
    TABLE,
    Seen,
    choose,
    describe,
    launch,
    look,
)

ROOT = Path(__file__).parents[3]
NEEDS = (GPU, CIFAR10, HUB, LITE0)
# What a machine has -> experiment; every other combination runs `embedded`.
CHOSEN = {
    (GPU, CIFAR10, HUB): "pretrained_vs_random",
    (GPU, CIFAR10, HUB, LITE0): "pretrained_vs_random",
    (GPU, CIFAR10, LITE0): "efficientnet_lite0_cpu",
    (CIFAR10, LITE0): "efficientnet_lite0_cpu",
    (CIFAR10, HUB, LITE0): "efficientnet_lite0_cpu",
    (GPU, CIFAR10): "small_cnn",
}
COMBINATIONS = [
    has for size in range(len(NEEDS) + 1) for has in itertools.combinations(NEEDS, size)
]


def machine(*has: str) -> Seen:
    return {need: (f"{need} is here" if need in has else None, f"{need} is not") for need in NEEDS}


def found(seen: Seen) -> dict[str, str]:
    return {need: where for need, (where, _) in seen.items() if where}


@pytest.fixture
def launched(monkeypatch):
    """What is launched on so many GPUs of a machine that has some."""

    def on(there: int, asked: int | None):
        monkeypatch.setattr("torch.cuda.device_count", lambda: there)
        return launch(asked)

    return on


@pytest.mark.parametrize("has", COMBINATIONS)
def test_every_machine_has_its_row(has):
    assert choose(machine(*has)) == CHOSEN.get(has, "embedded")


def test_every_row_names_an_experiment_and_the_last_needs_nothing():
    for experiment in TABLE:
        assert load(experiment).name == experiment
    assert [*TABLE.values()][-1] == ()


@pytest.mark.parametrize(
    ("gpus", "processes", "layer"),
    [(0, 1, ""), (1, 1, "gpu_1"), (8, 1, "gpu_1"), (2, 2, "gpu_8"), (8, 8, "gpu_8")],
)
def test_the_hardware_layer_fits_the_processes_and_every_experiment_loads_over_it(
    launched, gpus, processes, layer
):
    assert launched(gpus, processes if gpus else None)[1:] == (processes, layer)
    for experiment in TABLE if layer else ():
        config = load(experiment, [f"--layer={layer}", f"--hardware.world_size={processes}"])
        assert config.hardware.world_size == processes


@pytest.mark.parametrize(
    ("there", "asked", "file", "processes"),
    [
        (0, None, "cpu", 1),
        (1, None, "single_gpu", 1),
        (2, None, "multi_gpu", 2),
        (8, None, "multi_gpu", 8),
        (1, 1, "single_gpu", 1),
        (2, 1, "single_gpu", 1),
        (2, 2, "multi_gpu", 2),
        (8, 3, "multi_gpu", 3),
    ],
)
def test_the_launch_file_fits_the_gpus(launched, there, asked, file, processes):
    path, number, _ = launched(there, asked)
    assert (path, number) == (Path(f"launch/accelerate/{file}.yaml"), processes)
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(("there", "asked"), [(0, 1), (0, 3), (1, 2), (2, 3), (2, 0), (2, -1)])
def test_gpus_that_are_not_there_are_refused(launched, there, asked):
    with pytest.raises(
        ValueError, match=f"^GPUS={asked}: this machine has {there} CUDA GPUs; allowed: "
    ):
        launched(there, asked)


def test_what_was_found_and_what_is_missing_is_described():
    rich, poor = describe(machine(*NEEDS)), describe(machine())
    assert re.search(
        r"^  a GPU +no: a GPU is not +for pretrained_vs_random, small_cnn$", poor, re.MULTILINE
    )
    for need in NEEDS:
        assert f"{need} is here" in rich
        assert f"no: {need} is not" in poor
    assert len(rich.splitlines()) == len(poor.splitlines()) == 5


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """Looks at a machine with so many GPUs, no folders named, nothing in the caches, and the given servers answering."""

    def see(*, gpus: int = 0, servers: tuple[str, ...] = (), **folders: str) -> Seen:
        for variable in ("CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR"):
            monkeypatch.setenv(variable, folders.get(variable, ""))
        monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
        monkeypatch.setattr("torch.cuda.get_device_name", lambda i: f"GPU {i}")
        monkeypatch.setattr(
            "bench.data.download.answering",
            lambda urls: "https://some.org" if "cifar10" in servers else None,
        )
        monkeypatch.setattr(
            "bench.models.hub.available",
            lambda weights: f"from the hub: {weights.name}" if "hub" in servers else None,
        )
        return look()

    return see


@pytest.mark.parametrize("variable", ["CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR"])
def test_a_folder_that_is_named_and_not_there_is_an_error_not_another_experiment(
    seen, tmp_path, variable
):
    with pytest.raises(ValueError, match=f"{variable}: no folder '.*absent'"):
        seen(**{variable: str(tmp_path / "absent")})


def test_a_bare_machine_lacks_everything_and_asks_no_server(seen):
    bare = seen(servers=("cifar10", "hub"))
    assert (found(bare), set(bare)) == ({}, set(NEEDS))
    assert choose(bare) == "embedded"
    assert "set CIFAR10_DIR" in bare[CIFAR10][1]


def test_what_is_on_the_machine_is_found(seen, tmp_path, monkeypatch):
    (tmp_path / LITE0).touch()
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {1, 5, 6})
    rich = seen(
        gpus=2, servers=("hub",), CIFAR10_DIR=str(tmp_path), HEADSTART_WEIGHTS_DIR=str(tmp_path)
    )
    where = {
        GPU: "2 x GPU 0",
        LITE0: str(tmp_path),
        CIFAR10: str(tmp_path),
        HUB: "from the hub: resnet18.a1_in1k",
    }
    assert found(rich) == where
    assert re.match(r"  CPU +3 cores\n", describe(rich))


def test_a_gpu_with_network_fetches_and_one_without_says_what_is_missing(seen):
    online, offline = seen(gpus=1, servers=("cifar10", "hub")), seen(gpus=1)
    assert (choose(online), choose(offline)) == ("pretrained_vs_random", "embedded")
    assert online[CIFAR10][0] == "to be fetched from https://some.org"
    assert set(found(offline)) == {GPU}
    assert "none of data.urls answers" in offline[CIFAR10][1]


def test_a_weights_folder_without_the_file_is_no_reason_to_take_it(seen, tmp_path):
    poor = seen(CIFAR10_DIR=str(tmp_path), HEADSTART_WEIGHTS_DIR=str(tmp_path))
    assert poor[LITE0][1] == "not in HEADSTART_WEIGHTS_DIR"
    assert choose(poor) == "embedded"
