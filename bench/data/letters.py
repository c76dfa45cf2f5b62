"""Printed letters drawn by this project: images without a download, whose features should serve the digits source."""

from importlib.metadata import distribution
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.source import Dataset, Images, Indices, Split, cut, gather, join
from bench.runtime.streams import Stream, below, words

CLASSES = tuple(ascii_uppercase + ascii_lowercase)
SLANTED = {"Sans": "Oblique", "SansMono": "Oblique", "Serif": "Italic"}
STYLES = [
    f"{family}{face}"
    for family, slant in SLANTED.items()
    for face in ("", "-Bold", f"-{slant}", f"-Bold{slant}")
]
DRAWINGS = 20  # of each letter in each font
HELD_OUT = 1040  # images in val, and as many in test
MEAN, STD = (0.2679, 0.2679, 0.2679), (0.2967, 0.2967, 0.2967)  # of the train split
SIZE, CANVAS, EM, CAPITAL = 32, 96, 40, 29.2  # pixels; CAPITAL: how high a capital is at this em
NOISE = 1 << 16  # the noise's place in the counter's epoch word, clear of the other draws


def load(data: DataConfig) -> Dataset:
    """10,400 / 1,040 / 1,040 grey images [32, 32, 3]. data.dir is not looked at.

    Drawn once a machine. The pixels, hence the sha256, can differ where another version of Pillow or FreeType draws.
    """
    letters = np.split(np.arange(len(CLASSES) * len(STYLES) * DRAWINGS), len(CLASSES))
    pools = cache.load(_recipe(), lambda: gather(join([render(drawings) for drawings in letters])))
    splits = cut(pools, val=HELD_OUT, test=HELD_OUT)
    return Dataset(
        name="letters", sha256=pools.sha256, classes=CLASSES, mean=MEAN, std=STD, **splits
    )


def render(samples: Indices) -> Split:
    """Images [N, 32, 32, 3] and labels of the given drawings, each a function of its own number only."""
    labels, font_of = samples // (len(STYLES) * DRAWINGS), samples // DRAWINGS % len(STYLES)
    basic = ImageFont.Layout.BASIC  # Raqm, the other one, is not installed everywhere
    fonts = [ImageFont.truetype(path, EM, layout_engine=basic) for path in _font_files()]
    drawn = np.stack(
        [words(0, Stream.RENDER, samples, epoch=part) for part in range(4)], axis=1
    ).reshape(-1, 16)
    strokes = [
        _stroke(CLASSES[label], fonts[font], row)
        for label, font, row in zip(labels, font_of, drawn, strict=True)
    ]
    grey = _light(np.stack(strokes), samples, drawn)
    return Split(images=np.repeat(grey[..., None], 3, axis=-1), labels=labels)


def _recipe() -> str:
    """Of all that decides the pixels: this file, the fonts and what draws them."""
    files = cache.files_sha256([Path(__file__), *_font_files()])
    return f"{files}-{PIL.__version__}-{features.version('freetype2')}-{np.__version__}"


def _font_files() -> list[Path]:
    """DejaVu as matplotlib brings it. matplotlib itself is only looked for, not imported."""
    folder = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf")
    return [Path(str(folder), f"DejaVu{style}.ttf") for style in STYLES]


def _stroke(letter: str, font: ImageFont.FreeTypeFont, drawn: npt.NDArray[np.uint32]) -> Images:
    """How much ink lies on each pixel [32, 32], 0..255: the letter bent, and seen more or less sharply."""
    chance, bold = drawn / 2.0**32, int(below(drawn[8], 3))
    left, top, right, bottom = font.getbbox(letter, stroke_width=bold)
    canvas = Image.new("L", (CANVAS, CANVAS))
    corner = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
    ImageDraw.Draw(canvas).text(corner, letter, fill=255, font=font, stroke_width=bold)
    bent = _affine(chance, longest=max(right - left, bottom - top))
    image = canvas.transform((SIZE, SIZE), Image.Transform.AFFINE, bent, Image.Resampling.BILINEAR)
    if chance[6] < 0.5:  # as few pixels as the digits have, or up to twice as many
        coarse = 8 + int(below(drawn[7], 9))
        image = image.resize((coarse, coarse), Image.Resampling.BOX).resize(
            (SIZE, SIZE), Image.Resampling.BILINEAR
        )
    return np.asarray(image.filter(ImageFilter.GaussianBlur(float(chance[9]))))


def _affine(chance: npt.NDArray[np.float64], longest: float) -> tuple[float, ...]:
    """Pillow's six numbers, from image to canvas: turn by 15 degrees, slant by 0.3, shift by 2 pixels at most; fit the image."""
    spread = 2 * chance[:6] - 1
    turn, slant = np.radians(15) * spread[0], 0.3 * spread[1]
    high = min((26 + 4 * spread[2]) / CAPITAL, (SIZE - 1) / longest)
    wide = high * (0.95 + 0.15 * spread[3])
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    back = np.linalg.inv(rotate @ np.array([[wide, slant * high], [0, high]]))
    offset = CANVAS / 2 - back @ (SIZE / 2 + 2 * spread[4:6])
    return (*back[0], offset[0], *back[1], offset[1])


def _light(strokes: Images, samples: Indices, drawn: npt.NDArray[np.uint32]) -> Images:
    """Bright ink on a dark ground with noise, in whole grey levels: [N, 32, 32]."""
    ground = (below(drawn[:, 10], 97) - 48).clip(0)
    ink = 160 + below(drawn[:, 11], 96)
    level = below(drawn[:, 12], 13)
    grey = ground[:, None, None] + strokes * (ink - ground)[:, None, None] // 255
    return (grey + _noise(samples) * level[:, None, None] // 148).clip(0, 255).astype(np.uint8)


def _noise(samples: Indices) -> npt.NDArray[np.int64]:
    """[N, 32, 32], close to a normal distribution with mean 0 and deviation 148: a word's four bytes, added up."""
    counters = samples[:, None] * (SIZE * SIZE // 4) + np.arange(SIZE * SIZE // 4)
    drawn = words(0, Stream.RENDER, counters, epoch=NOISE)
    return drawn.view(np.uint8).reshape(-1, SIZE, SIZE, 4).sum(axis=-1, dtype=np.int64) - 510
