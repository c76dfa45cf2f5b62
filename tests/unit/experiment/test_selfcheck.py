"""The self-check: green here, red for a fault planted in any loader or in compiled code.

It is kept until something changes.
"""

from dataclasses import replace

import pytest
import torch

from bench.data import dali, loaders
from bench.data.order import Order, Rows
from bench.experiment import selfcheck
from bench.experiment.selfcheck import self_check

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
    assert record.checks == {
        "loader dali": "ok",
        "loader resident": "ok",
        "loader torch": "ok",
        "compiled steps": "ok",
    }
    monkeypatch.setattr(selfcheck, "outcome", lambda check: pytest.fail("checked twice"))
    assert self_check(CPU) == record
    assert [path.name for path in cache.glob("*.json")] == [f"{record.key}.json"]


def test_another_driver_is_checked_anew(monkeypatch, tmp_path):
    checks = []

    def note(check) -> str:
        checks.append(check)
        return "ok"

    monkeypatch.setattr(selfcheck, "outcome", note)
    for driver in ("580.1", "580.2", "580.1"):
        (tmp_path / "version").write_text(
            f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Thu"
        )
        monkeypatch.setattr("bench.runtime.environment.DRIVER", tmp_path / "version")
        assert self_check(CPU).facts["gpu_driver"] == driver
    assert len(checks) == 2 * 4


class Skipping(Order):
    """An order that loses each batch's first sample and gives its second twice."""

    def rows(self, step: int) -> Rows:
        rows = super().rows(step)
        return replace(rows, samples=rows.samples[[1, *range(1, len(rows.samples))]])


def skipping_order(order: Order) -> Skipping:
    """Make of an order one that loses samples."""
    return Skipping(
        samples=order.samples,
        global_batch_size=order.global_batch_size,
        rank=order.rank,
        world_size=order.world_size,
        seed=order.seed,
        last_batch=order.last_batch,
    )


def plant(monkeypatch, name: str, fault: str) -> None:
    """Give a loader a fault: of the crop's place, of the mirroring, or of the samples."""
    loader = LOADERS[name]
    true_batches = loader.batches

    def moved_pixels(self, order, start: int, stop: int):
        for batch in true_batches(self, order, start, stop):
            if fault == "offset":
                images = batch.images.roll(1, 2)
            else:
                images = batch.images.flip(3)
            yield replace(batch, images=images)

    def skipping(self, order, start: int, stop: int):
        yield from true_batches(self, skipping_order(order), start, stop)

    monkeypatch.setattr(loader, "batches", skipping if fault == "dropped" else moved_pixels)


@pytest.mark.parametrize(
    ("fault", "beginning"),
    [
        ("offset", "pixels differ by"),
        ("mirrored twice", "pixels differ by"),
        ("dropped", "other samples"),
    ],
)
@pytest.mark.parametrize("name", LOADERS)
def test_a_fault_in_a_loader_is_found(cache, monkeypatch, name, fault, beginning):
    plant(monkeypatch, name, fault)
    message = selfcheck.check_loader(name, CPU)
    assert message.startswith(beginning)
    monkeypatch.setattr(selfcheck, "check_steps", lambda device: "ok")
    with pytest.raises(
        RuntimeError, match=f"loader {name}: {message[:15]}.*; nothing is timed here"
    ):
        self_check(CPU)
    assert not list(cache.glob("*.json"))


def test_compiled_steps_that_compute_something_else_are_found(monkeypatch):
    true_compile = selfcheck.compile_module

    def compile_wrongly(network, mode: str) -> None:
        network.head.weight.data.mul_(1.5)
        true_compile(network, mode)

    monkeypatch.setattr(selfcheck, "compile_module", compile_wrongly)
    assert selfcheck.check_steps(CPU).startswith("losses [")


def test_a_check_that_fails_altogether_is_red(monkeypatch):
    monkeypatch.setattr(selfcheck, "check_loader", lambda name, device: 1 // 0)
    with pytest.raises(
        RuntimeError,
        match=r"loader dali: ZeroDivisionError: .*; loader resident: ZeroDivisionError",
    ):
        self_check(CPU)


def test_a_cache_that_can_only_be_read_harms_nothing(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(selfcheck, "outcome", lambda check: "ok")
    assert set(self_check(CPU).checks.values()) == {"ok"}


@pytest.mark.gpu
def test_this_gpu_is_green():
    assert set(self_check(torch.device("cuda", 0)).checks.values()) == {"ok"}
