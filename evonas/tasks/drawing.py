"""Drawing on images: class and depth colours, boxes and captions.

Legend: N boxes, H W space. Colours suit colour-blind readers and print.
"""

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from evonas.tasks.base import Picture

# Okabe and Ito (2008), then darker and lighter neighbours from Paul Tol's muted scheme
CLASS_COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (136, 34, 85),
    (51, 34, 136),
    (221, 221, 221),
    (153, 153, 51),
    (17, 119, 51),
)
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
# frame and text height of a caption, as shares of the image's height
FRAME, TEXT = 1 / 24, 1 / 8
SMALLEST_TEXT = 9


def class_picture(labels: NDArray[np.int64], ignored: NDArray[np.bool_] | None = None) -> Picture:
    """Class ids H W as colours H W 3; ignored pixels are black. Colours repeat after twelve classes."""
    colours = np.array(CLASS_COLOURS, dtype=np.uint8)[labels % len(CLASS_COLOURS)]
    if ignored is not None:
        colours[ignored] = BLACK
    return colours


def depth_picture(depth: NDArray[np.floating], far: float, valid: NDArray[np.bool_] | None = None) -> Picture:
    """Depth H W in metres as colours H W 3: near is yellow, `far` and beyond dark blue, invalid pixels black."""
    nearness = 1 - np.clip(np.nan_to_num(depth, nan=far) / far, 0, 1)
    colours = matplotlib.colormaps["cividis"](nearness, bytes=True)[..., :3].copy()
    if valid is not None:
        colours[~valid] = BLACK
    return np.ascontiguousarray(colours)


def boxes_drawn(image: Picture, boxes: Tensor, labels: Tensor) -> Picture:
    """A copy of an image H W 3 with boxes N 4 drawn in the colours of their classes."""
    # draw_bounding_boxes refuses boxes smaller than a pixel
    visible = (boxes[:, 2:] - boxes[:, :2] >= 1).all(dim=1)
    boxes, labels = boxes[visible], labels[visible]
    if len(boxes) == 0:
        return image.copy()
    colours = [CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in labels.tolist()]
    width = max(1, round(min(image.shape[:2]) / 160))
    # a copy, because torch warns of arrays that may not be written
    canvas = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    drawn = draw_bounding_boxes(canvas, boxes.cpu(), colors=colours, width=width)
    return np.ascontiguousarray(drawn.permute(1, 2, 0).numpy())


def captioned(image: Picture, label: int, text: str) -> Picture:
    """An image H W 3 framed in the colour of a class, with its name in a strip at the bottom; same size."""
    height, width = image.shape[:2]
    colour = CLASS_COLOURS[label % len(CLASS_COLOURS)]
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    frame = max(2, round(FRAME * height))
    draw.rectangle((0, 0, width - 1, height - 1), outline=colour, width=frame)
    font = ImageFont.load_default(max(SMALLEST_TEXT, round(TEXT * height)))
    left, top, right, bottom = (int(side) for side in draw.textbbox((0, 0), text, font=font))
    draw.rectangle((0, height - (bottom - top) - 2 * frame, width - 1, height - 1), fill=colour)
    place = (max(frame, (width - (right - left)) // 2), height - bottom - frame)
    red, green, blue = colour
    # luma of ITU-R BT.601
    is_light = 0.299 * red + 0.587 * green + 0.114 * blue > 128
    draw.text(place, text, font=font, fill=BLACK if is_light else WHITE)
    return np.asarray(canvas)
