"""The pages that people read, taken apart: blocks of code, commands, links and headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```(\w*) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4}(\S.*(?:\\\n {4}.*)*)$", re.MULTILINE)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_OURS = re.compile(r"(?:python3? -m )?evonas (?=\S)")


@dataclass(frozen=True)
class Block:
    """A block of code; `path` is the file it is to be, empty where it is none."""

    language: str
    path: str
    content: str


def pages() -> list[str]:
    """Every page, relative to the repository."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(*found) for found in _FENCE.findall(read(page))]


def lines(page: str) -> Iterator[str]:
    """What the page tells people to type: lines of blocks without a file, and code in the text."""
    for block in blocks(page):
        if block.language in ("", "bash") and not block.path:
            yield from _joined(block.content).splitlines()
    rest = _FENCE.sub("", read(page))
    yield from map(_joined, _INDENTED.findall(rest))
    yield from _INLINE.findall(rest)


def commands(page: str) -> Iterator[list[str]]:
    """The words after `evonas` of each command of a page, placeholders filled in."""
    for line in lines(page):
        found = _OURS.match(line)
        if found and line.startswith(("python", "evonas ")):
            yield shlex.split(_filled(line[found.end() :]))


def links(page: str) -> Iterator[str]:
    """Where the links and pictures of a page lead."""
    yield from _LINK.findall(_INLINE.sub("", _FENCE.sub("", read(page))))


def anchors(page: str) -> set[str]:
    """The names of a page's headings, as GitHub and MkDocs make them."""
    return {_slug(title) for title in _HEADING.findall(_FENCE.sub("", read(page)))}


def _slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def _joined(text: str) -> str:
    return re.sub(r" *\\\n *", " ", text)


def _filled(line: str) -> str:
    """A command without its comment, with a word for everything that the reader is to fill in."""
    line = re.sub(r"\s+#\s.*$", "", line)
    return re.sub(r"<[^<>=]+>|\.\.\.", "x", line)
