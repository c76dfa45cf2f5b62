"""The op `augment` on a CPU: against its slow meaning, compiled, traced, and what it refuses.

Also what it draws, and what memory it takes and gives.
"""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import triton
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.backends.common import aot_autograd
from torch._subclasses import FakeTensorMode
from triton.backends.compiler import GPUTarget

from bench.runtime.streams import Stream, words
from kernels.augment import reference
from kernels.augment.op import Resident, augment, augment_op
from kernels.augment.reference import Recipe
from tests.kernels.augment_cases import (
    BIG_SEED,
    BITS,
    CIFAR,
    FLIPS,
    IMAGENET,
    MODES,
    PAD_MODES,
    RAW,
    check_images,
    expected,
    make_images,
)

SAMPLES = torch.tensor([3, 0, 10, 3])


def eager(images, samples=SAMPLES, *, seed=BIG_SEED, epoch=5, **changes):
    return augment(images, samples, Recipe(**{**CIFAR, **changes}), seed=seed, epoch=epoch)


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize(("pad_mode", "flip", "cutout"), MODES)
def test_it_is_the_slow_meaning(pad_mode, flip, cutout, dtype):
    recipe = {"pad": 3, "pad_mode": pad_mode, "flip": flip, "cutout": cutout, **IMAGENET}
    images = make_images(11, 9, 6)
    for epoch in (0, 1, 6):
        result = eager(images, epoch=epoch, dtype=dtype, **recipe)
        check_images(result, expected(images, SAMPLES, seed=BIG_SEED, epoch=epoch, **recipe))


@st.composite
def recipes(draw, most_pad):
    """Any recipe for float32 whose pad an image can have."""
    return {
        "pad": draw(st.integers(0, most_pad)),
        "pad_mode": draw(st.sampled_from(PAD_MODES)),
        "flip": draw(st.sampled_from(FLIPS)),
        "cutout": draw(st.integers(0, 25)),
        "mean": draw(st.tuples(*[st.floats(0, 1)] * 3)),
        "std": draw(st.tuples(*[st.floats(0.2, 1)] * 3)),
    }


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    n=st.integers(1, 6),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 2**31 - 1),
)
def test_any_size_seed_and_epoch(data, n, height, width, seed, epoch):
    recipe = data.draw(recipes(most_pad=min(height, width) - 1))
    samples = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5)))
    images = make_images(n, height, width)
    result = eager(images, samples, seed=seed, epoch=epoch, **recipe)
    with torch.compiler.set_stance("force_eager"):  # what is compiled on a CPU, line by line
        resident = Resident(images, Recipe(**recipe, dtype=torch.float32))
        from_resident = resident.batch(samples, seed=seed, epoch=epoch)
    assert torch.equal(from_resident, result)
    meant = torch.from_numpy(expected(images, samples, seed=seed, epoch=epoch, **recipe))
    # A mean near a byte leaves a difference near 0, where only the absolute error counts.
    torch.testing.assert_close(result.double(), meant, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("pad_mode", PAD_MODES)
def test_before_normalisation_pixels_are_exact(pad_mode, dtype):
    images = make_images(11, 9, 12)
    result = eager(images, pad_mode=pad_mode, dtype=dtype, **RAW)
    recipe = {**CIFAR, **RAW, "pad_mode": pad_mode}
    meant = expected(images, SAMPLES, seed=BIG_SEED, epoch=5, **recipe).round()
    assert np.array_equal(result.double().numpy(), meant)


def test_random_words_are_the_streams():
    samples = torch.tensor([0, 1, 49_999, 2**32 - 1])
    for seed, epoch in ((0, 0), (BIG_SEED, 7), (2**32, 2**31 - 1)):
        numbers = reference.draw_numbers(seed, epoch, samples.device)
        drawn = torch.stack(reference.philox4x32(samples, numbers), 1)
        meant = words(seed, Stream.AUGMENT, samples.numpy(), epoch)
        assert np.array_equal(drawn.numpy(), meant)


def test_alternating_mirrors_every_other_epoch():
    images = make_images(40, 4, 4)
    samples = torch.arange(40)
    first, second, third = (
        eager(images, samples, epoch=epoch, pad=0, flip="alternating") for epoch in (0, 1, 2)
    )
    assert torch.equal(first, second.flip(3))
    assert torch.equal(first, third)
    unmirrored = eager(images, samples, pad=0, flip="none")
    mirrored_count = (first != unmirrored).flatten(1).any(1).sum()
    assert 8 < mirrored_count < 32  # of 38 that are not of one colour


def test_a_cutout_is_clipped_at_the_border():
    result = eager(make_images(200, 8, 8), torch.arange(1, 199), cutout=6, flip="none", pad=0)
    zeros = (result == 0).all(1).flatten(1).sum(1)
    assert (zeros.min(), zeros.max()) == (9, 36)


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_memory_and_dtype(batch):
    images = make_images(11, 9, 6)
    before = images.clone()
    result = eager(images, torch.arange(batch), dtype=torch.float16)
    assert result.shape == (batch, 3, 9, 6)
    assert result.stride() == (162, 1, 18, 3)
    assert result.dtype == torch.float16
    assert torch.equal(images, before)


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler")
@torch._dynamo.config.patch(recompile_limit=1)  # one recipe's graph is no recompile of another's
def test_one_compilation_serves_every_seed_epoch_and_size():
    images = make_images(32, 32, 32)
    others = make_images(7, 32, 32)
    for changes in (
        {},
        {"pad_mode": "zero", "flip": "alternating", "cutout": 5, "dtype": torch.bfloat16},
        {"flip": "none"},
    ):
        recipe = {**CIFAR, **changes}
        residents = {of: Resident(of, Recipe(**recipe)) for of in (images, others)}
        residents[images].batch(torch.tensor([4]), seed=0, epoch=0)
        with torch.compiler.set_stance("fail_on_recompile"):
            for of, batch, seed, epoch in (
                (images, 1, 0, 1),
                (images, 32, 1, 0),
                (others, 0, 1, 2),
                (others, 7, BIG_SEED, 3),
                (images, 300, 5, 2**31 - 1),
            ):
                samples = torch.arange(batch) % len(of)
                with torch.set_grad_enabled(seed != 1):
                    result = residents[of].batch(samples, seed=seed, epoch=epoch)
                plain = eager(of, samples, seed=seed, epoch=epoch, **recipe)
                assert torch.equal(result, plain)
                assert result.stride() == plain.stride()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"pad_mode": "zero", "flip": "alternating", "cutout": 3, "dtype": torch.float16},
            id="all changed",
        ),
    ],
)
def test_opcheck(changes):
    arguments = (make_images(11, 9, 6), SAMPLES, BIG_SEED, 3)
    torch.library.opcheck(augment_op, arguments, {**CIFAR, **changes})


def test_inside_anothers_compile_only_the_first_epoch_recompiles():
    images = make_images(11, 9, 6)

    def step(x, samples, epoch):
        return augment(x, samples, Recipe(**CIFAR), seed=BIG_SEED, epoch=epoch).relu()

    model = torch.compile(step, fullgraph=True, backend="aot_eager")
    for epoch in (2, 3):
        model(images, SAMPLES, epoch)
    with torch.compiler.set_stance("fail_on_recompile"):
        for epoch in (4, 9):
            assert torch.equal(model(images, SAMPLES, epoch), eager(images, epoch=epoch).relu())


def test_inside_anothers_compile_for_a_gpu_nothing_is_cloned(monkeypatch):
    """Traced without a GPU: from the kernel's code torch sees that it writes its result alone."""
    driver = SimpleNamespace(get_current_target=lambda: GPUTarget("cuda", 90, 32))
    monkeypatch.setattr(triton.runtime.driver, "_active", driver)
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    def step(x, samples):
        return augment(x, samples, Recipe(**CIFAR), seed=3, epoch=1)

    model = torch.compile(step, fullgraph=True, backend=aot_autograd(fw_compiler=keep))
    with FakeTensorMode():
        images = torch.empty((7, 9, 6, 3), dtype=torch.uint8, device="cuda")
        result = model(images, torch.empty(4, dtype=torch.int64, device="cuda"))
    assert result.shape == (4, 3, 9, 6)
    assert result.stride() == (162, 1, 18, 3)
    assert result.device.type == "cuda"
    kernels = [node for node in graphs[0].graph.nodes if "triton" in node.name]
    assert [node.kwargs["tensors_to_clone"] for node in kernels] == [["out"]]


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        pytest.param({"dtype": torch.float64}, TypeError, "float64", id="dtype"),
        pytest.param({"pad": 6}, ValueError, r"\[0, 6\).*not 6", id="pad of the image's width"),
        pytest.param({"pad": -1}, ValueError, "-1", id="pad below 0"),
        pytest.param({"pad_mode": "edge"}, ValueError, "zero.*edge", id="pad_mode"),
        pytest.param({"flip": "always"}, ValueError, "alternating.*always", id="flip"),
        pytest.param({"cutout": -2}, ValueError, "-2", id="cutout below 0"),
        pytest.param({"seed": 2**63}, ValueError, str(2**63), id="seed of 64 bits"),
        pytest.param({"seed": -1}, ValueError, "-1", id="seed below 0"),
        pytest.param({"epoch": 2**31}, ValueError, str(2**31), id="epoch of 32 bits"),
        pytest.param({"mean": (0.5,)}, ValueError, "three", id="mean of one channel"),
        pytest.param({"std": (0.5, 0.5, 0.0)}, ValueError, "above 0", id="std of 0"),
    ],
)
def test_a_wrong_word_or_number_is_refused(changes, error, text):
    images = make_images(11, 9, 6)
    with pytest.raises(error, match=text):
        eager(images, **changes)
    recipe = {**CIFAR, **changes}
    seed = recipe.pop("seed", 0)
    epoch = recipe.pop("epoch", 0)
    with pytest.raises(error, match=text):
        Resident(images, Recipe(**recipe)).batch(SAMPLES, seed=seed, epoch=epoch)


IMAGES = make_images(2, 9, 6)


@pytest.mark.parametrize(
    ("images", "samples", "error"),
    [
        pytest.param(torch.zeros(2, 9, 6, 3), SAMPLES, TypeError, id="float images"),
        pytest.param(IMAGES, SAMPLES.int(), TypeError, id="int32 samples"),
        pytest.param(IMAGES.permute(0, 2, 1, 3), SAMPLES, ValueError, id="not contiguous"),
        pytest.param(IMAGES[..., :1].contiguous(), SAMPLES, ValueError, id="one channel"),
        pytest.param(IMAGES[0], SAMPLES, ValueError, id="one image"),
        pytest.param(IMAGES, SAMPLES[None], ValueError, id="samples of two dimensions"),
        pytest.param(IMAGES, SAMPLES.to("meta"), ValueError, id="another device"),
    ],
)
def test_a_wrong_tensor_is_refused(images, samples, error):
    with pytest.raises(error, match="images and samples must be"):
        eager(images, samples)
    with pytest.raises(error, match="images and samples must be"):
        Resident(images, Recipe(**CIFAR)).batch(samples, seed=0, epoch=0)
