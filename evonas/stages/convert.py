"""stage=convert: a Pascal VOC data set as COCO files, for +task=cells and +task=coco."""

from collections.abc import Mapping
from pathlib import Path

from evonas.data.detection.voc import convert
from evonas.errors import UserError
from evonas.stages.base import Context

SHOWN = 5


class Convert:
    """Writes a Pascal VOC folder as a COCO folder; works outside of runs.

    Args:
        voc: folder that holds JPEGImages, Annotations and ImageSets/Main.
        coco: folder to write.
        parts: from the name of a COCO part to that of its VOC image list.
    """

    needs_task = False

    def __init__(
        self, voc: str | None = None, coco: str | None = None, parts: Mapping[str, str] | None = None
    ) -> None:
        self.voc, self.coco = voc, coco
        self.parts = dict(parts or {"train": "trainval", "test": "test"})

    def run(self, context: Context) -> str:  # noqa: ARG002
        """Write the folder, and print the boxes that were left out.

        Raises:
            UserError: a folder was not given.
        """
        if not self.voc or not self.coco:
            raise UserError(
                "convert needs the folder to read and the folder to write.",
                "Try: python -m evonas convert stage.voc=<folder> stage.coco=<folder>",
            )
        found = convert(Path(self.voc), Path(self.coco), self.parts)
        for line in found.dropped[:SHOWN]:
            print(f"left out: {line}")
        images = ", ".join(f"{part} {count}" for part, count in found.images.items())
        return f"{images} images, {found.boxes} boxes, {len(found.dropped)} left out: {self.coco}"
