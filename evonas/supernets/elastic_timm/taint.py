"""Which channels of a block belong together, found by following NaN through it.

A channel that a layer makes is set to NaN, and the next layers say in which of their channels NaN arrives: NaN passes
through everything that works channel by channel (activations, pooling, products, splits, concatenations,
permutations), and stops at layers that mix channels, which are given zeros in its place. So a block's own forward
says which positions of which tensors one channel owns, whatever it is written in. All channels of a layer are
followed in one pass: the samples of a batch are the digits of the channels' numbers. Where channels mix otherwise
than in a layer, as those of a head do in an attention, every channel is followed alone.

Legend: B samples, C channels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

# (module, side, index): a channel that a layer makes or reads, one of its groups, or one that it scales
Node = tuple[str, str, int]
MAKES, READS, GROUP, SCALES = "makes", "reads", "group", "scales"
# of what leaves the block, or came into it
OUTSIDE: Node = ("", "", 0)
# samples of one pass in which every channel is followed alone
_CHUNK = 64


@dataclass(slots=True)
class _Seen:
    """In which channels of what a module was given NaN arrived, by sample."""

    name: str
    mask: Tensor


@dataclass(slots=True)
class Channels:
    """Channels of a block, joined where they are one and the same.

    Args:
        layers: names of modules that mix channels, with their number of groups.
    """

    layers: dict[str, nn.Module] = field(default_factory=dict)
    _parent: dict[Node, Node] = field(default_factory=dict)

    def root(self, node: Node) -> Node:
        at = node
        while (above := self._parent.setdefault(at, at)) != at:
            self._parent[at] = self._parent[above]
            at = above
        return at

    def join(self, one: Node, other: Node) -> None:
        a, b = self.root(one), self.root(other)
        if a != b:
            self._parent[max(a, b)] = min(a, b)

    def classes(self) -> list[list[Node]]:
        """Nodes that belong together, without those that leave the block."""
        found: dict[Node, list[Node]] = {}
        for node in self._parent:
            found.setdefault(self.root(node), []).append(node)
        outside = self.root(OUTSIDE)
        return [sorted(nodes) for root, nodes in sorted(found.items()) if root != outside]

    def leaving(self) -> list[str]:
        """Names of the layers and parameters whose channels leave the block or belong to what came into it."""
        outside = self.root(OUTSIDE)
        found = (
            name
            for name, side, index in list(self._parent)
            if side not in ("", READS, SCALES) and self.root((name, side, index)) == outside
        )
        return list(dict.fromkeys(found))


def channels_of(block: Callable[[Tensor], Tensor], modules: dict[str, nn.Module], x: Tensor) -> Channels:
    """The channels of a block.

    Args:
        block: samples -> samples.
        modules: those inside it, by name.
        x: one sample that it is given, B=1.
    """
    watch = _Watch(modules)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), watch:
        output = block(x)
        of = Channels(dict(watch.layers))
        seen = watch.follow(lambda: block(torch.full_like(x, torch.nan)))
        _join_given(of, seen, watch)
        for name in list(watch.called):
            _follow(of, block, x, watch, name, output.numel())
        for name, parameter in _loose(modules):
            _follow_parameter(of, block, x, watch, name, parameter)
    return of


def channels_of_chain(
    blocks: Sequence[Callable[[Tensor], Tensor]],
    modules: dict[str, nn.Module],
    given: Sequence[Tensor],
    levels: Mapping[int, tuple[str, int]],
    makers: Iterable[tuple[int, str]],
    loose: Mapping[str, nn.Parameter],
) -> tuple[Channels, dict[str, set[int]]]:
    """The channels that pass from block to block; those of the image are the ones outside.

    A layer is followed from its own block up to the first one that NaN does not leave.

    Args:
        blocks: samples -> samples, one after the other.
        modules: those inside them, by name.
        given: one sample that each block is given, B=1.
        levels: by the number of the block that makes it, a level's name in its nodes, and its axis of channels.
        makers: (number of its block, name) of the layers and parameters that are followed, in order.
        loose: the parameters among them, by name.

    Returns:
        The channels, and by maker the numbers of the blocks that its channels are given to.
    """
    watch, reached = _Watch(modules), dict[str, set[int]]()

    def run(start: int, x: Tensor, maker: str) -> Tensor:
        samples = len(x) // len(given[start])
        for number in range(start, len(blocks)):
            x = blocks[number](x)
            if not x.isnan().any():
                break
            reached.setdefault(maker, set()).add(number + 1)
            if number in levels:
                watch.look(*levels[number], x)
        # nothing leaves a chain but its levels
        return x.new_zeros(samples, 1)

    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), watch:
        for block, x in zip(blocks, given, strict=True):
            block(x)
        of = Channels(dict(watch.layers))
        seen = watch.follow(lambda: run(0, torch.full_like(given[0], torch.nan), ""))
        _join_given(of, seen, watch)
        most = max(x.numel() for x in given)
        for start, name in makers:
            chain = partial(run, start, maker=name)
            if name in loose:
                _follow_parameter(of, chain, given[start], watch, name, loose[name])
            elif name in watch.called:
                _follow(of, chain, given[start], watch, name, most)
    return of, reached


def _join_given(of: Channels, seen: list[_Seen], watch: "_Watch") -> None:
    for each in seen:
        for channel in each.mask.any(0).nonzero().flatten().tolist():
            of.join(OUTSIDE, watch.node(each.name, channel))


def _follow(
    of: Channels, block: Callable[[Tensor], Tensor], x: Tensor, watch: "_Watch", name: str, size: int
) -> None:
    """Join the channels that a layer makes with those that they become."""
    count = watch.channels[name]
    digits = max(1, (count - 1).bit_length())
    numbers = torch.arange(count)
    bits = torch.stack([(numbers >> digit) % 2 == 1 for digit in range(digits)])

    def run(pattern: Tensor) -> list[_Seen]:
        watch.poison = (name, pattern)
        try:
            return watch.follow(lambda: block(x.expand(len(pattern), *x.shape[1:]).contiguous()))
        finally:
            watch.poison = None

    for channel in range(count):
        of.root(watch.made(name, channel))
    watch.by_digits = True
    found = run(torch.cat([bits, ~bits]))
    watch.by_digits = False
    if all(_one_source(each.mask[:digits], each.mask[digits:]) for each in found):
        for each in found:
            touched = each.mask.any(0).nonzero().flatten()
            sources = _numbers(each.mask[:digits, touched])
            _join(of, watch, name, each.name, zip(sources.tolist(), touched.tolist(), strict=True))
        return
    step, known = max(1, min(_CHUNK, 2**22 // max(1, size))), set[tuple[str, bytes]]()
    for start in range(0, count, step):
        pattern = torch.zeros(min(step, count - start), count, dtype=torch.bool)
        pattern[torch.arange(len(pattern)), start + torch.arange(len(pattern))] = True
        for each in run(pattern):
            for sample in each.mask.any(1).nonzero().flatten().tolist():
                row = each.mask[sample]
                reached, key = row.nonzero().flatten().tolist(), (each.name, row.numpy().tobytes())
                # channels that one source has joined need no other one
                pairs = ((start + sample, channel) for channel in (reached[:1] if key in known else reached))
                known.add(key)
                _join(of, watch, name, each.name, pairs)


def _one_source(one: Tensor, other: Tensor) -> bool:
    """Whether NaN came to every channel from one channel: its number's digits, and no others, are set."""
    return bool((one ^ other)[:, (one | other).any(0)].all())


def _numbers(digits: Tensor) -> Tensor:
    return (digits.long() << torch.arange(len(digits))[:, None]).sum(0)


def _join(of: Channels, watch: "_Watch", maker: str, reader: str, pairs: Iterable[tuple[int, int]]) -> None:
    # whatever leaves the block is one
    for source, channel in set(pairs) if reader else {(source, 0) for source, _ in pairs}:
        of.join(watch.made(maker, source), watch.node(reader, channel))


def _follow_parameter(
    of: Channels,
    block: Callable[[Tensor], Tensor],
    x: Tensor,
    watch: "_Watch",
    name: str,
    parameter: nn.Parameter,
) -> None:
    """Join positions along the axes of a parameter that no layer owns with the channels that they act on."""
    before = parameter.detach().clone()
    for axis, count in enumerate(parameter.shape):
        if count == 1:
            continue
        digits = (count - 1).bit_length()
        marks: dict[str, list[Tensor]] = {}
        for digit in range(2 * digits):
            chosen = (torch.arange(count) >> (digit % digits)) % 2 == (1 if digit < digits else 0)
            parameter.data.index_fill_(axis, chosen.nonzero().flatten(), torch.nan)
            for each in watch.follow(lambda: block(x)):
                marks.setdefault(each.name, []).append(each.mask.any(0))
            parameter.data.copy_(before)
        for seen, rows in marks.items():
            if len(rows) != 2 * digits:
                continue
            one, other = torch.stack(rows[:digits]), torch.stack(rows[digits:])
            if not _one_source(one, other):
                # every position acts on everything, as those of tokens do
                break
            touched = (one | other).any(0).nonzero().flatten().tolist()
            for source, channel in {*zip(_numbers(one[:, touched]).tolist(), touched, strict=True)}:
                of.join((name, f"{SCALES}{axis}", source), watch.node(seen, channel if seen else 0))


def _loose(modules: dict[str, nn.Module]) -> Iterator[tuple[str, nn.Parameter]]:
    for name, module in modules.items():
        if not isinstance(module, LAYERS) and not _scales(module):
            yield from ((f"{name}.{key}", each) for key, each in module.named_parameters(recurse=False))


LAYERS = (nn.Conv2d, nn.Linear)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


def _scales(module: nn.Module) -> bool:
    """Whether a module has one number for every channel and changes no other than its own, up to a norm."""
    if isinstance(module, NORMS):
        return True
    sizes = {each.numel() for each in module.parameters(recurse=False)}
    return not list(module.children()) and len(sizes) == 1 and sizes != {1}


def width_of(module: nn.Module) -> int:
    """The channels that a scaling module has numbers for."""
    found = [each.numel() for each in (*module.parameters(recurse=False), *module.buffers(recurse=False))]
    return max(found, default=0)


class _Watch:
    """Hooks that see NaN, stop it at layers and put it where `poison` says."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self._modules = modules
        self.layers = {name: each for name, each in modules.items() if isinstance(each, LAYERS)}
        self.channels: dict[str, int] = {}
        self.called: dict[str, None] = {}
        self.poison: tuple[str, Tensor] | None = None
        self._seen: list[_Seen] = []
        self._samples = 1
        self.by_digits = False
        self._shared: set[str] = set()
        self._marks: dict[str, Tensor | None] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> "_Watch":
        for name, module in self._modules.items():
            if isinstance(module, LAYERS):
                self._handles.append(module.register_forward_pre_hook(self._before_layer(name)))
                self._handles.append(module.register_forward_hook(self._behind_layer(name)))
            elif _scales(module) and width_of(module) > 1:
                self._handles.append(module.register_forward_pre_hook(self._before_scale(name, module)))
                self._handles.append(module.register_forward_hook(self._behind_scale(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def follow(self, run: Callable[[], Tensor]) -> list[_Seen]:
        """Where NaN arrives in a run; at last, in what leaves the block."""
        self._seen = []
        self._samples = 1 if self.poison is None else len(self.poison[1])
        output = run()
        self._seen.append(_Seen("", output.isnan().reshape(self._samples, -1)))
        return self._seen

    def look(self, name: str, axis: int, x: Tensor) -> None:
        """See where NaN is in a map that is no module's, and leave it there."""
        self._seen.append(_Seen(name, self._mask(x, axis)))

    def made(self, name: str, channel: int) -> Node:
        """The node of a channel that a layer makes."""
        layer = self.layers[name]
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            return name, GROUP, channel * layer.groups // layer.out_channels
        return name, MAKES, channel

    def node(self, name: str, channel: int) -> Node:
        """The node of a channel that a module is given."""
        if not name:
            return OUTSIDE
        layer = self.layers.get(name)
        if layer is None:
            return name, SCALES, channel
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            return name, GROUP, channel * layer.groups // layer.in_channels
        return name, READS, channel

    def _mask(self, x: Tensor, axis: int) -> Tensor:
        """(samples, channels) where NaN is."""
        moved = x.isnan().movedim(axis, -1)
        if moved.shape[0] % self._samples:
            return moved.reshape(-1, moved.shape[-1]).any(0).expand(self._samples, -1)
        return moved.reshape(self._samples, -1, moved.shape[-1]).any(1)

    def _before_layer(self, name: str) -> Callable[..., tuple[Tensor, ...] | None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            x = given[0]
            mask = self._mask(x, 1 if isinstance(module, nn.Conv2d) else -1)
            if not mask.any():
                return None
            self._seen.append(_Seen(name, mask))
            return (x.nan_to_num(nan=0.0), *given[1:])

        return hook

    def _behind_layer(self, name: str) -> Callable[..., Tensor | None]:
        def hook(module: nn.Module, _: object, output: Tensor) -> Tensor | None:
            axis = 1 if isinstance(module, nn.Conv2d) else output.ndim - 1
            self.called.setdefault(name)
            self.channels[name] = output.shape[axis]
            if self.poison is None or self.poison[0] != name:
                return None
            pattern = self.poison[1].repeat_interleave(output.shape[0] // self._samples, 0)
            shape = [1] * output.ndim
            shape[0], shape[axis] = pattern.shape
            return output.masked_fill(pattern.view(shape), torch.nan)

        return hook

    def _before_scale(self, name: str, module: nn.Module) -> Callable[..., tuple[Tensor, ...] | None]:
        width = width_of(module)

        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            x = given[0]
            axis = channel_axis(module, x)
            self._marks[name] = None
            if x.shape[axis] != width:
                return None
            mask = self._mask(x, axis)
            # what several channels pass through is not owned by any of them
            if self.by_digits and not _one_source(*mask.chunk(2)):
                self._shared.add(name)
            if name in self._shared or not mask.any():
                return None
            self._seen.append(_Seen(name, mask))
            self._marks[name] = x.isnan()
            return (x.nan_to_num(nan=0.0), *given[1:])

        return hook

    def _behind_scale(self, name: str) -> Callable[..., Tensor | None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> Tensor | None:
            marks = self._marks.get(name)
            return None if marks is None else output.masked_fill(marks, torch.nan)

        return hook


def channel_axis(module: nn.Module, x: Tensor) -> int:
    """The axis of channels in what a scaling module is given."""
    given = getattr(module, "channel_dim", None)
    if isinstance(given, int):
        return given
    is_first = isinstance(module, (nn.GroupNorm, nn.modules.batchnorm._NormBase))
    return 1 if x.ndim > 2 and (is_first or type(module).__name__.endswith("2d")) else x.ndim - 1
