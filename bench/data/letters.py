"""The `letters` source: printed letters that this project draws itself, so nothing is downloaded.

Features learned from them should serve the digits source.
"""

from enum import IntEnum
from importlib.metadata import distribution
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features

from bench.config.schema import DataConfig
from bench.data import cache
from bench.data.source import Dataset, Images, Indices, Pools, Split, cut, gather, join
from bench.files import files_sha256
from bench.runtime.streams import Stream, UInt32Array, below, words

CLASSES = tuple(ascii_uppercase + ascii_lowercase)
# Of DejaVu's files; a drawing's number says which.
STYLES = (
    "Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique",
    "SansMono", "SansMono-Bold", "SansMono-Oblique", "SansMono-BoldOblique",
    "Serif", "Serif-Bold", "Serif-Italic", "Serif-BoldItalic",
)  # fmt: skip
DRAWINGS = 20  # of each letter in each style
DRAWINGS_PER_LETTER = len(STYLES) * DRAWINGS
HELD_OUT = 1040  # images in val, and as many in test
MEAN = (0.2679, 0.2679, 0.2679)  # of the train split
STD = (0.2967, 0.2967, 0.2967)
SIZE = 32  # pixels a side of an image; all lengths below are in pixels too
CANVAS = 96  # side of the square that a letter is first drawn on
EM = 40  # font size there
CAPITAL = 29.2  # how high a capital is at this font size
NOISE_EPOCH = 1 << 16  # the noise's place in the counter's epoch word, clear of the other draws
NOISE_STD = 148  # of the numbers that _noise gives


class Word(IntEnum):
    """Which of a drawing's 16 random words decides what."""

    TURN = 0
    SLANT = 1
    HEIGHT = 2
    WIDTH = 3
    SHIFT_X = 4
    SHIFT_Y = 5
    IS_COARSE = 6
    COARSE_SIZE = 7
    BOLD = 8
    BLUR = 9
    GROUND = 10
    INK = 11
    NOISE = 12


def load(data: DataConfig) -> Dataset:
    """Load 10,400 / 1,040 / 1,040 grey images [32, 32, 3]. data.dir is not looked at.

    Drawn once a machine. The pixels, hence the sha256, can differ where another version of Pillow
    or FreeType draws.
    """
    pools = cache.load(_recipe(), _draw_all)
    splits = cut(pools, val=HELD_OUT, test=HELD_OUT)
    return Dataset(
        name="letters",
        sha256=pools.sha256,
        classes=CLASSES,
        mean=MEAN,
        std=STD,
        train=splits.train,
        val=splits.val,
        test=splits.test,
    )


def render(samples: Indices) -> Split:
    """Draw images [N, 32, 32, 3] with labels, each a function of its own number only."""
    labels = samples // DRAWINGS_PER_LETTER
    styles = samples // DRAWINGS % len(STYLES)
    fonts = _fonts()
    quarters = [words(0, Stream.RENDER, samples, epoch=epoch) for epoch in range(4)]
    all_words = np.stack(quarters, axis=1).reshape(-1, 16)
    inks = []
    for row, drawing_words in enumerate(all_words):
        inks.append(_draw(CLASSES[labels[row]], fonts[styles[row]], drawing_words))
    grey = _light(np.stack(inks), samples, all_words)
    return Split(images=np.repeat(grey[..., None], 3, axis=-1), labels=labels)


def _draw_all() -> Pools:
    samples = np.arange(len(CLASSES) * DRAWINGS_PER_LETTER)
    parts = [render(of_one_letter) for of_one_letter in np.split(samples, len(CLASSES))]
    return gather(join(parts))


def _recipe() -> str:
    """Return a key of all that decides the pixels: this file, the fonts and what draws them."""
    files = files_sha256([Path(__file__), *_font_files()])
    return f"{files}-{PIL.__version__}-{features.version('freetype2')}-{np.__version__}"


def _fonts() -> list[ImageFont.FreeTypeFont]:
    basic = ImageFont.Layout.BASIC  # Raqm, the other one, is not installed everywhere
    return [ImageFont.truetype(path, EM, layout_engine=basic) for path in _font_files()]


def _font_files() -> list[Path]:
    """Find DejaVu as matplotlib brings it. matplotlib is only looked for, not imported."""
    folder = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf")
    return [Path(str(folder), f"DejaVu{style}.ttf") for style in STYLES]


def _draw(letter: str, font: ImageFont.FreeTypeFont, drawing_words: UInt32Array) -> Images:
    """Draw a letter bent, and seen more or less sharply: the ink on each pixel [32, 32], 0..255."""
    chances = drawing_words / 2.0**32
    bold = int(below(drawing_words[Word.BOLD], 3))
    left, top, right, bottom = font.getbbox(letter, stroke_width=bold)
    canvas = Image.new("L", (CANVAS, CANVAS))
    corner = ((CANVAS - left - right) / 2, (CANVAS - top - bottom) / 2)
    ImageDraw.Draw(canvas).text(corner, letter, fill=255, font=font, stroke_width=bold)
    bend = _bend(chances, longest=max(right - left, bottom - top))
    image = canvas.transform((SIZE, SIZE), Image.Transform.AFFINE, bend, Image.Resampling.BILINEAR)
    if chances[Word.IS_COARSE] < 0.5:  # as few pixels as the digits have, or up to twice as many
        coarse = 8 + int(below(drawing_words[Word.COARSE_SIZE], 9))
        image = image.resize((coarse, coarse), Image.Resampling.BOX)
        image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(float(chances[Word.BLUR]))))


def _bend(chances: npt.NDArray[np.float64], longest: float) -> tuple[float, ...]:
    """Return Pillow's six numbers of an affine map, from image to canvas.

    It turns by 15 degrees, slants by 0.3 and shifts by 2 pixels at most, and fits the letter,
    whose longest side is given, into the image.
    """
    spread = 2 * chances - 1  # -1 to 1
    turn = np.radians(15) * spread[Word.TURN]
    slant = 0.3 * spread[Word.SLANT]
    height = min((26 + 4 * spread[Word.HEIGHT]) / CAPITAL, (SIZE - 1) / longest)
    width = height * (0.95 + 0.15 * spread[Word.WIDTH])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    to_image = rotation @ np.array([[width, slant * height], [0, height]])
    to_canvas = np.linalg.inv(to_image)
    shift = spread[[Word.SHIFT_X, Word.SHIFT_Y]]
    offset = CANVAS / 2 - to_canvas @ (SIZE / 2 + 2 * shift)
    return (*to_canvas[0], offset[0], *to_canvas[1], offset[1])


def _light(inks: Images, samples: Indices, all_words: UInt32Array) -> Images:
    """Put bright ink on a dark ground with noise, in whole grey levels: [N, 32, 32].

    `all_words` are the drawings' random words [N, 16].
    """
    ground = (below(all_words[:, Word.GROUND], 97) - 48).clip(0)
    brightness = 160 + below(all_words[:, Word.INK], 96)
    noise_level = below(all_words[:, Word.NOISE], 13)
    contrast = brightness - ground
    grey = ground[:, None, None] + inks * contrast[:, None, None] // 255
    noise = _noise(samples) * noise_level[:, None, None] // NOISE_STD
    return (grey + noise).clip(0, 255).astype(np.uint8)


def _noise(samples: Indices) -> npt.NDArray[np.int64]:
    """Draw [N, 32, 32] close to a normal distribution with mean 0 and deviation NOISE_STD.

    A number is the sum of a word's four bytes.
    """
    counters_per_image = SIZE * SIZE // 4  # each gives four words
    counters = samples[:, None] * counters_per_image + np.arange(counters_per_image)
    noise_words = words(0, Stream.RENDER, counters, epoch=NOISE_EPOCH)
    word_bytes = noise_words.view(np.uint8).reshape(-1, SIZE, SIZE, 4)
    return word_bytes.sum(axis=-1, dtype=np.int64) - 510
