"""Curves of several runs of benchmarks/tables.py in one picture; runs on different scales are refused.

python benchmarks/join.py outputs/flops.svg flops outputs/tables/results.json outputs/composed/results.json
"""

import argparse
from pathlib import Path

import pictures

from evonas.errors import EvoNASError, UserError
from evonas.files import read_json


def main() -> None:
    """Read, compare the scales, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("picture", type=Path)
    parser.add_argument("problem")
    parser.add_argument("results", type=Path, nargs="+")
    given = parser.parse_args()
    try:
        draw(given.picture, given.problem, given.results)
    except EvoNASError as error:
        parser.exit(error.exit_code, f"{error.message}\n{error.hint}\n")


def draw(picture: Path, problem: str, results: list[Path]) -> None:
    """The picture of one problem.

    Raises:
        UserError: no result has the problem, or two have different scales.
    """
    methods: dict[str, list[dict[str, object]]] = {}
    for each in (each for path in results for each in read_json(path)):
        if each["problem"] == problem:
            methods.setdefault(each["method"], []).append(each)
    if not methods:
        raise UserError(f"No result has the problem {problem}.", "See the headings of results.md.")
    pictures.joined(picture, problem, methods)


if __name__ == "__main__":
    main()
