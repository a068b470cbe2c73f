"""Commands as text: what is printed can be pasted.

A printed word is read twice, first by the shell and then by Hydra, and each has signs of its own. What was typed is
read by `config.typed_value`.
"""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PROGRAM = ("python", "-m", "evonas")
USUAL_OUTPUTS = "outputs"
# what Hydra reads as this very text: one plain word or path that is neither a number nor a keyword
_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*", re.ASCII)
_KEYWORD = re.compile(r"true|false|null|nan|inf", re.IGNORECASE)
# quoted by the command line itself
_REFERENCES = ("networks", "start")
_REFERENCE = re.compile(r"[A-Za-z0-9_/][^'\"\\$\[\]\n\t]*(?<! )")


def setting(key: str, value: Any) -> str:
    """One override in Hydra's form, such as `seed=1` or `outputs="my runs"`; the shell's quotes are not part of it.

    Args:
        key: its key, with `+` or `~` where one belongs.
        value: text, a path, a number, a truth value, None, or a list or dict of these.
    """
    is_text = isinstance(value, str) and not _KEYWORD.fullmatch(value)
    if key in _REFERENCES and is_text and _REFERENCE.fullmatch(value):
        return f"{key}={value}"
    return f"{key}={_hydra(value)}"


def command(*words: str, outputs: Path | str | None = None) -> str:
    """A command of evonas that a shell takes as it stands; only placeholders such as `<run>` are left to fill in.

    Args:
        words: the words behind `python -m evonas`, each in Hydra's form.
        outputs: folder of the runs that the command is about; left out where it is the usual one.
    """
    place = (
        [] if outputs is None or _is_usual(outputs) else [setting("outputs", str(Path(outputs).absolute()))]
    )
    return shell([*PROGRAM, *words, *place])


def shell(words: Iterable[str | Path]) -> str:
    """Words quoted for a shell and joined by blanks."""
    return shlex.join(map(str, words))


def _is_usual(outputs: Path | str) -> bool:
    return Path(outputs).absolute() == Path(USUAL_OUTPUTS).absolute()


def _hydra(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_hydra(key)}:{_hydra(child)}" for key, child in value.items()) + "}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) and not _KEYWORD.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    """Text in Hydra's double quotes, which a shell's single quotes leave alone."""
    # OmegaConf reads `${` as an interpolation, and the backslashes before it as escapes
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    # Hydra reads backslashes as escapes where they stand before a quote
    return (
        '"' + re.sub(r'(\\*)("|\Z)', lambda found: found[1] * 2 + (r"\"" if found[2] else ""), escaped) + '"'
    )
