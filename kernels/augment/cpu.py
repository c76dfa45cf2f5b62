"""The op `augment` on a CPU: torch.compile's code over images laid out so that each row of a batch is a run of bytes."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.augment.reference import Recipe, below, finished, mirrored, philox4x32, reflected


def windows(images_NHWC: Tensor, recipe: Recipe) -> Tensor:  # noqa: N803 - shape suffix
    """uint8 [N, H, W, C] padded, and beside it mirrored where some are: [copies * N * (H + 2 pad), 2 pad + 1, W * C], a view.

    The first index is a row, the second a crop's left corner. Holds (1 or 2) * (H + 2 pad) * (W + 2 pad) * C bytes an image.
    """
    _, height, width, channels = images_NHWC.shape
    pad = recipe.pad
    if recipe.pad_mode == "reflect":
        rows, columns = (reflected(torch.arange(-pad, size + pad), size) for size in (height, width))
        padded = images_NHWC[:, rows][:, :, columns]
    else:
        padded = F.pad(images_NHWC, (0, 0, pad, pad, pad, pad))
    copies = torch.stack([padded] if recipe.flip == "none" else [padded, padded.flip(2)], dim=1)
    return copies.view(-1, (width + 2 * pad) * channels).unfold(1, width * channels, channels)


@functools.cache
def compiled_batch(height: int, recipe: Recipe) -> Callable[..., tuple[Tensor, Tensor]]:
    """`windows`, samples int64 [B], `draw_numbers`, `along_a_row` to [B, C, H, W] and the draws, for H rows.

    Isolated: what others compiled is no recompile of this. Both first dimensions must be marked unbacked: then one
    compilation serves every N and B, 0 and 1 too.
    """
    copies, lines, across = 1 if recipe.flip == "none" else 2, height + 2 * recipe.pad, 2 * recipe.pad

    def batch(of: Tensor, samples: Tensor, numbers: Tensor, row: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        words = philox4x32(samples, numbers)
        mirror, left = mirrored(words, samples, numbers, recipe.flip), below(words[1], across + 1)
        first = (samples * copies + mirror) * lines + below(words[0], across + 1)
        # Given back too, for what a graph gives back is kept in memory and not computed anew for every row.
        drawn = torch.stack([first, torch.where(mirror, across - left, left), words[3]])
        rows = drawn[0][:, None] + torch.arange(height)
        return finished(of[rows, drawn[1][:, None]], drawn[2], row, recipe), drawn

    return torch.compile(batch, fullgraph=True, isolate_recompiles=True)  # type: ignore[call-overload]
