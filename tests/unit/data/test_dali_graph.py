"""DALI's GPU graph, built and serialised where there is no GPU: the CPU twin's operators, with transfers."""

import pytest
import torch

from bench.data.dali import build_pipeline
from tests.unit.data.test_loaders import HEIGHT, WIDTH, make_spec


def serialized(device: str, **how) -> bytes:
    """The graph for a device, built where there is no GPU and never run."""
    pipeline = build_pipeline(
        iter(()),
        make_spec(**how),
        batch_size=4,
        size=(HEIGHT, WIDTH),
        device=device,
        device_id=None,
    )
    return pipeline.serialize()


@pytest.mark.parametrize("cutout", [0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_gpu_graph_is_the_cpu_graph_with_transfers(dtype, cutout):
    """Images, labels and samples go over, crop and cutout run there, three outputs come from there; numbers stay on the host."""
    on_cpu, on_gpu = (serialized(device, dtype=dtype, cutout=cutout) for device in ("cpu", "gpu"))
    fed, last = (7, b"Erase_8") if cutout else (6, b"CropMirrorNormalize_6")
    assert on_gpu.count(b"ExternalSource\x1a") == fed
    assert on_gpu.count(b"\x13CropMirrorNormalize") == 1
    assert on_gpu.count(b"\x05Erase") == (cutout > 0)
    assert on_gpu.replace(b"gpu", b"cpu") == on_cpu
    assert b"gpu" not in on_cpu
    for moved in (last, *(b"ExternalSource_%d" % number for number in range(3))):
        assert moved + b"\x12\x03gpu" in on_gpu
    assert not any(b"ExternalSource_%d\x12\x03gpu" % number in on_gpu for number in range(3, fed))


def test_a_dtype_that_dali_does_not_give_is_refused():
    with pytest.raises(
        ValueError,
        match=r"data.loader: dali gives torch.float32, torch.float16, not torch.bfloat16",
    ):
        serialized("cpu", dtype=torch.bfloat16)
