"""The op `augment` on a GPU: one Triton program makes some rows of one output image.

reference.py says what it means. The launch also runs on CPU tensors where TRITON_INTERPRET=1 was
set before the import.
"""

from array import array
from typing import TypedDict

import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton
from triton.runtime import JITFunction

from kernels.augment.reference import Recipe

TILE = (
    4096  # elements of a program: 32 a thread; fewer instructions each than 8 or 16, and no spills
)
WARPS = 4


class Constants(TypedDict):
    """What the kernel is compiled for; a program's ROWS and a row's LINE are powers of two."""

    H: int
    W: int
    ROWS: int
    LINE: int
    PAD: int
    REFLECT: bool
    FLIP: str
    CUTOUT: int


@triton.jit
def reflected(index, size: tl.constexpr):
    """Mirror indices in (-size, 2 * size - 1) at the borders into [0, size)."""
    index = tl.abs(index)
    return tl.where(index < size, index, 2 * (size - 1) - index)


@triton.jit(do_not_specialize=["seed", "epoch"])
def augment_kernel(
    images, samples, out, seed, epoch, shift_0, shift_1, shift_2, scale_0, scale_1, scale_2,
    H: tl.constexpr, W: tl.constexpr, ROWS: tl.constexpr, LINE: tl.constexpr,
    PAD: tl.constexpr, REFLECT: tl.constexpr, FLIP: tl.constexpr, CUTOUT: tl.constexpr,
) -> None:  # fmt: skip
    """Write images `samples` (int64 [B]) of uint8 [N, H, W, 3] to out [B, H, W, 3].

    The grid is (B, H / ROWS), LINE at least 3 * W. An image's random numbers are scalars here, and
    what holds for a column is shared by the ROWS of a program.
    """
    image = tl.program_id(0).to(tl.int64)  # offsets of whole images may pass 2^31
    sample = tl.load(samples + image)
    epoch = tl.cast(epoch, tl.uint32)
    word_0, word_1, word_2, word_3 = tl.philox(seed, sample.to(tl.uint32), epoch, 2, 0)
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    at = tl.arange(0, LINE)
    x = at // 3
    channel = at % 3

    shown = x
    if FLIP == "random":
        shown = tl.where(word_2 >> 31 != 0, W - 1 - x, x)
    elif FLIP == "alternating":
        _, _, first, _ = tl.philox(seed, sample.to(tl.uint32), tl.full((), 0, tl.uint32), 2, 0)
        shown = tl.where(((first >> 31) ^ (epoch & 1)) != 0, W - 1 - x, x)
    row = y + tl.umulhi(word_0, 2 * PAD + 1).to(tl.int32) - PAD
    column = shown + tl.umulhi(word_1, 2 * PAD + 1).to(tl.int32) - PAD
    inside_row = reflected(row, H)
    inside_column = reflected(column, W)

    # Not x < W: that would hide from the compiler that four elements go together.
    in_row = at < 3 * W
    written = (y < H)[:, None] & in_row[None, :]
    read = written
    if PAD > 0 and not REFLECT:
        read = written & (row == inside_row)[:, None] & (column == inside_column)[None, :]
    source = images + sample * (H * W * 3)
    from_row = inside_row * (W * 3)
    from_column = inside_column * 3 + channel
    pixel = tl.load(source + (from_row[:, None] + from_column[None, :]), mask=read, other=0)
    shift = tl.where(channel == 0, shift_0, tl.where(channel == 1, shift_1, shift_2))
    scale = tl.where(channel == 0, scale_0, tl.where(channel == 1, scale_1, scale_2))
    # No product before a sum: nothing that could become an FMA.
    result = (pixel.to(tl.float32) - shift[None, :]) * scale[None, :]
    if CUTOUT > 0:
        from_top = y - (((word_3 >> 16) * H >> 16).to(tl.int32) - CUTOUT // 2)
        from_left = x - (((word_3 & 0xFFFF) * W >> 16).to(tl.int32) - CUTOUT // 2)
        tall = (from_top >= 0) & (from_top < CUTOUT)
        wide = (from_left >= 0) & (from_left < CUTOUT)
        result = tl.where(tall[:, None] & wide[None, :], 0.0, result)
    target = out + image * (H * W * 3)
    to_row = y * (W * 3)
    result = result.to(out.dtype.element_ty)
    tl.store(target + (to_row[:, None] + at[None, :]), result, mask=written)


def launch(
    images_NHWC: Tensor, samples: Tensor, out: Tensor, recipe: Recipe, *, seed: int, epoch: int
) -> None:
    """Fill `out`: [B, 3, H, W] in channels-last memory, of the recipe's dtype."""
    _, height, width, _ = images_NHWC.shape
    # As torch has them in float32: a float64 result rounded after each operation.
    shifts = array("f", [255 * value for value in recipe.mean])
    deviations = array("f", [255 * value for value in recipe.std])
    scales = array("f", [1 / deviation for deviation in deviations])
    fixed = constants(height, width, recipe)
    grid = (len(samples), triton.cdiv(height, fixed["ROWS"]))
    kernel = augment_kernel
    if isinstance(kernel, JITFunction):  # an interpreted one is no kernel to torch
        kernel = wrap_triton(kernel)
    kernel[grid](images_NHWC, samples, out, seed, epoch, *shifts, *scales, **fixed, num_warps=WARPS)


def constants(height: int, width: int, recipe: Recipe) -> Constants:
    """Say what the kernel is to be compiled for."""
    line = triton.next_power_of_2(3 * width)
    rows = min(triton.next_power_of_2(height), TILE // line)
    return {
        "H": height,
        "W": width,
        "ROWS": max(1, rows),
        "LINE": line,
        "PAD": recipe.pad,
        "REFLECT": recipe.pad_mode == "reflect",
        "FLIP": recipe.flip,
        "CUTOUT": recipe.cutout,
    }
