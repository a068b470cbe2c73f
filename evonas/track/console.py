"""Console output: headings and tables, formatted on a terminal and plain text elsewhere."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

_WIDE, _LONGEST = 400, 2000


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal that supports control sequences."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def console(stream: TextIO, width: int | None = None) -> Console:
    """A rich console, without colours and control sequences outside a terminal.

    Args:
        width: line width in characters; None for that of the terminal.
    """
    terminal = is_terminal(stream)
    return Console(
        file=stream,
        force_terminal=terminal,
        no_color=None if terminal else True,
        legacy_windows=False,
        width=width,
    )


def heading(text: str, stream: TextIO | None = None) -> None:
    """Print the line that starts a stage, bold on a terminal."""
    out = stream or sys.stdout
    console(out).print(text, style="bold" if is_terminal(out) else None, markup=False, highlight=False)


def printable(text: str) -> str:
    """Text of a file on one line, without the characters by which it would control a terminal; not too long."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}..."


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], stream: TextIO | None = None
) -> None:
    """Print a table; the first column and genotypes are left-aligned, other columns right-aligned.

    Outside a terminal cells are neither truncated nor wrapped, so that genotypes can be copied.
    """
    out = stream or sys.stdout
    terminal = is_terminal(out)
    table = Table(title=title or None, box=box.SIMPLE if terminal else box.ASCII2, title_justify="left")
    for number, column in enumerate(columns):
        is_text = number == 0 or column == "genotype"
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        # escaped, since genotypes are no rich markup
        table.add_row(*[printable(cell).replace("[", r"\[") for cell in row])
    console(out, None if terminal else _WIDE).print(table)
