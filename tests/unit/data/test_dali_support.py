"""Every operator, device and dtype that a configuration can ask DALI for is one that DALI has.

No GPU is needed: an operator's dtypes are read from the symbols of DALI's libraries.
"""

from itertools import product

import numpy as np
import pytest
import torch
from nvidia.dali import Pipeline, fn, types

from bench.data.dali import build_pipeline
from bench.data.feed import FeedMaker
from tests.unit.data.dali_symbols import TEMPLATES, Symbols, Use, uses
from tests.unit.data.test_loaders import BATCH, HEIGHT, WIDTH, make_order, make_spec, make_split

DTYPES = [torch.float32, torch.float16]
PAD_MODES = ["zero", "reflect"]
FLIPS = ["none", "random", "alternating"]
PADS = [0, 4]
CUTOUTS = [0, 3]

# What leaves no symbol that names a dtype, and why. Each is run below, on a GPU where it is one's.
BYTES = "moves bytes, whatever their dtype"
WITHOUT_SYMBOL = {
    Use("ExternalSource", "cpu", None, types.UINT8): BYTES,
    Use("ExternalSource", "cpu", None, types.INT64): BYTES,
    Use("ExternalSource", "cpu", None, types.INT32): BYTES,
    Use("ExternalSource", "cpu", None, types.FLOAT): BYTES,
    Use("Copy", "gpu", types.UINT8, types.UINT8): BYTES,
    Use("Copy", "gpu", types.INT64, types.INT64): BYTES,
    # Its loops are numbered lambdas of one function.
    Use("Cast", "cpu", types.FLOAT, types.FLOAT16): "its symbols name no dtype",
}
ON_GPU = [use for use in WITHOUT_SYMBOL if use.device == "gpu"]
ON_CPU = [use for use in WITHOUT_SYMBOL if use.device == "cpu"]
NUMPY_DTYPES = {
    types.UINT8: np.uint8,
    types.INT32: np.int32,
    types.INT64: np.int64,
    types.FLOAT: np.float32,
    types.FLOAT16: np.float16,
}


@pytest.fixture(scope="module")
def symbols() -> Symbols:
    return Symbols()


def make_pipeline(device: str, spec) -> Pipeline:
    """The loader's own pipeline, fed with real batches."""
    split = make_split()
    pad = spec.augmentation.pad
    images = np.pad(split.images, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    size = (HEIGHT, WIDTH)
    maker = FeedMaker(images, split.labels, spec.augmentation, size=size, kept=9)
    feeds = map(maker.make, map(make_order().rows, range(7)))
    return build_pipeline(feeds, spec, batch_size=BATCH, size=size, device=device, device_id=None)


def configured_uses() -> set[Use]:
    """The uses of all graphs that configurations can ask for."""
    all_uses = set()
    configurations = product(DTYPES, PAD_MODES, FLIPS, PADS, CUTOUTS, ["cpu", "gpu"])
    for dtype, pad_mode, flip, pad, cutout, device in configurations:
        spec = make_spec(dtype=dtype, pad_mode=pad_mode, flip=flip, pad=pad, cutout=cutout)
        all_uses |= set(uses(make_pipeline(device, spec), make_pipeline("cpu", spec)))
    return all_uses


def not_implemented(all_uses: set[Use], symbols: Symbols) -> list[str]:
    """Those of which DALI's libraries show nothing."""
    unknown = all_uses - WITHOUT_SYMBOL.keys()
    return [str(use) for use in sorted(unknown, key=str) if not symbols.implement(use)]


def test_all_that_a_configuration_can_ask_for_is_implemented(symbols):
    all_uses = configured_uses()
    assert not_implemented(all_uses, symbols) == []
    assert WITHOUT_SYMBOL.keys() <= all_uses  # none is listed that nothing uses
    operators = {(use.operator, use.device) for use in all_uses - WITHOUT_SYMBOL.keys()}
    assert operators == TEMPLATES.keys()


def erasing_pipeline(device: str) -> Pipeline:
    """A graph that erases float16."""
    images = [np.zeros((2, 8, 8, 3), np.uint8)]
    pipeline = Pipeline(batch_size=2, num_threads=1, device_id=None)
    with pipeline:
        node = fn.external_source(source=images, layout="HWC")
        if device == "gpu":
            node = node.gpu()
        node = fn.crop_mirror_normalize(node, device=device, dtype=types.FLOAT16)
        node = fn.erase(node, device=device, anchor=[1, 1], shape=[2, 2], axis_names="HW")
        pipeline.set_outputs(node)
    return pipeline


def test_a_graph_that_erases_float16_on_a_gpu_is_reported(symbols):
    graph_uses = set(uses(erasing_pipeline("gpu"), erasing_pipeline("cpu")))
    assert not_implemented(graph_uses, symbols) == ["Erase on gpu: FLOAT16 to FLOAT16"]


def test_the_same_graph_on_the_cpu_is_not(symbols):
    graph_uses = set(uses(erasing_pipeline("cpu"), erasing_pipeline("cpu")))
    assert len(graph_uses) == 3
    assert not_implemented(graph_uses, symbols) == []


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (Use("Erase", "gpu", types.FLOAT, types.FLOAT), True),
        (Use("Erase", "gpu", types.FLOAT16, types.FLOAT16), False),
        (Use("Erase", "cpu", types.FLOAT16, types.FLOAT16), True),
        (Use("CropMirrorNormalize", "gpu", types.UINT8, types.FLOAT), True),
        (Use("CropMirrorNormalize", "gpu", types.UINT8, types.FLOAT16), True),
        (Use("CropMirrorNormalize", "gpu", types.UINT8, types.INT64), False),
        (Use("CropMirrorNormalize", "cpu", types.UINT8, types.FLOAT16), True),
        (Use("CropMirrorNormalize", "cpu", types.UINT8, types.INT64), False),
        (Use("Cast", "gpu", types.FLOAT, types.FLOAT16), True),
    ],
    ids=str,
)
def test_symbols_say_what_is_implemented(symbols, use, expected):
    assert symbols.implement(use) == expected


def run_use(use: Use, device_id: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Run one use alone on numbers that each dtype holds; what went in, and what came out."""
    is_cast = use.operator == "Cast"
    input_dtype = use.input_dtype or use.output_dtype
    numbers = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(NUMPY_DTYPES[input_dtype])
    pipeline = Pipeline(batch_size=4, num_threads=1, device_id=device_id)
    with pipeline:
        node = fn.external_source(source=[numbers], no_copy=True)
        if use.device == "gpu":
            node = node.gpu()
        if is_cast:
            node = fn.cast(node, device=use.device, dtype=use.output_dtype)
        pipeline.set_outputs(node)
    (output,) = pipeline.run()
    assert output.dtype == use.output_dtype
    return numbers, output.as_cpu().as_array()


@pytest.mark.parametrize("use", ON_CPU, ids=str)
def test_what_leaves_no_symbol_runs_on_the_cpu(use):
    numbers, result = run_use(use, device_id=None)
    assert np.array_equal(result, numbers)
    assert result.dtype == NUMPY_DTYPES[use.output_dtype]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("use", ON_GPU, ids=str)
def test_what_leaves_no_symbol_runs_on_a_gpu(use):
    numbers, result = run_use(use, device_id=0)
    assert np.array_equal(result, numbers)
    assert result.dtype == NUMPY_DTYPES[use.output_dtype]
