"""ADE20K: scenes in 150 classes, as in the scene parsing benchmark of 2016 (SceneParse150).

Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017. In the masks 0 is any other class, and the 150 classes
start from 1, in the order of the benchmark's objectInfo150.txt.
"""

from pathlib import Path

from evonas.data.io.pairs import matched
from evonas.data.io.split_lists import Frame
from evonas.data.segmentation.base import IGNORE, Pixels, Stored, looked_up, table
from evonas.data.segmentation.variable_size import CanvasSource
from evonas.errors import DataError

# the first name of each class
_NAMES = """
    wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person,
    earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea,
    mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, base,
    box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, refrigerator,
    grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway, river, bridge,
    bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove, palm, kitchen
    island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, truck, tower,
    chandelier, awning, streetlight, booth, television receiver, airplane, dirt track, apparel, pole, land,
    bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy,
    washer, plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven,
    ball, food, step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket,
    sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate, monitor,
    bulletin board, shower, radiator, glass, clock, flag
"""
CLASSES = tuple(" ".join(name.split()) for name in _NAMES.split(","))
NUMBERS = table({0: IGNORE, **{number + 1: number for number in range(len(CLASSES))}})
FOLDER = "ADEChallengeData2016"
TREE = """\
<root>/ADEChallengeData2016/images/{training,validation}/<name>.jpg
<root>/ADEChallengeData2016/annotations/{training,validation}/<name>.png"""


class Ade20k(CanvasSource):
    """A source of ADE20K; `test` is the benchmark's validation split, `holdout` a part of its training images.

    Arguments are those of `CanvasSource`; `root` may also be the folder ADEChallengeData2016 itself.
    """

    name, classes = "ade20k", CLASSES

    def training_frames(self) -> list[Frame]:
        """The 20 210 training images."""
        return self._part("training")

    def test_frames(self) -> list[Frame]:
        """The 2 000 validation images."""
        return self._part("validation")

    def class_ids(self, stored: Stored, path: Path) -> Pixels:
        """Class ids from 0; pixels of other classes are ignored."""
        return looked_up(stored, path, NUMBERS, "Use the masks of the scene parsing benchmark: gray, 0-150.")

    def _part(self, part: str) -> list[Frame]:
        base = self.folder / FOLDER if (self.folder / FOLDER).is_dir() else self.folder
        images, masks = (base / kind / part for kind in ("images", "annotations"))
        missing = [str(folder) for folder in (images, masks) if not folder.is_dir()]
        if missing:
            raise DataError(
                f"ADE20K is not in {self.folder}; missing: {', '.join(missing)}.",
                f"Set data.root=<root>, where:\n{TREE}",
            )
        return matched(images, masks, TREE)
