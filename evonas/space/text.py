"""The text form of a genotype: `evonet:m=3.5,4,1,3.5/s=64,64,48/e=0.5,4,0.5/d=11.0001.10011101.0111`.

Genes that share a prefix are written together, in their order; values of axes are
separated by commas, groups of bits by dots.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evonas.errors import UserError
from evonas.space.gene import Axis, Bits, Choice, prefix_of

Parts = Sequence[Axis | Bits]


def write(name: str, parts: Parts, values: Mapping[str, Any]) -> str:
    """The text of decoded values."""
    fields = []
    for key, members in _families(parts).items():
        separator = "," if isinstance(members[0], Axis) else "."
        fields.append(f"{key}=" + separator.join(_show(part, values[part.name]) for part in members))
    return f"{name}:" + "/".join(fields)


def read(name: str, parts: Parts, line: str) -> dict[str, Any]:
    """The values of a text, by name.

    Raises:
        UserError: another space, an unknown or missing field, or a value that is not allowed.
    """
    head, colon, body = line.strip().partition(":")
    if not colon or head != name:
        raise UserError(f"'{line}' is not a genotype of space '{name}'.", f"It must start with '{name}:'.")
    families = _families(parts)
    fields = _fields(body, families)
    values: dict[str, Any] = {}
    for key, members in families.items():
        values |= _read_family(key, members, fields[key])
    return values


def _families(parts: Parts) -> dict[str, list[Axis | Bits]]:
    families: dict[str, list[Axis | Bits]] = {}
    for part in parts:
        families.setdefault(prefix_of(part.name), []).append(part)
    return families


def _fields(body: str, families: Mapping[str, Any]) -> dict[str, str]:
    fields = dict(field.partition("=")[::2] for field in body.split("/"))
    for key in [*fields, *families]:
        if key not in families or key not in fields:
            raise UserError(
                f"The fields of '{body}' do not match the space at '{key}'.",
                f"Expected: {', '.join(families)}.",
            )
    return fields


def _read_family(key: str, members: Sequence[Axis | Bits], field: str) -> dict[str, Any]:
    words = field.split("," if isinstance(members[0], Axis) else ".")
    if len(words) != len(members):
        raise UserError(f"'{key}={field}' has {len(words)} values, expected {len(members)}.")
    return {part.name: _read(part, word) for part, word in zip(members, words, strict=True)}


def _read(part: Axis | Bits, word: str) -> Any:
    if isinstance(part, Bits):
        if len(word) != part.length or set(word) - {"0", "1"}:
            raise UserError(f"'{word}' is not {part.length} bits for {part.name}.", "Write ones and zeros.")
        return tuple(int(bit) for bit in word)
    by_text = {_show(part, choice): choice for choice in part.choices}
    if word in by_text:
        return by_text[word]
    return part.choices[part.index(_number(word))]


def _number(word: str) -> Choice:
    try:
        return float(word)
    except ValueError:
        return word


def _show(part: Axis | Bits, value: Any) -> str:
    if isinstance(part, Bits):
        return "".join(str(bit) for bit in value)
    return repr(value) if isinstance(value, float) and not value.is_integer() else str(_whole(value))


def _whole(value: Choice) -> Choice:
    return int(value) if isinstance(value, float) else value
