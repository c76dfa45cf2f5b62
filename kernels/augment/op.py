"""The public op `augment`: a batch of training images from resident uint8 ones.

Every random number comes from a counter. On a GPU the op is kernel.py's; on a CPU it is
reference.py's or, for `Resident`, what torch.compile makes of it from a memory layout of its own.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.library import triton_op

from kernels.augment import reference
from kernels.augment.kernel import launch
from kernels.augment.reference import Draws, Recipe, Row
from kernels.compiling import with_own_code

PAD_MODES = ("zero", "reflect")
FLIPS = ("none", "random", "alternating")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SEED_END = 2**63
EPOCH_END = 2**31

CompiledBatch = Callable[[Tensor, Tensor, Tensor, Row], tuple[Tensor, Tensor]]


def augment(
    images_NHWC: Tensor, samples: Tensor, recipe: Recipe, *, seed: int, epoch: int
) -> Tensor:
    """Make a batch [B, 3, H, W] in channels-last memory, of `recipe.dtype`; without a host sync.

    Takes the images `samples` (int64 [B]) of uint8 [N, H, W, 3]. Each is cropped at a random corner
    after padding by `pad` pixels (zero | reflect), mirrored (none | random | alternating: every
    other epoch), normalised by `mean` and `std` (fractions of 255), and a square of side `cutout`
    set to 0. Draws are functions of (seed in [0, 2^63), sample, epoch in [0, 2^31)). Sample numbers
    are not checked on a GPU. On a CPU this is the reference; `Resident` is the fast way there.

    Raises TypeError for a wrong dtype, ValueError for anything else.
    """
    check(images_NHWC, samples, recipe, seed, epoch)
    return augment_op(
        images_NHWC,
        samples,
        seed,
        epoch,
        pad=recipe.pad,
        pad_mode=recipe.pad_mode,
        flip=recipe.flip,
        cutout=recipe.cutout,
        mean=recipe.mean,
        std=recipe.std,
        dtype=recipe.dtype,
    )


class Resident:
    """Keep uint8 images [N, H, W, 3] on their device, and make batches of them by one recipe.

    Batches are the same as `augment`'s. On a CPU `compiled` asks for torch.compile's code instead
    of the reference's: one compilation for a size and a recipe, whatever seed, epoch, N and B, at
    1.6 to 3.1 times the images' memory (32 px, pad 4).
    """

    def __init__(self, images_NHWC: Tensor, recipe: Recipe, *, compiled: bool = True) -> None:
        """Raise TypeError for a wrong dtype, ValueError for anything else."""
        no_samples = torch.empty(0, dtype=torch.int64, device=images_NHWC.device)
        check(images_NHWC, no_samples, recipe, seed=0, epoch=0)
        self._images = images_NHWC
        self._recipe = recipe
        self._windows: Tensor | None = None
        if compiled and images_NHWC.device.type == "cpu":
            height = images_NHWC.shape[1]
            width = images_NHWC.shape[2]
            self._windows = reference.windows(images_NHWC, recipe)
            self._batch = compiled_batch(height, recipe)
            self._row = reference.along_a_row(width, recipe.mean, recipe.std, images_NHWC.device)

    def batch(self, samples: Tensor, *, seed: int, epoch: int) -> Tensor:
        """Make images `samples` (int64 [B]): [B, 3, H, W] in channels-last memory; no host sync."""
        if self._windows is None:
            with torch.cuda.device_of(self._images):  # Triton launches on the current device
                return augment(self._images, samples, self._recipe, seed=seed, epoch=epoch)
        check(self._images, samples, self._recipe, seed, epoch)
        numbers = reference.draw_numbers(seed, epoch, samples.device)
        windows = unbacked_view(self._windows)
        places = unbacked_view(samples)
        with torch.no_grad():  # torch guards on it, and a caller may change it between batches
            images, _ = self._batch(windows, places, numbers, self._row)
        return images


@triton_op("kernels::augment", mutates_args=())
def augment_op(
    images: Tensor,
    samples: Tensor,
    seed: int,
    epoch: int,
    *,
    pad: int,
    pad_mode: str,
    flip: str,
    cutout: int,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype,
) -> Tensor:
    """Do what `augment` says, unchecked; torch reads the op's schema from these types."""
    recipe = Recipe(
        pad=pad,
        pad_mode=pad_mode,
        flip=flip,
        cutout=cutout,
        mean=tuple(mean),
        std=tuple(std),
        dtype=dtype,
    )
    if images.device.type == "cpu":
        numbers = reference.draw_numbers(seed, epoch, images.device)
        return reference.augment(images, samples, numbers, recipe)
    _, height, width, channels = images.shape
    out = torch.empty(
        (len(samples), channels, height, width),
        dtype=dtype,
        device=images.device,
        memory_format=torch.channels_last,
    )
    launch(images, samples, out, recipe, seed=seed, epoch=epoch)
    return out


@functools.cache
def compiled_batch(height: int, recipe: Recipe) -> CompiledBatch:
    """Compile the making of a batch from `windows` of images of H rows.

    Its arguments are `windows`, samples int64 [B], `draw_numbers` and `along_a_row`; its results
    those of `cropped`. The first dimensions of the first two must be marked unbacked: then one
    compilation serves every N and B, 0 and 1 too.
    """

    def batch(windows: Tensor, samples: Tensor, numbers: Tensor, row: Row) -> tuple[Tensor, Tensor]:
        drawn: Draws = reference.draws(samples, numbers, recipe.pad, recipe.flip)
        return reference.cropped(windows, samples, drawn, row, height=height, recipe=recipe)

    return torch.compile(with_own_code(batch), fullgraph=True)


def unbacked_view(tensor: Tensor) -> Tensor:
    """Return a view whose first dimension torch.compile takes as any number.

    A view, because the mark stays on the tensor that it is put on.
    """
    view = tensor.view(tensor.shape)
    torch._dynamo.decorators.mark_unbacked(view, 0)
    return view


def check(images: Tensor, samples: Tensor, recipe: Recipe, seed: int, epoch: int) -> None:
    """Raise TypeError for a wrong dtype, ValueError for a wrong shape, memory, device or number."""
    check_tensors(images, samples)
    check_recipe(recipe, image_size=min(images.shape[1:3]))
    if not 0 <= seed < SEED_END or not 0 <= epoch < EPOCH_END:
        raise ValueError(
            f"seed must be in [0, 2^63) and epoch in [0, 2^31), not {seed} and {epoch}"
        )


def check_tensors(images: Tensor, samples: Tensor) -> None:
    """Raise TypeError or ValueError where images or sample numbers are not what `augment` takes."""
    if images.dtype != torch.uint8 or samples.dtype != torch.int64:
        raise TypeError(
            "images and samples must be torch.uint8 and torch.int64, "
            f"not {images.dtype} and {samples.dtype}"
        )
    is_NHWC = images.dim() == 4 and images.shape[3] == 3 and images.is_contiguous()
    if not is_NHWC or samples.dim() != 1:
        shapes = f"{tuple(images.shape)} with strides {images.stride()} and {tuple(samples.shape)}"
        raise ValueError(
            f"images and samples must be [N, H, W, 3], contiguous, and [B], not {shapes}"
        )
    if images.device != samples.device or images.device.type not in ("cpu", "cuda"):
        raise ValueError(
            "images and samples must be on the same CPU or CUDA device, "
            f"not {images.device} and {samples.device}"
        )


def check_recipe(recipe: Recipe, image_size: int) -> None:
    """Raise TypeError or ValueError for a recipe that images of this shorter side cannot take."""
    if recipe.dtype not in DTYPES:
        raise TypeError(f"dtype must be one of {DTYPES}, not {recipe.dtype}")
    if recipe.pad_mode not in PAD_MODES:
        raise ValueError(f"pad_mode: one of {PAD_MODES}, not {recipe.pad_mode!r}")
    if recipe.flip not in FLIPS:
        raise ValueError(f"flip: one of {FLIPS}, not {recipe.flip!r}")
    if not 0 <= recipe.pad < image_size or recipe.cutout < 0:
        raise ValueError(
            f"pad must be in [0, {image_size}) and cutout not negative, "
            f"not {recipe.pad} and {recipe.cutout}"
        )
    if not len(recipe.mean) == len(recipe.std) == 3 or min(recipe.std) <= 0:
        raise ValueError(
            "mean and std must be three numbers each, std above 0, "
            f"not {recipe.mean} and {recipe.std}"
        )
