"""Evaluators for tests of the engines: they obey, or misbehave as the genotype's space asks.

Points of the space `ok` are measured; any other space is named after a misbehaviour. Workers import this module.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evonas.errors import DataError
from evonas.evaluate.engine import Measurement, Part
from evonas.space.genotype import Genotype

JUNK: dict[str, Any] = {
    "nan": Measurement({"error": float("nan")}),
    "inf": Measurement({"error": float("inf")}),
    "minusinf": Measurement({"error": float("-inf")}),
    "none": Measurement({"error": None}),  # type: ignore[dict-item]
    "text": Measurement({"error": "0.5"}),  # type: ignore[dict-item]
    "bool": Measurement({"error": True}),
    "empty": Measurement({}),
    "number": 0.5,
    "nothing": None,
    "badextra": Measurement({"error": 0.5}, {"x": float("nan")}),
    "badjson": Measurement({"error": 0.5}, {"x": object()}),
}


def point(text: str) -> Genotype:
    """`ok:3`, a point of a space `ok`."""
    word, _, number = text.partition(":")
    return Genotype(word, (int(number),))


def text(genotype: Genotype) -> str:
    """The inverse of `point`."""
    return f"{genotype.space}:{genotype.genes[0]}"


@dataclass
class Obedient:
    """Measures `ok:<number>` as error = number; notes begin and end of each measurement in a file.

    Args:
        outage: file that the tenth measurement of all processes makes; for so many seconds from then on the disk fails.
    """

    events: str | None = None
    seconds: float = 0.0
    outage: str | None = None
    outage_s: float = 2.0

    def setup(self) -> None:
        self.pid, self.is_sick = os.getpid(), False

    def measure(self, genotype: Genotype, part: Part) -> Measurement:
        self.note(f"begin {part} {text(genotype)} {self.pid}")
        time.sleep(self.seconds)
        measurement = self.obey(genotype, part)
        self.note(f"end {part} {text(genotype)} {self.pid}")
        return measurement

    def obey(self, genotype: Genotype, part: Part) -> Measurement:
        if self.is_sick:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        self.fail_for_a_while(genotype)
        word, number = genotype.space, genotype.genes[0]
        if word in JUNK:
            return JUNK[word]
        if word != "ok":
            getattr(self, word)()
        name = "error" if part == "shared" else "latency"
        return Measurement({name: float(number)}, {"threads": os.environ.get("OMP_NUM_THREADS", "")})

    def note(self, line: str) -> None:
        if self.events is not None:
            with Path(self.events).open("a") as stream:
                stream.write(f"{time.monotonic():.6f} {line}\n")

    def __call__(self) -> "Obedient":
        return self

    def fail_for_a_while(self, genotype: Genotype) -> None:
        if self.outage is None:
            return
        mark = Path(self.outage)
        if genotype.genes[0] == 10 and not mark.exists():
            mark.touch()
        if mark.exists() and time.time() - mark.stat().st_mtime < self.outage_s:
            raise OSError(5, "Input/output error")

    def sickens(self) -> None:
        if self.events is not None and not Path(f"{self.events}.sick").exists():
            Path(f"{self.events}.sick").touch()
            self.is_sick = True
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def raises(self) -> None:
        raise ValueError("no such luck")

    def sleeps(self) -> None:
        time.sleep(3600)

    def aborts(self) -> None:
        os.abort()

    def leaves(self) -> None:
        os._exit(0)

    def exits(self) -> None:
        sys.exit(0)

    def allocates(self) -> None:
        np.ones(4 * 2**30, dtype=np.uint8)

    def prints(self) -> None:
        print("x" * 1023)

    def floods(self) -> None:
        while True:
            print("y" * 100_000)

    def garbles(self) -> None:
        # the worker's pipe is the only socket it has
        for fd in range(3, 64):
            link = Path(f"/proc/self/fd/{fd}")
            if link.is_symlink() and "socket:" in str(link.readlink()):
                os.write(fd, b"\x00\x00\x00\x04oops")
        time.sleep(3600)


@dataclass
class Sociable(Obedient):
    """Measures several genotypes in one pass, and notes of each pass how many and on how many images."""

    def measure_together(
        self, genotypes: Sequence[Genotype], part: Part, images: int | None = None
    ) -> list[Measurement | Exception]:
        self.note(f"pass {part} {','.join(map(text, genotypes))} {images}")
        if any(genotype.space == "crowds" for genotype in genotypes) and len(genotypes) > 1:
            raise MemoryError("too many at a time")
        return [self.attempt(genotype, part) for genotype in genotypes]

    def attempt(self, genotype: Genotype, part: Part) -> Measurement | Exception:
        try:
            return self.measure(genotype, part)
        except Exception as error:
            return error

    def crowds(self) -> None:
        """Needs more room than a pass over several leaves."""


@dataclass
class Unready(Obedient):
    """Fails or dies while it is set up."""

    how: str = "raises"

    def setup(self) -> None:
        if self.how == "data":
            raise DataError("weights.safetensors is missing.", "Train it first.")
        getattr(self, self.how)()
