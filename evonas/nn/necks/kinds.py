"""Necks by name, so that a head can say in plain data which one it has."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from evonas.errors import UserError
from evonas.nn.necks.fpn import FPN
from evonas.nn.necks.mamba_fpn import MambaFPN

KINDS: Mapping[str, type[nn.Module]] = {"fpn": FPN, "mamba": MambaFPN}


def made(neck: Callable[..., nn.Module] | Mapping[str, Any]) -> Callable[..., nn.Module]:
    """What makes a neck from levels: the callable itself, or the one that a description names.

    Raises:
        UserError: the description names an unknown kind.
    """
    if callable(neck):
        return neck
    options = dict(neck)
    kind = str(options.pop("kind", None))
    if kind not in KINDS:
        raise UserError(f"There is no neck '{kind}'.", f"Known: {', '.join(KINDS)}.")
    return partial(KINDS[kind], **options)


def described(neck: Callable[..., nn.Module] | Mapping[str, Any]) -> dict[str, Any] | None:
    """The kind of neck and its keywords as plain data; None for a neck that is not ours."""
    if not callable(neck):
        return dict(neck)
    options = dict(neck.keywords) if isinstance(neck, partial) else {}
    maker = neck.func if isinstance(neck, partial) else neck
    for kind, known in KINDS.items():
        if maker is known:
            return {"kind": kind, **{key: plain(value) for key, value in options.items()}}
    return None


def plain(value: Any) -> Any:
    """A keyword as JSON has it."""
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
