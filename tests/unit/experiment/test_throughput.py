"""What a step costs: a timed loop's arithmetic, a small arm from end to end, faults beside
figures.
"""

import json
from itertools import repeat
from types import SimpleNamespace

import pytest
import torch

from bench import registry
from bench.config.load import arm_config, load
from bench.data.batches import Batch
from bench.experiment import steploop
from bench.experiment.armmeter import ArmMeter, bare_step
from bench.experiment.inputs import Inputs
from bench.experiment.steploop import LEAST_STEPS, MOST_STEPS, StepLoop, time_loop
from bench.experiment.throughput import main
from bench.runtime.distributed import World

CPU = torch.device("cpu")
SMALL = (
    "--precision=fp32", "--compile.enabled=false", "--hardware.cpu_threads=1",
    "--train.samples=160", "--data.train_samples=64", "--data.val_samples=16",
    "--data.test_samples=16", "--train.global_batch_size=8", "--evaluation.every_samples=80",
    "--evaluation.batch_size=8", "--hardware.loader_threads=1",
)  # fmt: skip


class FakeTime:
    """A clock that the steps themselves move."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


class FakeWorld:
    """A device that does a step's work while nobody waits, and is waited for."""

    def __init__(self, clock: FakeTime, kind: str) -> None:
        self.device = torch.device(kind)
        self._clock = clock
        self.queued_s = 0.0
        self.synchronisations = 0

    def queue(self, seconds: float) -> None:
        self.queued_s += seconds

    def synchronize(self) -> None:
        self._clock.pass_s(self.queued_s)
        self.queued_s = 0.0
        self.synchronisations += 1


@pytest.fixture
def clock(monkeypatch):
    clock = FakeTime()
    monkeypatch.setattr(steploop, "time", clock)
    return clock


def loop_of(clock: FakeTime, world: FakeWorld, *, wait_s: float, issue_s: float, device_s: float):
    def batches():
        while True:
            clock.pass_s(wait_s)
            yield "batch"

    def step(batch, number) -> None:
        clock.pass_s(issue_s)
        world.queue(device_s)

    return StepLoop(batches(), step)


def test_a_loop_s_time_is_cut_into_waiting_issuing_and_all(clock):
    world = FakeWorld(clock, "cuda")
    loop = loop_of(clock, world, wait_s=0.002, issue_s=0.003, device_s=0.005)
    timing = time_loop(loop, images=64, world=world, seconds=1.005)
    assert timing.steps == 100
    assert timing.step_ms == pytest.approx(10)
    assert timing.images_per_s == pytest.approx(6400)
    assert timing.data_wait_ms == pytest.approx(2)
    assert timing.issue_ms == pytest.approx(3)


def test_the_timed_steps_are_synchronised_at_their_end_alone(clock):
    world = FakeWorld(clock, "cpu")
    loop = loop_of(clock, world, wait_s=0.0, issue_s=0.01, device_s=0.0)
    timing = time_loop(loop, images=1, world=world, seconds=1.0)
    assert timing.issue_ms is None
    assert world.synchronisations == 3  # after the first steps, after the guess, at the end


@pytest.mark.parametrize(("step_s", "steps"), [(10.0, LEAST_STEPS), (1e-7, MOST_STEPS)])
def test_steps_have_bounds(step_s, steps, clock):
    world = FakeWorld(clock, "cpu")
    loop = loop_of(clock, world, wait_s=0.0, issue_s=step_s, device_s=0.0)
    assert time_loop(loop, images=1, world=world, seconds=1.0).steps == steps


def test_steps_are_numbered_in_their_order():
    numbers = []
    loop = StepLoop(repeat("batch"), lambda batch, number: numbers.append(number))
    loop.run(2)
    loop.run(2)
    assert numbers == [0, 1, 2, 3]


def run(tmp_path, *arguments: str):
    file = tmp_path / "figures" / "throughput.json"
    command = ("gpu_throughput", f"--json={file}", "--only=small_cnn_32", "--seconds=0.01")
    code = main([*command, *SMALL, *arguments])
    return code, json.loads(file.read_text())


def test_an_arm_from_each_loader_beside_a_bare_loop(tmp_path, capsys):
    arguments = ("--loaders=resident,torch", "--evaluate", "--profile=small_cnn_32")
    code, content = run(tmp_path, *arguments)
    arm = content["arms"]["small_cnn_32"]
    assert (code, content["faults"], arm["faults"]) == (0, {}, {})
    assert list(arm["loaders"]) == list(arm["loaders_alone"]) == ["resident", "torch"]
    timings = [
        arm["harness"],
        arm["bare"],
        *arm["loaders"].values(),
        *arm["loaders_alone"].values(),
    ]
    for timing in timings:
        assert timing["images_per_s"] == pytest.approx(8e3 / timing["step_ms"])
    ratio = arm["bare"]["images_per_s"] / arm["harness"]["images_per_s"]
    assert arm["overhead_ratio"] == pytest.approx(ratio)
    assert (arm["batch_size"], arm["input_size"], arm["precision"]) == (8, 32, "fp32")
    assert arm["resize_ms"] is arm["peak_memory_bytes"] is None
    assert arm["evaluation_images_per_s"] > 0
    assert content["profile"]["loader"] == "resident"
    host_ms = [ms for _, ms, _ in content["profile"]["host"]]
    assert host_ms == sorted(host_ms, reverse=True)
    assert host_ms[0] > host_ms[-1]
    assert "aten::" in (tmp_path / "figures" / "profile.txt").read_text()
    assert (tmp_path / "figures" / "trace.json.gz").is_file()
    assert "bare loop, one batch" in capsys.readouterr().out


class Broken:
    """A loader that cannot be built."""

    def __init__(self, split, spec) -> None:
        raise RuntimeError("no kernel image\nis available")


def test_a_loader_that_fails_is_told_beside_the_others(tmp_path, monkeypatch):
    resolve = registry.resolve

    def resolve_broken(kind: str, name: str):
        return Broken if (kind, name) == ("loader", "dali") else resolve(kind, name)

    monkeypatch.setattr(registry, "resolve", resolve_broken)
    code, content = run(tmp_path, "--loaders=dali,resident", "--no-bare")
    arm = content["arms"]["small_cnn_32"]
    assert code == 1
    assert arm["faults"] == {"dali": "RuntimeError: no kernel image is available"}
    assert list(arm["loaders"]) == ["resident"]
    assert arm["bare"] is arm["overhead_ratio"] is None


def test_an_arm_that_fails_is_told(tmp_path):
    code, content = run(tmp_path, "--finetune.layers=head", "--data.pad=0", "--data.flip=none")
    assert (code, content["arms"]) == (1, {})
    assert "'head' trains on stored features; allowed: all" in content["faults"]["small_cnn_32"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [("--only=big_cnn", "no arm 'big_cnn'"), ("--loaders=ffcv", "no loader 'ffcv'")],
)
def test_wrong_names_are_refused(argument, message, tmp_path, capsys):
    assert main(["gpu_throughput", f"--json={tmp_path}/f.json", argument]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "f.json").exists()


def test_the_bare_loop_trains_the_arm_s_network(monkeypatch):
    config = arm_config(load("gpu_throughput", SMALL), "small_cnn_32")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 32, 32, generator=generator)
    batch = Batch(images=images, labels=torch.arange(8), samples=torch.arange(8))
    networks = []
    original = torch.optim.AdamW.step

    def step(optimizer, *arguments, **named):
        networks.append([p.detach().clone() for g in optimizer.param_groups for p in g["params"]])
        return original(optimizer, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train = bare_step(config, "fp32", CPU, 10)
    train(batch, 0)
    train(batch, 1)
    assert sum(parameter.numel() for parameter in networks[0]) == 551_018
    assert not any(torch.equal(*pair) for pair in zip(*networks, strict=True))


def test_a_resize_is_timed_where_an_arm_has_one():
    config = arm_config(load("gpu_throughput", [*SMALL, "--model.input_size=32"]), "small_cnn_32")
    world = World(1, 1)
    world.set_precision("fp32")
    meter = ArmMeter(config, world, Inputs(), precision="fp32", seconds=0.01)
    assert meter.input_size == 32
    assert meter.resize_ms() > 0


def test_several_processes_are_refused(monkeypatch):
    from bench.experiment import throughput

    world = SimpleNamespace(size=2, device=CPU)
    with pytest.raises(ValueError, match="on one process, not on 2"):
        throughput.measure_experiment(load("gpu_throughput"), world, SimpleNamespace(arms=()))
