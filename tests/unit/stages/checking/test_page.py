"""What the contact sheet of a check lays over an image."""

import numpy as np

from evonas.data.examined import Examined
from evonas.stages.checking.page import overlay
from evonas.tasks.drawing import CLASS_COLOURS


def test_masks_of_objects_have_the_colours_of_their_classes_below_the_boxes() -> None:
    grey = np.full((40, 60, 3), 100, np.uint8)
    covered = np.full((40, 60), -1, np.int32)
    covered[10:20, 10:30], covered[25:35, 40:50] = 0, 13
    boxes, labels = np.array([[10.0, 10.0, 29.0, 19.0], [40.0, 25.0, 49.0, 34.0]]), np.array([0, 13])
    drawn = overlay(
        Examined("a", grey, boxes=boxes, labels=labels, masks=lambda: covered), ("a",) * 14, (0.0, 1.0)
    )
    for (y, x), label in (((15, 20), 0), ((30, 45), 13)):
        blended = 0.45 * 100 + 0.55 * np.array(CLASS_COLOURS[label % len(CLASS_COLOURS)])
        assert np.abs(drawn[y, x] - blended).max() <= 1
    assert (drawn[10, 20] == CLASS_COLOURS[0]).all() and (drawn[3, 3] == 100).all()
    plain = overlay(Examined("a", grey, boxes=boxes, labels=labels), ("a",) * 14, (0.0, 1.0))
    assert (plain[15, 20] == 100).all()
