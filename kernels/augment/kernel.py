"""The op `augment` on a GPU: one Triton program makes some rows of one output image; meaning in reference.py.

Its launch also runs on CPU tensors where TRITON_INTERPRET=1 was set before the import.
"""

from array import array
from typing import Any

import triton
import triton.language as tl
from torch import Tensor
from torch.library import wrap_triton

from kernels.augment.reference import Recipe

TILE = 4096  # elements of a program: 32 a thread; fewer instructions an element than 8 or 16, and no spills
WARPS = 4


@triton.jit
def reflected(index, size: tl.constexpr):
    """Indices in (-size, 2 * size - 1) mirrored at the borders into [0, size)."""
    index = tl.abs(index)
    return tl.where(index < size, index, 2 * (size - 1) - index)


@triton.jit(do_not_specialize=["seed", "epoch"])
def augment_kernel(
    images, samples, out, seed, epoch, shift_0, shift_1, shift_2, scale_0, scale_1, scale_2,
    H: tl.constexpr, W: tl.constexpr, PAD: tl.constexpr, REFLECT: tl.constexpr, FLIP: tl.constexpr, CUTOUT: tl.constexpr,
    ROWS: tl.constexpr, LINE: tl.constexpr,
) -> None:  # fmt: skip
    """uint8 images [N, H, W, 3] and int64 samples [B] to out [B, H, W, 3]; grid (B, H / ROWS), LINE at least 3 * W.

    An image's numbers are scalars here, and a column's are shared by the ROWS of a program.
    """
    image = tl.program_id(0).to(tl.int64)  # offsets of whole images may pass 2^31
    sample = tl.load(samples + image)
    epoch = tl.to_tensor(epoch).to(tl.uint32)
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

    written = (y < H)[:, None] & (at < 3 * W)[
        None, :
    ]  # not x < W: that hides from the compiler that four go together
    read = written
    if PAD > 0 and not REFLECT:
        read = written & (row == inside_row)[:, None] & (column == inside_column)[None, :]
    source = images + sample * (H * W * 3)
    pixel = tl.load(
        source + ((inside_row * (W * 3))[:, None] + (inside_column * 3 + channel)[None, :]),
        mask=read,
        other=0,
    )
    shift = tl.where(channel == 0, shift_0, tl.where(channel == 1, shift_1, shift_2))
    scale = tl.where(channel == 0, scale_0, tl.where(channel == 1, scale_1, scale_2))
    result = (pixel.to(tl.float32) - shift[None, :]) * scale[
        None, :
    ]  # no product before a sum: nothing that could become an FMA
    if CUTOUT > 0:
        from_top = y - (((word_3 >> 16) * H >> 16).to(tl.int32) - CUTOUT // 2)
        from_left = x - (((word_3 & 0xFFFF) * W >> 16).to(tl.int32) - CUTOUT // 2)
        tall = (from_top >= 0) & (from_top < CUTOUT)
        wide = (from_left >= 0) & (from_left < CUTOUT)
        result = tl.where(tall[:, None] & wide[None, :], 0.0, result)
    target = out + image * (H * W * 3)
    tl.store(
        target + ((y * (W * 3))[:, None] + at[None, :]),
        result.to(out.dtype.element_ty),
        mask=written,
    )


def launch(
    images_NHWC: Tensor, samples: Tensor, out: Tensor, recipe: Recipe, *, seed: int, epoch: int
) -> None:
    """Fill `out`: [B, 3, H, W] in channels-last memory, of the recipe's dtype."""
    height, width = images_NHWC.shape[1:3]
    # As torch has them in float32: a float64 result rounded after each operation.
    shifts, deviations = (
        array("f", [255 * value for value in values]) for values in (recipe.mean, recipe.std)
    )
    scales = array("f", [1 / deviation for deviation in deviations])
    fixed = constants(height, width, recipe)
    grid = (len(samples), triton.cdiv(height, fixed["ROWS"]))
    wrap_triton(augment_kernel)[grid](
        images_NHWC, samples, out, seed, epoch, *shifts, *scales, **fixed, num_warps=WARPS
    )


def constants(height: int, width: int, recipe: Recipe) -> dict[str, Any]:
    """What a kernel is compiled for, by name; ROWS of one program and LINE elements of a row are powers of two."""
    line = triton.next_power_of_2(3 * width)
    rows = max(1, min(triton.next_power_of_2(height), TILE // line))
    how = {
        "PAD": recipe.pad,
        "REFLECT": recipe.pad_mode == "reflect",
        "FLIP": recipe.flip,
        "CUTOUT": recipe.cutout,
    }
    return {"H": height, "W": width, "ROWS": rows, "LINE": line, **how}
