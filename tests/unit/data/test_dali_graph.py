"""DALI's GPU graph, serialised where no GPU is: the CPU twin's operators, and transfers."""

import pytest
import torch

from bench.data.dali import build_pipeline
from tests.unit.data.test_loaders import HEIGHT, WIDTH, make_spec

# A device as the graph stores it: a string of length three. Without the length it would also be
# seen in the paths of source files, which the graph stores as well.
CPU = b"\x03cpu"
GPU = b"\x03gpu"
SENT_TO_GPU = 3  # inputs: images, labels, samples


def serialized(device: str, **changes) -> bytes:
    """The graph for a device, built where there is no GPU and never run."""
    spec = make_spec(**changes)
    size = (HEIGHT, WIDTH)
    pipeline = build_pipeline(
        iter(()), spec, batch_size=4, size=size, device=device, device_id=None
    )
    return pipeline.serialize()


def input_on_gpu(number: int) -> bytes:
    return b"ExternalSource_%d\x12" % number + GPU


@pytest.mark.parametrize(
    ("dtype", "cutout", "inputs", "last"),
    [
        (torch.float32, 0, 6, b"CropMirrorNormalize_6"),
        (torch.float16, 0, 6, b"CropMirrorNormalize_6"),
        (torch.float32, 3, 7, b"Erase_8"),
        (torch.float16, 3, 7, b"Cast_9"),
    ],
)
def test_the_gpu_graph_is_the_cpu_graph_with_transfers(dtype, cutout, inputs, last):
    """Images, labels and samples go to the GPU and come from there; numbers stay on the host."""
    on_cpu = serialized("cpu", dtype=dtype, cutout=cutout)
    on_gpu = serialized("gpu", dtype=dtype, cutout=cutout)
    assert on_gpu.count(b"ExternalSource\x1a") == inputs
    assert on_gpu.count(b"\x13CropMirrorNormalize") == 1
    assert on_gpu.count(b"\x05Erase") == (1 if cutout else 0)
    assert on_gpu.count(b"\n\x04Cast") == (1 if last == b"Cast_9" else 0)
    assert on_gpu.replace(GPU, CPU) == on_cpu
    assert GPU not in on_cpu
    assert last + b"\x12" + GPU in on_gpu
    sent = [number for number in range(inputs) if input_on_gpu(number) in on_gpu]
    assert sent == list(range(SENT_TO_GPU))


def test_a_dtype_that_dali_does_not_give_is_refused():
    message = r"data.loader: dali gives torch.float32, torch.float16, not torch.bfloat16"
    with pytest.raises(ValueError, match=message):
        serialized("cpu", dtype=torch.bfloat16)
