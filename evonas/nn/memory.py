"""Peak memory of the tensors that a computation allocates, on any device."""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(act: Callable[[], Any]) -> int:
    """The peak number of bytes of tensors allocated by `act`; its inputs do not count.

    Custom kernels are replaced by torch operations, which allocate more intermediate tensors.
    """
    watch = _Watch()
    with torch.inference_mode(), watch:
        act()
    return watch.most


class _Watch(TorchDispatchMode):
    """Tracks the total size of storages from their allocation until they are freed."""

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
