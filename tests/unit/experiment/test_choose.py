"""What runs when nothing is named: the machine as it is seen, the table's rows, the launch files."""

import itertools
from pathlib import Path

import pytest

from bench.config.load import load
from bench.experiment.choose import TABLE, Machine, choose, describe, launch_file, look, table_text

ROOT = Path(__file__).parents[3]
LITE0 = "tf_efficientnet_lite0.safetensors"
# (GPU, CIFAR-10, weights) -> experiment
CHOSEN = {
    (False, False, False): "embedded",
    (False, False, True): "embedded",
    (False, True, False): "embedded",
    (False, True, True): "efficientnet_lite0_cpu",
    (True, False, False): "embedded",
    (True, False, True): "embedded",
    (True, True, False): "small_cnn",
    (True, True, True): "efficientnet_lite0_cpu",
}


def machine(*, gpus: int = 0, cifar10: bool = False, weights: tuple[str, ...] = ()) -> Machine:
    return Machine(
        gpus=("NVIDIA H100",) * gpus,
        cpu_cores=2,
        cifar10_dir="/data/cifar10" if cifar10 else None,
        weights_dir="/data/weights" if weights else None,
        weights_files=weights,
    )


MACHINES = {
    (bool(gpus), cifar10, weights == (LITE0,)): machine(gpus=gpus, cifar10=cifar10, weights=weights)
    for gpus, cifar10, weights in itertools.product((0, 2), (False, True), ((), (LITE0,)))
}


@pytest.mark.parametrize(("has", "experiment"), CHOSEN.items())
def test_every_machine_has_its_row(has, experiment):
    assert choose(MACHINES[has]) == experiment


@pytest.mark.parametrize("has", CHOSEN)
def test_the_table_marks_the_row_that_is_taken(has):
    lines = table_text(MACHINES[has]).splitlines()
    assert len(lines) == len(TABLE) + 1
    marked = [line for line in lines if "<- taken" in line]
    assert len(marked) == 1
    assert marked[0].removesuffix("<- taken").split()[-1] == CHOSEN[has]


def test_weights_of_another_name_do_not_count():
    assert choose(machine(cifar10=True, weights=("resnet18.safetensors",))) == "embedded"
    assert choose(machine(cifar10=True, weights=("resnet18.safetensors", LITE0))) == "efficientnet_lite0_cpu"


def test_every_row_names_an_experiment_once_and_the_last_needs_nothing(monkeypatch):
    monkeypatch.chdir(ROOT)
    for rule in TABLE:
        assert load(f"configs/experiments/{rule.experiment}.yaml").name == rule.experiment
    assert len({rule.experiment for rule in TABLE}) == len(TABLE)
    assert (TABLE[-1].gpu, TABLE[-1].cifar10, TABLE[-1].weights) == (False, False, None)


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
def test_the_launch_file_fits_the_gpus(there, asked, file, processes):
    path, number = launch_file(machine(gpus=there), asked)
    assert (path, number) == (Path(f"launch/accelerate/{file}.yaml"), processes)
    assert (ROOT / path).is_file()


@pytest.mark.parametrize(("there", "asked"), [(0, 1), (0, 3), (1, 2), (2, 3), (2, 0), (2, -1)])
def test_gpus_that_are_not_there_are_refused(there, asked):
    with pytest.raises(ValueError, match=f"^GPUS={asked}: this machine has {there} CUDA GPUs$"):
        launch_file(machine(gpus=there), asked)


def test_what_was_found_is_described():
    rich = describe(machine(gpus=2, cifar10=True, weights=(LITE0, "other.safetensors")))
    for part in ("2 x NVIDIA H100", "2 cores", "/data/cifar10", f"/data/weights: {LITE0}, other.safetensors"):
        assert part in rich
    poor = describe(machine())
    for part in ("GPU       none", "set CIFAR10_DIR", "set HEADSTART_WEIGHTS_DIR"):
        assert part in poor
    assert len(rich.splitlines()) == len(poor.splitlines()) == 4


def test_a_folder_without_weights_says_so():
    empty = Machine(gpus=(), cpu_cores=2, cifar10_dir=None, weights_dir="/data/weights", weights_files=())
    assert "/data/weights: no .safetensors in it" in describe(empty)


@pytest.fixture
def cuda(monkeypatch):
    """Sets how many GPUs torch finds."""

    def found(count: int) -> None:
        monkeypatch.setattr("torch.cuda.device_count", lambda: count)
        monkeypatch.setattr("torch.cuda.get_device_name", lambda i: f"GPU {i}")

    return found


@pytest.mark.parametrize("variable", ["CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR"])
@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_folder_that_is_named_and_not_there_is_an_error_not_another_experiment(monkeypatch, tmp_path, cuda, variable, name):
    cuda(0)
    (tmp_path / "file").touch()
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / name))
    with pytest.raises(ValueError, match=f"{variable}: no folder '.*{name}'"):
        look()


def test_folders_that_are_not_set_are_none(monkeypatch, cuda):
    cuda(0)
    for unset in ("", None):
        for variable in ("CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR"):
            monkeypatch.setenv(variable, unset) if unset is not None else monkeypatch.delenv(variable)
        seen = look()
        assert (seen.gpus, seen.cifar10_dir, seen.weights_dir, seen.weights_files) == ((), None, None, ())
        assert choose(seen) == "embedded"


def test_folders_and_gpus_that_are_there_are_seen(monkeypatch, tmp_path, cuda):
    cuda(2)
    for name in ("b.safetensors", "a.safetensors", "c.pth"):
        (tmp_path / name).touch()
    for variable in ("CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {1, 5, 6})
    assert look() == Machine(
        gpus=("GPU 0", "GPU 1"),
        cpu_cores=3,
        cifar10_dir=str(tmp_path),
        weights_dir=str(tmp_path),
        weights_files=("a.safetensors", "b.safetensors"),
    )
