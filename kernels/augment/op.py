"""The public op `augment`: a batch of training images from resident uint8 ones, every random number from a counter.

On a GPU it is kernel.py's; on a CPU reference.py's or, for `Resident`, torch.compile's from a layout made for it.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import triton_op

from kernels.augment import reference
from kernels.augment.kernel import launch
from kernels.augment.reference import Recipe

PAD_MODES = ("zero", "reflect")
FLIPS = ("none", "random", "alternating")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SCHEMA = (
    "(Tensor images, Tensor samples, SymInt seed, SymInt epoch, *, SymInt pad, str pad_mode, str flip, SymInt cutout, "
    "float[] mean, float[] std, ScalarType dtype) -> Tensor"
)


def augment(
    images_NHWC: Tensor, samples: Tensor, recipe: Recipe, *, seed: int, epoch: int
) -> Tensor:
    """Images `samples` (int64 [B]) of uint8 [N, H, W, 3] as [B, 3, H, W] in channels-last memory; no host sync.

    Cropped at a random corner after padding by `pad` pixels (zero | reflect), mirrored (none | random | alternating:
    every other epoch), normalised by `mean` and `std` (fractions of 255), then a square of side `cutout` set to 0; of `dtype`.
    The draws are functions of (seed in [0, 2^63), sample, epoch in [0, 2^31)). Sample numbers are not checked on a GPU.

    On a CPU this is the reference, eager or in a surrounding torch.compile; `Resident` is the fast way there. Raises
    TypeError for a wrong dtype, ValueError for anything else.
    """
    check(images_NHWC, samples, recipe, seed, epoch)
    return augment_op(images_NHWC, samples, seed, epoch, **vars(recipe))


class Resident:
    """uint8 images [N, H, W, 3] that stay on their device, and batches of them by one recipe, the same as `augment`'s.

    On a CPU `compiled` asks for torch.compile's code instead of the reference's: one compilation for a size and a
    recipe, whatever seed, epoch, N and B, at 1.6 to 3.1 times the images' memory (32 px, pad 4).
    """

    def __init__(self, images_NHWC: Tensor, recipe: Recipe, *, compiled: bool = True) -> None:
        """Raises TypeError for a wrong dtype, ValueError for anything else."""
        check(
            images_NHWC,
            torch.empty(0, dtype=torch.int64, device=images_NHWC.device),
            recipe,
            seed=0,
            epoch=0,
        )
        self._images, self._recipe = images_NHWC, recipe
        self._windows: Tensor | None = None
        if compiled and images_NHWC.device.type == "cpu":
            self._windows = reference.windows(images_NHWC, recipe)
            self._batch = compiled_batch(images_NHWC.shape[1], recipe)
            self._row = reference.along_a_row(
                images_NHWC.shape[2], recipe.mean, recipe.std, images_NHWC.device
            )

    def batch(self, samples: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Images `samples` (int64 [B]) as [B, 3, H, W] in channels-last memory; no host sync."""
        if self._windows is None:
            with torch.cuda.device_of(self._images):  # Triton launches on the current device
                return augment(self._images, samples, self._recipe, seed=seed, epoch=epoch)
        check(self._images, samples, self._recipe, seed, epoch)
        views = (
            self._windows.view(self._windows.shape),
            samples.view(-1),
        )  # the marks stay on a tensor, so they go on views
        for view in views:
            torch._dynamo.decorators.mark_unbacked(view, 0)
        with torch.no_grad():  # torch guards on it, and a caller may change it between batches
            return self._batch(
                *views, reference.draw_numbers(seed, epoch, samples.device), self._row
            )[0]


@triton_op("kernels::augment", mutates_args=(), schema=SCHEMA)
def augment_op(images: Tensor, samples: Tensor, seed: int, epoch: int, **words: Any) -> Tensor:
    """`augment` as torch sees it: unchecked; on a CPU the reference."""
    recipe = Recipe(**words)
    if images.device.type == "cpu":
        return reference.augment(
            images, samples, reference.draw_numbers(seed, epoch, images.device), recipe
        )
    _, height, width, channels = images.shape
    shape = (len(samples), channels, height, width)
    out = torch.empty(
        shape, dtype=recipe.dtype, device=images.device, memory_format=torch.channels_last
    )
    launch(images, samples, out, recipe, seed=seed, epoch=epoch)
    return out


@functools.cache
def compiled_batch(height: int, recipe: Recipe) -> Callable[..., tuple[Tensor, Tensor]]:
    """Compiled `cropped` of `windows`, samples int64 [B], `draw_numbers` and `along_a_row`, for H rows.

    Isolated: what others compiled is no recompile of this. Both first dimensions must be marked unbacked: then one
    compilation serves every N and B, 0 and 1 too.
    """

    def batch(
        of: Tensor, samples: Tensor, numbers: Tensor, row: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        drawn = reference.draws(samples, numbers, recipe.pad, recipe.flip)
        return reference.cropped(of, samples, drawn, row, height=height, recipe=recipe)

    return torch.compile(batch, fullgraph=True, isolate_recompiles=True)  # type: ignore[call-overload]


def check(images: Tensor, samples: Tensor, recipe: Recipe, seed: int, epoch: int) -> None:
    """Raise TypeError for a wrong dtype, ValueError for a wrong shape, memory layout, device, word or number."""
    if images.dtype != torch.uint8 or samples.dtype != torch.int64:
        raise TypeError(
            f"images and samples must be torch.uint8 and torch.int64, not {images.dtype} and {samples.dtype}"
        )
    if (
        images.dim() != 4
        or images.shape[3] != 3
        or not images.is_contiguous()
        or samples.dim() != 1
    ):
        shapes = f"{tuple(images.shape)} with strides {images.stride()} and {tuple(samples.shape)}"
        raise ValueError(
            f"images and samples must be [N, H, W, 3], contiguous, and [B], not {shapes}"
        )
    if images.device != samples.device or images.device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"images and samples must be on the same CPU or CUDA device, not {images.device} and {samples.device}"
        )
    if recipe.dtype not in DTYPES:
        raise TypeError(f"dtype must be one of {DTYPES}, not {recipe.dtype}")
    if recipe.pad_mode not in PAD_MODES or recipe.flip not in FLIPS:
        raise ValueError(
            f"pad_mode: one of {PAD_MODES}, not {recipe.pad_mode!r}; flip: one of {FLIPS}, not {recipe.flip!r}"
        )
    size = min(images.shape[1:3])
    if not 0 <= recipe.pad < size or recipe.cutout < 0:
        raise ValueError(
            f"pad must be in [0, {size}) and cutout not negative, not {recipe.pad} and {recipe.cutout}"
        )
    if not len(recipe.mean) == len(recipe.std) == 3 or min(recipe.std) <= 0:
        raise ValueError(
            f"mean and std must be three numbers each, std above 0, not {recipe.mean} and {recipe.std}"
        )
    if not 0 <= seed < 2**63 or not 0 <= epoch < 2**31:
        raise ValueError(
            f"seed must be in [0, 2^63) and epoch in [0, 2^31), not {seed} and {epoch}"
        )
