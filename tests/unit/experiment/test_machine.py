"""What a machine says of itself: imports that fail are told, and end nothing."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from bench import registry
from bench.experiment import machine
from bench.experiment.machine import check_import, dali_batch, gpu_fields, main, torch_facts


def test_an_import_that_fails_is_told(tmp_path, monkeypatch):
    (tmp_path / "is_broken.py").write_text("raise OSError('libcuda.so.1:\\n cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert check_import("json").error is None
    assert check_import("is_broken").error == "OSError: libcuda.so.1: cannot open"


def test_the_facts_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "MODULES", ("torch", "no_such_module", "bench.experiment.suite"))
    file = tmp_path / "deep" / "machine.json"
    assert main([f"--json={file}"]) == 0
    content = json.loads(file.read_text())
    assert content["imports"]["no_such_module"]["error"].startswith("ModuleNotFoundError")
    assert content["imports"]["torch"]["error"] is None
    assert (
        content["torch"]["environment"]["torch"] == sys.modules["torch"].__version__.split("+")[0]
    )
    assert content["dali_batch"] == {
        "batch": "(4, 3, 8, 8) torch.float32 on cpu",
        "error": None,
    }


def test_a_red_dali_is_told_and_the_rest_kept(tmp_path, monkeypatch):
    def red() -> str:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(machine, "MODULES", ("bench.experiment.suite",))
    monkeypatch.setattr(machine, "dali_batch", red)
    file = tmp_path / "machine.json"
    assert main([f"--json={file}"]) == 1
    content = json.loads(file.read_text())
    assert content["dali_batch"] == {"batch": None, "error": "RuntimeError: no kernel image"}
    assert "gpu" in content["torch"]


def test_the_first_card_is_read_from_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_fields() == {}
    script = tmp_path / "nvidia-smi"
    values = ["NVIDIA H200", "580.1", "345 MHz", "1980 MHz", "3201 MHz", "3201 MHz", "700.00 W"]
    line = ", ".join([*values, "143771 MiB", "30"])
    script.write_text(f'#!/bin/sh\necho "{line}"\necho "another card"\n')
    script.chmod(0o755)
    fields = gpu_fields()
    assert (fields["name"], fields["clocks.max.sm"], fields["power.limit"]) == (
        "NVIDIA H200",
        "1980 MHz",
        "700.00 W",
    )
    script.write_text("#!/bin/sh\necho broken >&2\nexit 9\n")
    assert gpu_fields() == {"error": "broken"}


def test_a_torch_that_cannot_be_imported_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    facts = torch_facts()
    assert facts.error is not None
    assert facts.error.startswith("ModuleNotFoundError: import of torch halted")
    assert (facts.gpu, facts.environment) == (None, {})


def test_a_dali_batch_is_looked_at():
    assert dali_batch() == "(4, 3, 8, 8) torch.float32 on cpu"


def test_a_wrong_pixel_is_red(monkeypatch):
    class Grey:
        def __init__(self, split, spec) -> None:
            self._split = split

        def batches(self, order, start_step, stop_step):
            yield SimpleNamespace(images=torch.zeros(4, 3, 8, 8))

    monkeypatch.setattr(registry, "resolve", lambda kind, name: Grey)
    with pytest.raises(RuntimeError, match=r"a white pixel came out as \[0.0, 0.0, 0.0\]"):
        dali_batch()
