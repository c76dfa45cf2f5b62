"""The op `augment` on a CPU: against a slow meaning, its draws, its memory, compiled, traced, and
what it refuses.
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
    IMAGENET,
    MODES,
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
    words_ = {"pad": 3, "pad_mode": pad_mode, "flip": flip, "cutout": cutout, **IMAGENET}
    images = make_images(11, 9, 6)
    for epoch in (0, 1, 6):
        result = eager(images, epoch=epoch, dtype=dtype, **words_)
        check_images(result, expected(images, SAMPLES, seed=BIG_SEED, epoch=epoch, **words_))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_size_seed_and_epoch(data):
    height, width, n = (
        data.draw(st.integers(1, most), label) for label, most in (("H", 20), ("W", 20), ("N", 6))
    )
    pad_mode, flip, _ = data.draw(st.sampled_from(MODES))
    recipe = {
        "pad": data.draw(st.integers(0, min(height, width) - 1)),
        "pad_mode": pad_mode,
        "flip": flip,
        "cutout": data.draw(st.integers(0, 25)),
        "mean": tuple(data.draw(st.lists(st.floats(0, 1), min_size=3, max_size=3))),
        "std": tuple(data.draw(st.lists(st.floats(0.2, 1), min_size=3, max_size=3))),
    }
    seed = data.draw(st.integers(0, 2**63 - 1))
    epoch = data.draw(st.integers(0, 2**31 - 1))
    samples = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5)))
    images = make_images(n, height, width)
    result = eager(images, samples, seed=seed, epoch=epoch, **recipe)
    with torch.compiler.set_stance("force_eager"):  # what is compiled on a CPU, line by line
        resident = Resident(images, Recipe(**recipe, dtype=torch.float32))
        batch = resident.batch(samples, seed=seed, epoch=epoch)
    assert torch.equal(batch, result)
    # A mean near a byte leaves a difference near 0, where only the absolute error counts.
    torch.testing.assert_close(
        result.double(),
        torch.from_numpy(expected(images, samples, seed=seed, epoch=epoch, **recipe)),
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", BITS)
@pytest.mark.parametrize("pad_mode", ["zero", "reflect"])
def test_before_normalisation_pixels_are_exact(pad_mode, dtype):
    images = make_images(11, 9, 12)
    result = eager(images, pad_mode=pad_mode, dtype=dtype, **RAW)
    recipe = {**CIFAR, **RAW, "pad_mode": pad_mode}
    assert np.array_equal(
        result.double().numpy(), expected(images, SAMPLES, seed=BIG_SEED, epoch=5, **recipe).round()
    )


def test_random_words_are_the_streams():
    samples = torch.tensor([0, 1, 49_999, 2**32 - 1])
    for seed, epoch in ((0, 0), (BIG_SEED, 7), (2**32, 2**31 - 1)):
        drawn = reference.philox4x32(samples, reference.draw_numbers(seed, epoch, samples.device))
        assert np.array_equal(
            torch.stack(drawn, 1).numpy(), words(seed, Stream.AUGMENT, samples.numpy(), epoch)
        )


def test_alternating_mirrors_every_other_epoch():
    images = make_images(40, 4, 4)
    samples = torch.arange(40)
    first, second, third = (
        eager(images, samples, epoch=epoch, pad=0, flip="alternating") for epoch in (0, 1, 2)
    )
    assert torch.equal(first, second.flip(3))
    assert torch.equal(first, third)
    mirrored = (first != eager(images, samples, pad=0, flip="none")).flatten(1).any(1).sum()
    assert 8 < mirrored < 32  # of 38 that are not of one colour


def test_a_cutout_is_clipped_at_the_border():
    result = eager(make_images(200, 8, 8), torch.arange(1, 199), cutout=6, flip="none", pad=0)
    zeros = (result == 0).all(1).flatten(1).sum(1)
    assert (zeros.min(), zeros.max()) == (9, 36)


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_memory_and_dtype(batch):
    images = make_images(11, 9, 6)
    before = images.clone()
    result = eager(images, torch.arange(batch), dtype=torch.float16)
    assert (result.shape, result.dtype, result.stride()) == (
        (batch, 3, 9, 6),
        torch.float16,
        (162, 1, 18, 3),
    )
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
    [{}, {"pad_mode": "zero", "flip": "alternating", "cutout": 3, "dtype": torch.float16}],
)
def test_opcheck(changes):
    torch.library.opcheck(
        augment_op, (make_images(11, 9, 6), SAMPLES, BIG_SEED, 3), {**CIFAR, **changes}
    )


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
    """Traced without a GPU: torch finds from the kernel's own code that it writes nothing but its
    result.
    """
    monkeypatch.setattr(
        triton.runtime.driver,
        "_active",
        SimpleNamespace(get_current_target=lambda: GPUTarget("cuda", 90, 32)),
    )
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    model = torch.compile(
        lambda x, samples: augment(x, samples, Recipe(**CIFAR), seed=3, epoch=1),
        fullgraph=True,
        backend=aot_autograd(fw_compiler=keep),
    )
    with FakeTensorMode():
        images = torch.empty((7, 9, 6, 3), dtype=torch.uint8, device="cuda")
        result = model(images, torch.empty(4, dtype=torch.int64, device="cuda"))
    assert (result.shape, result.stride(), result.device.type) == (
        (4, 3, 9, 6),
        (162, 1, 18, 3),
        "cuda",
    )
    kernels = [node for node in graphs[0].graph.nodes if "triton" in node.name]
    assert [node.kwargs["tensors_to_clone"] for node in kernels] == [["out"]]


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"dtype": torch.float64}, TypeError, "float64"),
        ({"pad": 6}, ValueError, r"\[0, 6\).*not 6"),
        ({"pad": -1}, ValueError, "-1"),
        ({"pad_mode": "edge"}, ValueError, "zero.*edge"),
        ({"flip": "always"}, ValueError, "alternating.*always"),
        ({"cutout": -2}, ValueError, "-2"),
        ({"seed": 2**63}, ValueError, str(2**63)),
        ({"seed": -1}, ValueError, "-1"),
        ({"epoch": 2**31}, ValueError, str(2**31)),
        ({"mean": (0.5,)}, ValueError, "three"),
        ({"std": (0.5, 0.5, 0.0)}, ValueError, "above 0"),
    ],
)
def test_a_wrong_word_or_number_is_refused(changes, error, text):
    with pytest.raises(error, match=text):
        eager(make_images(11, 9, 6), **changes)
    counters = {key: changes[key] for key in ("seed", "epoch") if key in changes}
    recipe = Recipe(
        **{**CIFAR, **{key: value for key, value in changes.items() if key not in counters}}
    )
    with pytest.raises(error, match=text):
        Resident(make_images(11, 9, 6), recipe).batch(
            SAMPLES, **{"seed": 0, "epoch": 0, **counters}
        )


@pytest.mark.parametrize(
    ("images", "samples", "error"),
    [
        (torch.zeros(2, 9, 6, 3), SAMPLES, TypeError),
        (make_images(2, 9, 6), SAMPLES.int(), TypeError),
        (make_images(2, 9, 6).permute(0, 2, 1, 3), SAMPLES, ValueError),
        (make_images(2, 9, 6)[..., :1].contiguous(), SAMPLES, ValueError),
        (make_images(2, 9, 6)[0], SAMPLES, ValueError),
        (make_images(2, 9, 6), SAMPLES[None], ValueError),
        (make_images(2, 9, 6), SAMPLES.to("meta"), ValueError),
    ],
)
def test_a_wrong_tensor_is_refused(images, samples, error):
    with pytest.raises(error, match="images and samples must be"):
        eager(images, samples)
    with pytest.raises(error, match="images and samples must be"):
        Resident(images, Recipe(**CIFAR)).batch(samples, seed=0, epoch=0)
