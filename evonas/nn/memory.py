"""How much memory the tensors of a computation take while it runs, on any device.

What a computation is given counts for nothing: weights and images are there before it begins.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(act: Callable[[], Any]) -> int:
    """The most bytes of tensors made by `act` that live at one time.

    Kernels that are not torch's own are passed over for plain operations, whose passing tensors are more.
    """
    watch = _Watch()
    with torch.inference_mode(), watch:
        act()
    return watch.most


class _Watch(TorchDispatchMode):
    """Adds the size of each new piece of memory, and takes it off when the last tensor in it goes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = weakref.WeakSet[Any]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {each.untyped_storage() for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor):
                self._note(each.untyped_storage(), given)
        return made

    def _note(self, memory: Any, given: set[Any]) -> None:
        if memory in self._known or memory in given:
            return
        self._known.add(memory)
        size = memory.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(memory, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size
