"""The precision is as asked for, or the faster of two and says so."""

import time

import pytest
import torch

from bench.runtime.precision import PROBE_STEPS, check_precision, probe_step_s, resolve

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def never() -> dict[str, float]:
    raise AssertionError("probed")


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(ValueError, match=r"precision: 'fp16'.*auto, bf16, fp32"):
        check_precision("fp16", CPU)


@pytest.mark.parametrize(("asked", "device"), [("auto", CPU), ("bf16", CPU), ("fp32", CPU), ("fp16", GPU)])
def test_the_others_are_allowed(asked, device):
    check_precision(asked, device)


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("asked", ["fp32", "bf16", "fp16"])
def test_an_explicit_precision_is_not_probed(asked, device):
    assert resolve(asked, device, never) == {"name": asked, "reason": "asked for", "probe_s": None}


@pytest.mark.parametrize("probe_s", [{"fp32": 0.2, "bf16": 0.1}, {"fp32": 0.1, "bf16": 0.2}])
def test_auto_on_a_cpu_takes_the_faster_and_records_both(probe_s):
    record = resolve("auto", CPU, lambda: dict(probe_s))
    assert record["name"] == min(probe_s, key=probe_s.get)
    assert record["probe_s"] == probe_s
    assert f"{PROBE_STEPS - 1} eager steps" in record["reason"]


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_a_gpu_asks_the_gpu(monkeypatch, has_bf16, name):
    emulated = {True: True, False: has_bf16}
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: emulated[including_emulation])
    record = resolve("auto", GPU, never)
    assert (record["name"], record["probe_s"]) == (name, None)


def test_the_probe_takes_the_fastest_step_under_each_precision_but_never_the_first(monkeypatch):
    """Step durations by precision, the first one the shortest; each step says in which precision it ran."""
    falling = [float(duration) for duration in range(PROBE_STEPS, 1, -1)]
    durations_s = {torch.float32: iter([0.25, *falling]), torch.bfloat16: iter([0.5, *(3 + s for s in falling)])}
    now_s, ran_in = [100.0], []

    def step() -> None:
        dtype = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        ran_in.append(dtype)
        now_s[0] += next(durations_s[dtype])

    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    assert probe_step_s(step) == {"fp32": 2.0, "bf16": 5.0}
    assert ran_in == [torch.float32] * PROBE_STEPS + [torch.bfloat16] * PROBE_STEPS
