"""The self-check: green here, red for a fault planted in any loader or in compiled code, and kept until something changes."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from bench.config.load import load
from bench.data import dali, loaders
from bench.experiment import selfcheck, suite
from bench.experiment.selfcheck import self_check
from tests.commands import ROOT, TINY

CPU = torch.device("cpu")
LOADERS = {
    "dali": dali.DaliLoader,
    "resident": loaders.ResidentLoader,
    "torch": loaders.TorchLoader,
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    return tmp_path / "selfcheck"


def test_this_machine_is_green_and_its_record_is_kept(cache, monkeypatch):
    record = self_check(CPU)
    assert record["checks"] == dict.fromkeys(
        ["loader dali", "loader resident", "loader torch", "compiled steps"], "ok"
    )
    monkeypatch.setattr(selfcheck, "_told", lambda *check: pytest.fail("checked twice"))
    assert self_check(CPU) == record
    assert [path.name for path in cache.glob("*.json")] == [f"{record['key']}.json"]


def test_another_driver_is_checked_anew(monkeypatch, tmp_path):
    checked = []
    monkeypatch.setattr(selfcheck, "_told", lambda *check: checked.append(1) or "ok")
    for driver in ("580.1", "580.2", "580.1"):
        (tmp_path / "version").write_text(
            f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Thu"
        )
        monkeypatch.setattr("bench.runtime.environment.DRIVER", tmp_path / "version")
        assert self_check(CPU)["facts"]["gpu_driver"] == driver
    assert len(checked) == 2 * 4


class Skipping:
    """An order that loses each batch's first sample and gives its second twice."""

    def __init__(self, order) -> None:
        self._order = order

    def __getattr__(self, name: str):
        return getattr(self._order, name)

    def rows(self, step: int):
        rows = self._order.rows(step)
        return replace(rows, samples=rows.samples[[1, *range(1, len(rows.samples))]])


def plant(monkeypatch, name: str, fault: str) -> None:
    """Give a loader a fault: of the crop's place, of the mirroring, or of the samples."""
    loader = LOADERS[name]
    true = loader.batches

    def batches(self, order, start: int, stop: int):
        for batch in true(self, order, start, stop):
            changed = {"offset": lambda x: x.roll(1, 2), "mirrored twice": lambda x: x.flip(3)}[
                fault
            ](batch.images)
            yield replace(batch, images=changed)

    def skipping(self, order, start: int, stop: int):
        yield from true(self, Skipping(order), start, stop)

    monkeypatch.setattr(
        loaders, "replace", lambda given, **changes: replace(given, **changes) if changes else given
    )
    monkeypatch.setattr(loader, "batches", skipping if fault == "dropped" else batches)


@pytest.mark.parametrize("fault", ["offset", "mirrored twice", "dropped"])
@pytest.mark.parametrize("name", LOADERS)
def test_a_fault_in_a_loader_is_found(cache, monkeypatch, name, fault):
    plant(monkeypatch, name, fault)
    told = selfcheck._loader(name, CPU)
    assert told.startswith("other samples" if fault == "dropped" else "pixels differ by")
    monkeypatch.setattr(selfcheck, "_steps", lambda device: "ok")
    with pytest.raises(RuntimeError, match=f"loader {name}: {told[:15]}.*; nothing is timed here"):
        self_check(CPU)
    assert not list(cache.glob("*.json"))


def test_compiled_steps_that_compute_something_else_are_found(monkeypatch):
    true = selfcheck.compile_module
    monkeypatch.setattr(
        selfcheck,
        "compile_module",
        lambda net, mode: (net.head.weight.data.mul_(1.5), true(net, mode)),
    )
    assert selfcheck._steps(CPU).startswith("losses [")


def test_a_check_that_fails_altogether_is_red(monkeypatch):
    monkeypatch.setattr(selfcheck, "_loader", lambda name, device: 1 // 0)
    with pytest.raises(
        RuntimeError,
        match=r"loader dali: ZeroDivisionError: .*; loader resident: ZeroDivisionError",
    ):
        self_check(CPU)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_study_on_a_gpu_is_not_begun_before_its_self_check(monkeypatch, tmp_path, kind):
    def red(device):
        raise RuntimeError(f"self-check of {device}")

    monkeypatch.setattr(suite, "self_check", red)
    world = SimpleNamespace(
        device=torch.device(kind),
        rank=0,
        size=1,
        is_main=True,
        startup_s=0.0,
        from_main=lambda value: value,
        sums=lambda counts: counts,
    )
    begun = suite.Suite(load(ROOT / TINY, [f"--output={tmp_path}/runs"]), world)
    with (
        pytest.raises(RuntimeError, match="self-check of cuda") if kind == "cuda" else nullcontext()
    ):
        begun._check()


def test_a_cache_that_can_only_be_read_harms_nothing(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(selfcheck, "_told", lambda *check: "ok")
    assert set(self_check(CPU)["checks"].values()) == {"ok"}


@pytest.mark.parametrize("mine", ["same", "other"])
def test_machines_with_other_images_or_weights_do_not_train_together(monkeypatch, tmp_path, mine):
    world = SimpleNamespace(
        device=CPU,
        rank=1,
        size=1,
        is_main=False,
        startup_s=0.0,
        from_main=lambda value: {"slow": ["same"]},
        sums=lambda counts: counts,
    )
    begun = suite.Suite(load(ROOT / TINY, [f"--output={tmp_path}/runs"]), world)
    monkeypatch.setattr(begun._inputs, "check", lambda config, world_size: {"slow": [mine]})
    with (
        pytest.raises(ValueError, match=r"other.*on the first.*same")
        if mine == "other"
        else nullcontext()
    ):
        begun._check()


def test_the_wall_clock_is_refused_where_a_process_makes_several_runs(monkeypatch, tmp_path):
    world = SimpleNamespace(
        device=CPU,
        size=1,
        is_main=True,
        startup_s=0.0,
        from_main=lambda value: value,
        set_precision=lambda name: None,
    )
    begun = suite.Suite(load(ROOT / TINY, [f"--output={tmp_path}/runs", "--clock=wall"]), world)
    monkeypatch.setattr(begun, "_resolve_precision", lambda: {"name": "fp32"})
    monkeypatch.setattr(begun, "_prepare", lambda arms: pytest.fail("work was begun"))
    with pytest.raises(
        ValueError, match="'wall' needs a process for each run, and this one has 4 to make"
    ):
        begun._complete(set())


@pytest.mark.gpu
def test_this_gpu_is_green():
    assert set(self_check(torch.device("cuda", 0))["checks"].values()) == {"ok"}
