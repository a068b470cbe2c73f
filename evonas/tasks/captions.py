"""Captions with class names on images."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from evonas.tasks.palette import CLASS_COLOURS

Pixels = NDArray[np.uint8]

# height of the caption, as a share of the image's
FRAME, TEXT = 1 / 24, 1 / 8
SMALLEST_TEXT = 9


def captioned(image: Pixels, number: int, text: str) -> Pixels:
    """H W 3 framed in the colour of a class, with its name in a strip at the bottom; same size."""
    height, width = image.shape[:2]
    colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    frame = max(2, round(FRAME * height))
    draw.rectangle((0, 0, width - 1, height - 1), outline=colour, width=frame)
    font = ImageFont.load_default(max(SMALLEST_TEXT, round(TEXT * height)))
    left, top, right, bottom = (int(side) for side in draw.textbbox((0, 0), text, font=font))
    draw.rectangle((0, height - (bottom - top) - 2 * frame, width - 1, height - 1), fill=colour)
    place = (max(frame, (width - (right - left)) // 2), height - bottom - frame)
    draw.text(place, text, font=font, fill=_legible(colour))
    return np.asarray(picture)


def _legible(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black on light colours, white on dark ones (luma of ITU-R BT.601)."""
    red, green, blue = background
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)
