"""Registry of necks by name, for heads whose settings are JSON data."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from evonas.errors import UserError
from evonas.nn.necks.fpn import FPN
from evonas.nn.necks.mamba_fpn import MambaFPN

NECKS: Mapping[str, type[nn.Module]] = {"fpn": FPN, "mamba": MambaFPN}


def made(neck: Callable[..., nn.Module] | Mapping[str, Any]) -> Callable[..., nn.Module]:
    """The constructor of a neck, from a callable or from a description (`kind` and keywords).

    Raises:
        UserError: kind is unknown.
    """
    if callable(neck):
        return neck
    options = dict(neck)
    kind = str(options.pop("kind", None))
    if kind not in NECKS:
        raise UserError(f"head.neck.kind={kind} is unknown.", f"Known: {', '.join(NECKS)}.")
    return partial(NECKS[kind], **options)


def described(neck: Callable[..., nn.Module] | Mapping[str, Any]) -> dict[str, Any] | None:
    """The description of a neck as JSON data; None for a neck outside the registry."""
    if not callable(neck):
        return dict(neck)
    options = dict(neck.keywords) if isinstance(neck, partial) else {}
    maker = neck.func if isinstance(neck, partial) else neck
    for kind, known in NECKS.items():
        if maker is known:
            return {"kind": kind, **{key: plain(value) for key, value in options.items()}}
    return None


def plain(value: Any) -> Any:
    """A keyword as JSON data."""
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
