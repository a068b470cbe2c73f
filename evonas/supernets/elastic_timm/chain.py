"""The modules that a timm model passes its map through, one after the other, found by watching it run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from evonas.errors import UserError
from evonas.supernets.elastic_timm.model import call

_MIXING = (nn.Conv2d, nn.Linear)


@dataclass(slots=True)
class _Call:
    """One call of a module, what it was given, and the calls inside it."""

    name: str
    module: nn.Module
    given: Tensor | None
    made: Tensor | None = None
    inside: list["_Call"] = field(default_factory=list)


def chain(model: nn.Module, image: Tensor, ends: Sequence[str]) -> list[list[str]]:
    """Names of modules whose composition is the model, up to the last one, grouped into blocks.

    A block is a module that is more than a sequence of others, such as a residual block, or some plain layers in a
    row. A vision transformer's positions are added by a method, which stands here with a colon before its name.

    Args:
        image: small.
        ends: names of the modules that make feature maps, in order; a block ends there.

    Raises:
        UserError: the model does not pass one map from module to module.
    """
    found: list[list[str]] = []
    reached, may_grow = image, False
    for each in _watch(model, image):
        if each.given is not reached:
            name = _method_between(model, found, reached, each)
            if name is None:
                raise _no_chain(model, each.name)
            found[-1].append(name)
        for element in _expanded(each):
            is_plain = sum(isinstance(module, _MIXING) for module in element.module.modules()) <= 1
            if is_plain and may_grow:
                found[-1].append(element.name)
            else:
                found.append([element.name])
            may_grow = is_plain and not any(ends_with(model, element.name, end) for end in ends)
            if ends_with(model, element.name, ends[-1]):
                return found
        if each.made is None:
            raise _no_chain(model, each.name)
        reached = each.made
    raise _no_chain(model, ends[-1])


def _no_chain(model: nn.Module, name: str) -> UserError:
    return UserError(
        f"{type(model).__name__} cannot be made elastic: {name} reads more than the map that the module before "
        "it makes.",
        "Choose a model that is one chain of blocks, such as network.name=resnet18.",
    )


def ends_with(model: nn.Module, name: str, end: str) -> bool:
    """Whether a module is another one, or the last inside it."""
    if name == end:
        return True
    if not name.startswith(f"{end}."):
        return False
    last = model.get_submodule(end)
    for word in name.removeprefix(f"{end}.").split("."):
        if word != list(last._modules)[-1]:
            return False
        last = last.get_submodule(word)
    return True


def levels(model: nn.Module) -> list[dict[str, Any]]:
    """timm's list of feature maps: module, channels and stride."""
    info: Any = model.feature_info
    return [
        {"module": each["module"], "channels": each["num_chs"], "stride": each["reduction"]}
        for each in getattr(info, "info", info)
    ]


def _method_between(model: nn.Module, found: list[list[str]], reached: Tensor, after: _Call) -> str | None:
    """The method that makes what a module is given from what the module before made."""
    if not found or not hasattr(model, "_pos_embed"):
        return None
    with torch.no_grad():
        made = call(model, [":_pos_embed"], reached)
    same = after.given is not None and made.shape == after.given.shape and torch.equal(made, after.given)
    return ":_pos_embed" if same else None


def _watch(model: nn.Module, image: Tensor) -> list[_Call]:
    """The outermost calls of modules while the model makes its features."""
    top = _Call("", model, image)
    stack, handles = [top], []
    for name, module in model.named_modules():
        if name:
            handles.append(
                module.register_forward_pre_hook(
                    lambda module, given, named, name=name: stack.append(
                        _Call(name, module, _only_tensor(given, named))
                    ),
                    with_kwargs=True,
                )
            )
            handles.append(module.register_forward_hook(lambda *given: _leave(stack, given[-1])))
    try:
        with torch.no_grad():
            model.forward_features(image)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    return top.inside


def _only_tensor(given: tuple[object, ...], named: dict[str, object]) -> Tensor | None:
    if (
        len(given) == 1
        and isinstance(given[0], Tensor)
        and not any(value is not None for value in named.values())
    ):
        return given[0]
    return None


def _leave(stack: list[_Call], output: object) -> None:
    ended = stack.pop()
    ended.made = output if isinstance(output, Tensor) else None
    stack[-1].inside.append(ended)


def _is_chain(of: _Call) -> bool:
    at = of.given
    for each in of.inside:
        if each.given is None or each.given is not at:
            return False
        at = each.made
    return bool(of.inside) and at is of.made


def _is_sequence(of: _Call) -> bool:
    """Whether a module is only a row of blocks, as a stage is."""
    if not _is_chain(of):
        return False
    if isinstance(of.module, nn.Sequential) or any(_is_sequence(each) for each in of.inside):
        return True
    return all(each.inside and not _is_chain(each) for each in of.inside)


def _expanded(of: _Call) -> list[_Call]:
    if not _is_sequence(of):
        return [of]
    return [inner for each in of.inside for inner in _expanded(each)]
