"""`python -m evonas`."""

import os
import sys

if __name__ == "__main__":
    # Python puts the current folder first, where a file of somebody else could stand in for any module. Packages of
    # the user are found there nevertheless (`config.trusting`). Only modules that are loaded anyway are used here.
    here = os.path.realpath(os.getcwd())  # noqa: PTH109
    own = os.path.realpath(os.path.join(os.path.dirname(__file__), ".."))  # noqa: PTH118, PTH120
    if not sys.flags.safe_path and here != own and os.path.realpath(sys.path[0]) == here:
        del sys.path[0]

    from evonas.cli import main

    sys.exit(main())
