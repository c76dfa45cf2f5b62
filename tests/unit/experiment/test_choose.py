"""What runs when nothing is named: the machine as it is seen, the table, the launch files."""

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
    NEEDS,
    Availability,
    Launch,
    choose,
    describe,
    launch,
    look,
)

ROOT = Path(__file__).parents[3]
ALL_NEEDS = (GPU, CIFAR10, HUB, LITE0)
# What a machine has -> experiment; every other combination runs `embedded`.
CHOSEN = {
    (GPU, CIFAR10, HUB): "pretrained_vs_random",
    (GPU, CIFAR10, HUB, LITE0): "pretrained_vs_random",
    (GPU, CIFAR10, LITE0): "efficientnet_lite0_cpu",
    (CIFAR10, LITE0): "efficientnet_lite0_cpu",
    (CIFAR10, HUB, LITE0): "efficientnet_lite0_cpu",
    (GPU, CIFAR10): "small_cnn",
}
SIZES = range(len(ALL_NEEDS) + 1)
COMBINATIONS = list(
    itertools.chain.from_iterable(itertools.combinations(ALL_NEEDS, size) for size in SIZES)
)
Machine = dict[str, Availability]


def machine(*has: str) -> Machine:
    available = {}
    for need in ALL_NEEDS:
        place = f"{need} is here" if need in has else None
        available[need] = Availability(place=place, reason=f"{need} is not")
    return available


def places(available: Machine) -> dict[str, str]:
    """Where the needs are that are not lacking."""
    return {need: seen.place for need, seen in available.items() if seen.place}


@pytest.fixture
def launched(monkeypatch):
    """Launches on so many GPUs of a machine that has some."""

    def launch_on(gpus_here: int, gpus: int | None) -> Launch:
        monkeypatch.setattr("torch.cuda.device_count", lambda: gpus_here)
        return launch(gpus)

    return launch_on


@pytest.mark.parametrize("has", COMBINATIONS)
def test_every_machine_has_its_row(has):
    assert choose(machine(*has)) == CHOSEN.get(has, "embedded")


def test_every_row_names_an_experiment_and_the_last_needs_nothing():
    for experiment in NEEDS:
        assert load(experiment).name == experiment
    assert [*NEEDS.values()][-1] == ()


@pytest.mark.parametrize(
    ("gpus", "processes", "layer"),
    [(0, 1, None), (1, 1, "gpu_1"), (8, 1, "gpu_1"), (2, 2, "gpu_8"), (8, 8, "gpu_8")],
)
def test_the_hardware_layer_fits_the_processes_and_every_experiment_loads_over_it(
    launched, gpus, processes, layer
):
    start = launched(gpus, processes if gpus else None)
    assert (start.processes, start.layer) == (processes, layer)
    if layer is None:
        return
    for experiment in NEEDS:
        config = load(experiment, [f"--layer={layer}", f"--hardware.world_size={processes}"])
        assert config.hardware.world_size == processes


@pytest.mark.parametrize(
    ("gpus_here", "gpus", "file", "processes"),
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
def test_the_launch_file_fits_the_gpus(launched, gpus_here, gpus, file, processes):
    start = launched(gpus_here, gpus)
    assert (start.file, start.processes) == (Path(f"launch/accelerate/{file}.yaml"), processes)
    assert (ROOT / start.file).is_file()


@pytest.mark.parametrize(("gpus_here", "gpus"), [(0, 1), (0, 3), (1, 2), (2, 3), (2, 0), (2, -1)])
def test_gpus_that_are_not_there_are_refused(launched, gpus_here, gpus):
    allowed = f"1 to {gpus_here}" if gpus_here else "none"
    with pytest.raises(
        ValueError,
        match=f"^GPUS={gpus}: this machine has {gpus_here} CUDA GPUs; allowed: {allowed}$",
    ):
        launched(gpus_here, gpus)


def test_what_was_found_and_what_is_missing_is_described():
    rich = describe(machine(*ALL_NEEDS))
    poor = describe(machine())
    assert re.search(
        r"^  a GPU +no: a GPU is not +for pretrained_vs_random, small_cnn$", poor, re.MULTILINE
    )
    for need in ALL_NEEDS:
        assert f"{need} is here" in rich
        assert f"no: {need} is not" in poor
    assert len(rich.splitlines()) == len(poor.splitlines()) == 5


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """Looks at a machine with so many GPUs and nothing in the caches.

    Folders and servers that answer are those that are named.
    """

    def see(*, gpus: int = 0, servers: tuple[str, ...] = (), **folders: str) -> Machine:
        for variable in ("CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR"):
            monkeypatch.setenv(variable, folders.get(variable, ""))
        monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
        monkeypatch.setattr("torch.cuda.get_device_name", lambda i: f"GPU {i}")

        def answering(urls) -> str | None:
            return "https://some.org" if "cifar10" in servers else None

        def available(weights) -> str | None:
            return f"from the hub: {weights.name}" if "hub" in servers else None

        monkeypatch.setattr("bench.data.download.answering", answering)
        monkeypatch.setattr("bench.models.hub.available", available)
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
    assert places(bare) == {}
    assert set(bare) == set(ALL_NEEDS)
    assert choose(bare) == "embedded"
    assert "set CIFAR10_DIR" in bare[CIFAR10].reason


def test_what_is_on_the_machine_is_found(seen, tmp_path, monkeypatch):
    (tmp_path / LITE0).touch()
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {1, 5, 6})
    rich = seen(
        gpus=2, servers=("hub",), CIFAR10_DIR=str(tmp_path), HEADSTART_WEIGHTS_DIR=str(tmp_path)
    )
    assert places(rich) == {
        GPU: "2 x GPU 0",
        LITE0: str(tmp_path),
        CIFAR10: str(tmp_path),
        HUB: "from the hub: resnet18.a1_in1k",
    }
    assert re.match(r"  CPU +3 cores\n", describe(rich))


def test_a_gpu_with_network_fetches_and_one_without_says_what_is_missing(seen):
    online = seen(gpus=1, servers=("cifar10", "hub"))
    offline = seen(gpus=1)
    assert (choose(online), choose(offline)) == ("pretrained_vs_random", "embedded")
    assert online[CIFAR10].place == "to be fetched from https://some.org"
    assert set(places(offline)) == {GPU}
    assert "none of data.urls answers" in offline[CIFAR10].reason


def test_a_weights_folder_without_the_file_is_no_reason_to_take_it(seen, tmp_path):
    poor = seen(CIFAR10_DIR=str(tmp_path), HEADSTART_WEIGHTS_DIR=str(tmp_path))
    assert poor[LITE0].reason == "not in HEADSTART_WEIGHTS_DIR"
    assert choose(poor) == "embedded"
