"""Frozen pretrained networks, built with `transformers` and loaded from a weights file.

Legend: B batch, C channels, H W space, L tokens.

Nothing is downloaded. `weights.load_foreign` reads the safetensors of the Hugging Face hub or the original `.pth`
files of the projects (see `checkpoint_names.py`).
"""

import hashlib
import importlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.nn.level import Level
from evonas.train.teachers.base import Origin, count_params

PATCH = 14
# side of DINOv2's training images in pixels, which its position grid fits
TRAINED_ON = 518
# DINOv2's offset to the number of patches in the interpolation of positions
_OFFSET = 0.1
# parameter of masked pre-training, without influence on outputs
_UNUSED = "mask_token"
# side of the image that determines a feature's stride
_PROBE = 4 * PATCH


@dataclass(frozen=True, slots=True)
class Encoder:
    """Sizes of a DINOv2 vision transformer and of Depth Anything's DPT decoder.

    Args:
        width, layers, heads: sizes of the transformer.
        spread: layers, counted from 1, that Depth Anything v2 decodes.
        neck: channels of the four reassembled maps.
        fusion: channels of the decoder.
    """

    width: int
    layers: int
    heads: int
    spread: tuple[int, ...]
    neck: tuple[int, ...]
    fusion: int

    @property
    def last(self) -> tuple[int, ...]:
        """The last four layers, counted from 1, which Depth Anything v1 decodes."""
        return tuple(range(self.layers - 3, self.layers + 1))


# arXiv 2304.07193, table 17; arXiv 2401.10891 and 2406.09414 with their published configurations
ENCODERS = {
    "tiny": Encoder(32, 4, 2, (1, 2, 3, 4), (8, 16, 32, 32), 16),
    "small": Encoder(384, 12, 6, (3, 6, 9, 12), (48, 96, 192, 384), 64),
    "base": Encoder(768, 12, 12, (3, 6, 9, 12), (96, 192, 384, 768), 128),
    "large": Encoder(1024, 24, 16, (5, 12, 18, 24), (256, 512, 1024, 1024), 256),
}


def encoder(size: str) -> Encoder:
    """The encoder of a size.

    Raises:
        UserError: size is unknown.
    """
    if size not in ENCODERS:
        raise UserError(f"teacher.size={size} is unknown.", f"Known: {', '.join(ENCODERS)}")
    return ENCODERS[size]


@dataclass(frozen=True, slots=True)
class Published:
    """A published weights file: its path below the folder of teachers' weights, and its web page."""

    file: str
    page: str


def find_weights(
    given: str | None, folder: str, offered: Sequence[Published], size: str, name: str
) -> Path | None:
    """The weights file to load, or None for random weights, which only size `tiny` uses.

    Args:
        given: `teacher.weights`, or None to search `folder` for a published file.
        folder: folder of teachers' weights.
        offered: published files.
        size: size of the network.
        name: name of the network, for messages.

    Raises:
        UserError: no file exists; the message names the expected file and its web page.
    """
    if given is None and size == "tiny":
        return None
    places = [Path(given)] if given is not None else [Path(folder) / each.file for each in offered]
    for place in places:
        if place.is_file():
            return place
    if not offered:
        missing = f"{given} does not exist" if given is not None else "none are published"
        raise UserError(f"No weights of {name}: {missing}.", "Set teacher.weights=<file>.")
    known = " or ".join(f"{Path(each.file).name} of {each.page}" for each in offered)
    raise UserError(
        f"The weights of {name} are missing: {places[0]} does not exist.",
        f"Download {known}, then set teacher.weights=<file>.",
    )


class FrozenNetwork(nn.Module):
    """Wraps a network that moves with its owner but is neither trained nor saved with it.

    Args:
        network: the network; it is put into eval mode permanently.
        source: its weights file, or None for random weights.
    """

    has_output = True

    def __init__(self, network: nn.Module, source: Path | None) -> None:
        super().__init__()
        _keep_positions(network)
        # a tuple excludes the network from parameters(), the state dict and train()
        self._network = (network.eval().requires_grad_(False),)
        self.num_params = count_params(network)
        digest = files.sha256(source) if source else _digest(network)
        self.origin: Origin | None = Origin(str(source) if source else None, digest)

    @property
    def network(self) -> Any:
        """The wrapped network."""
        return self._network[0]

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FrozenNetwork":
        super()._apply(fn, recurse)
        self.network._apply(fn)
        return self


def _digest(network: nn.Module) -> str:
    whole = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        whole.update(name.encode())
        whole.update(tensor.cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def _keep_positions(network: nn.Module) -> None:
    """Interpolates positions as DINOv2 does; `transformers` omits the offset."""
    for module in network.modules():
        if hasattr(module, "interpolate_pos_encoding"):
            embeddings: Any = module
            embeddings.interpolate_pos_encoding = MethodType(_positions, module)


def _positions(embeddings: Any, _tokens: Tensor, height: int, width: int) -> Tensor:
    """Positions (1 L C) of the class token and of all patches of an image of height x width pixels."""
    known: Tensor = embeddings.position_embeddings
    side = math.isqrt(known.shape[1] - 1)
    rows, columns = height // PATCH, width // PATCH
    if (rows, columns) == (side, side):
        return known
    grid = known[:, 1:].transpose(1, 2).unflatten(-1, (side, side)).float()
    scale = ((rows + _OFFSET) / side, (columns + _OFFSET) / side)
    placed = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat((known[:, :1], placed.flatten(2).transpose(1, 2).to(known.dtype)), dim=1)


def transformers() -> Any:
    """Imports the package `transformers`.

    Raises:
        UserError: the package is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UserError(
            "This teacher needs the package 'transformers', which is not installed.",
            "pip install 'evonas[teachers]'",
        ) from error


def encoder_config(of: Encoder, layers: Sequence[int], as_maps: bool) -> Any:
    """DINOv2's configuration with the normalised outputs of `layers`, counted from 1."""
    return transformers().Dinov2Config(
        image_size=TRAINED_ON,
        patch_size=PATCH,
        hidden_size=of.width,
        num_hidden_layers=of.layers,
        num_attention_heads=of.heads,
        out_indices=list(layers),
        reshape_hidden_states=as_maps,
    )


def filled(kind: Any, config: Any, tensors: Mapping[str, Tensor], source: Path) -> nn.Module:
    """A network of `transformers` with all weights loaded from `tensors`.

    Args:
        kind: model class.
        config: its configuration.
        tensors: weights with the names of the hub.
        source: their file, for messages.

    Raises:
        DataError: a weight is missing, unexpected, or has another shape.
    """
    options = {"config": config, "state_dict": dict(tensors), "output_loading_info": True}
    with _quiet():
        try:
            network, found = kind.from_pretrained(None, dtype=torch.float32, **options)
        except RuntimeError as error:
            raise _foreign(source, str(error).splitlines()[0]) from error
    for problem in ("missing", "unexpected", "mismatched"):
        names = sorted(name for name in map(str, found[f"{problem}_keys"]) if not name.endswith(_UNUSED))
        if names:
            raise _foreign(source, f"{len(names)} weights are {problem}, such as {names[0]}")
    made: nn.Module = network
    return made


def load_all(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Loads weights into a module in place.

    Raises:
        DataError: names or shapes differ.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise _foreign(source, str(error).splitlines()[-1].strip()) from error


def _foreign(source: Path, why: str) -> DataError:
    return DataError(
        f"{source} contains another network: {why}.", "Check teacher.family, teacher.size and the file."
    )


def read_weights(source: Path) -> dict[str, Tensor]:
    """The tensors of a weights file; the prefix `module.` of parallel training is removed from names."""
    tensors = weights.load_foreign(source)
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses progress bars and reports of `transformers`; `filled` reports errors itself."""
    logging = transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def recorded_outputs(network: nn.Module, *paths: str) -> Iterator[dict[str, Any]]:
    """Yields a mapping from each path to the latest output of its module in this thread.

    Other threads may run the same network. All hooks are removed at the end.

    Raises:
        UserError: there is no such module.
    """
    seen: dict[str, Any] = {}
    handles = []
    try:
        for path in paths:
            handles.append(_module(network, path).register_forward_hook(_keep(seen, path)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _module(network: nn.Module, path: str) -> nn.Module:
    try:
        return network.get_submodule(path)
    except AttributeError as error:
        raise UserError(
            f"teacher.feature={path} is not a module of the teacher.",
            f"Its parts: {', '.join(name for name, _ in network.named_children())}",
        ) from error


def _keep(seen: dict[str, Any], path: str) -> Callable[[nn.Module, Any, Any], None]:
    thread = threading.get_ident()

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            seen[path] = output

    return keep


def as_map(feature: Any, grid: tuple[int, int]) -> Tensor:
    """A feature as B C H W: maps are kept, tokens (B L C) are reshaped without the class token.

    Args:
        feature: output of a module.
        grid: rows and columns of patches.

    Raises:
        UserError: the feature has another shape.
    """
    if isinstance(feature, tuple | list):
        feature = feature[0]
    if feature.ndim == 4:
        return feature
    patches = grid[0] * grid[1]
    # a class token may come first
    if feature.ndim != 3 or feature.shape[1] not in (patches, patches + 1):
        raise UserError(
            f"teacher.feature has shape {tuple(feature.shape)}, which is not a feature map.",
            "Choose a module with output B C H W, or a layer of the transformer.",
        )
    return feature[:, -patches:].transpose(1, 2).unflatten(-1, grid)


@torch.no_grad()
def level_of(network: nn.Module, path: str) -> Level:
    """Channels of a feature and its stride in pixels of the network's input, measured on a small image.

    Raises:
        UserError: the module does not exist, does not run, or has no feature map.
    """
    image = torch.zeros(1, 3, _PROBE, _PROBE)
    with recorded_outputs(network, path) as seen:
        network(image)
    if path not in seen:
        raise UserError(f"teacher.feature={path} does not run in the teacher's forward pass.")
    found = as_map(seen[path], (_PROBE // PATCH, _PROBE // PATCH))
    return Level(found.shape[1], _PROBE // found.shape[-1])


def check_input(size: Sequence[int]) -> tuple[int, int]:
    """Validates an input size (height, width).

    Raises:
        UserError: a side is not a positive multiple of the patch size.
    """
    height, width = (int(side) for side in size)
    if height < PATCH or width < PATCH or height % PATCH or width % PATCH:
        raise UserError(
            f"teacher.input_size must be multiples of {PATCH}, got [{height},{width}].",
            "Use multiples of 14, such as teacher.input_size=[392,518].",
        )
    return height, width


def network_input(x: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Images resized to `size`; for None, padded with zeros, right and below, to multiples of the patch size."""
    if size is not None:
        return resized(x, size)
    rows, columns = (-side % PATCH for side in x.shape[-2:])
    return F.pad(x, (0, columns, 0, rows))


def restored(output: Tensor, size: tuple[int, int], input_size: tuple[int, int] | None) -> Tensor:
    """A dense output at the `size` of the images: cropped if `network_input` padded them, else resized."""
    if input_size is None:
        return output[..., : size[0], : size[1]]
    return F.interpolate(output, size=size, mode="bilinear", align_corners=False)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes bilinearly with aligned corners, in float32, as Depth Anything does."""
    if tuple(x.shape[-2:]) == size:
        return x.float()
    return F.interpolate(x.float(), size=size, mode="bilinear", align_corners=True)
