"""Tables on the console: aligned on a terminal, plain text elsewhere."""

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from evonas.track.progress import is_terminal

_WIDE = 400


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], stream: TextIO | None = None
) -> None:
    """Print a table; the first column and genotypes are left-aligned, other columns right-aligned.

    Outside a terminal cells are neither truncated nor wrapped, so that genotypes can be copied.
    """
    out = stream or sys.stdout
    terminal = is_terminal(out)
    width = None if terminal else _WIDE
    console = Console(file=out, force_terminal=terminal, no_color=None if terminal else True, width=width)
    table = Table(title=title or None, box=box.SIMPLE if terminal else box.ASCII2, title_justify="left")
    for number, column in enumerate(columns):
        is_text = number == 0 or column == "genotype"
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(*[_plain(cell) for cell in row])
    console.print(table)


def _plain(cell: str) -> str:
    """Escape rich markup."""
    return cell.replace("[", r"\[")
