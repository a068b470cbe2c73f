"""Frozen networks of other projects: built by `transformers`, filled from a file on disk.

Legend: B batch, C channels, H W space, L tokens.

Nothing is ever fetched from a hub. Weights come through `weights.load_foreign`, in the names of
the hub's safetensors or in those of the projects' own `.pth` files (see `renaming.py`).
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
# side of the square images that DINOv2's position grid was trained on, in pixels
TRAINED_ON = 518
# added to the number of patches when positions are resampled, by DINOv2 and all who build on it
_OFFSET = 0.1
# what training with masks leaves in a checkpoint; no answer depends on it
_UNUSED = "mask_token"
# enough patches to see a feature's stride, few enough to cost nothing
_PROBE = 4 * PATCH


@dataclass(frozen=True, slots=True)
class Encoder:
    """A vision transformer of DINOv2's kind, and the DPT decoder that Depth Anything puts on it.

    Args:
        width, layers, heads: of the transformer.
        spread: the layers (from 1) that Depth Anything v2 decodes.
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
        """The last four layers (from 1), which Depth Anything v1 decodes."""
        return tuple(range(self.layers - 3, self.layers + 1))


# arXiv 2304.07193, table 17; arXiv 2401.10891 and 2406.09414 with the configurations beside their weights
ENCODERS = {
    "tiny": Encoder(32, 4, 2, (1, 2, 3, 4), (8, 16, 32, 32), 16),
    "small": Encoder(384, 12, 6, (3, 6, 9, 12), (48, 96, 192, 384), 64),
    "base": Encoder(768, 12, 12, (3, 6, 9, 12), (96, 192, 384, 768), 128),
    "large": Encoder(1024, 24, 16, (5, 12, 18, 24), (256, 512, 1024, 1024), 256),
}


def encoder(size: str) -> Encoder:
    """The encoder of a size, or a UserError that names the sizes."""
    if size not in ENCODERS:
        raise UserError(f"teacher.size={size} is unknown.", f"Known: {', '.join(ENCODERS)}")
    return ENCODERS[size]


@dataclass(frozen=True, slots=True)
class Published:
    """A weights file that somebody offers: its place below the teachers' folder, and its project."""

    file: str
    page: str


def find_weights(
    given: str | None, folder: str, offered: Sequence[Published], size: str, name: str
) -> Path | None:
    """The weights file to load; None asks for random weights, which only size `tiny` may have.

    Args:
        given: `teacher.weights`, or None to look for an offered file in `folder`.
        name: of the network, for messages.

    Raises:
        UserError: no file; says which one is expected and which project has it.
    """
    if given is None and size == "tiny":
        return None
    places = [Path(given)] if given is not None else [Path(folder) / each.file for each in offered]
    for place in places:
        if place.is_file():
            return place
    if not offered:
        missing = f"there is no {given}" if given is not None else "nobody offers them"
        raise UserError(f"No weights of {name}: {missing}.", "Give a file: teacher.weights=<file>")
    known = " or ".join(f"{Path(each.file).name} of {each.page}" for each in offered)
    raise UserError(
        f"The weights of {name} are missing: there is no {places[0]}.",
        f"Get {known}, then type: teacher.weights=<file>",
    )


class Frozen(nn.Module):
    """Holds a network that moves with its owner, but is neither trained nor saved with it.

    Args:
        network: put into eval mode for good.
        source: its weights file, or None where they are random.
    """

    has_output = True

    def __init__(self, network: nn.Module, source: Path | None) -> None:
        super().__init__()
        _keep_positions(network)
        # a tuple hides the network from parameters(), the state dict and train()
        self._network = (network.eval().requires_grad_(False),)
        self.num_params = count_params(network)
        digest = files.sha256(source) if source else _digest(network)
        self.origin: Origin | None = Origin(str(source) if source else None, digest)

    @property
    def network(self) -> Any:
        """The hidden network."""
        return self._network[0]

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
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
    """Resample the position grid as the encoder was trained; `transformers` leaves out the offset."""
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
    """The package `transformers`, imported at the first call.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UserError(
            "This teacher needs the package 'transformers', which is not installed.",
            "pip install 'evonas[teachers]'",
        ) from error


def encoder_config(of: Encoder, layers: Sequence[int], as_maps: bool) -> Any:
    """DINOv2's configuration with the outputs of `layers` (from 1), normalised."""
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
    """A network of a class of `transformers`, with every weight taken from `tensors`.

    Raises:
        DataError: a weight is missing, left over, or has another shape.
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
    """Fill a module in place; every name and shape must agree."""
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise _foreign(source, str(error).splitlines()[-1].strip()) from error


def _foreign(source: Path, why: str) -> DataError:
    return DataError(
        f"{source} holds another network: {why}.", "Check teacher.family, teacher.size and the file."
    )


def read_weights(source: Path) -> dict[str, Tensor]:
    """The file's tensors without the `module.` that parallel training leaves in front of names."""
    tensors = weights.load_foreign(source)
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no reports of `transformers`: what is wrong is said by `filled`."""
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
def watching(network: nn.Module, *paths: str) -> Iterator[dict[str, Any]]:
    """What the modules at `paths` gave last in this thread while inside, by path.

    Other threads may run the same network, watched or not; nothing is left on it afterwards.

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
    """A watched feature as B C H W: maps stay, tokens (B L C) lose what comes before the patches."""
    if isinstance(feature, tuple | list):
        feature = feature[0]
    if feature.ndim == 4:
        return feature
    patches = grid[0] * grid[1]
    # a class token may come first
    if feature.ndim != 3 or feature.shape[1] not in (patches, patches + 1):
        raise UserError(
            f"teacher.feature gives a tensor of shape {tuple(feature.shape)}, which is no map.",
            "Choose a module that gives B C H W, or a layer of the transformer.",
        )
    return feature[:, -patches:].transpose(1, 2).unflatten(-1, grid)


@torch.no_grad()
def level_of(network: nn.Module, path: str) -> Level:
    """Channels and stride (in the teacher's own pixels) of a watched feature, from a small image."""
    image = torch.zeros(1, 3, _PROBE, _PROBE)
    with watching(network, path) as seen:
        network(image)
    if path not in seen:
        raise UserError(f"teacher.feature={path} takes no part in the teacher's answer.")
    found = as_map(seen[path], (_PROBE // PATCH, _PROBE // PATCH))
    return Level(found.shape[1], _PROBE // found.shape[-1])


def check_input(size: Sequence[int]) -> tuple[int, int]:
    """The input's rows and columns, refused unless both are positive multiples of the patch size."""
    height, width = (int(side) for side in size)
    if height < PATCH or width < PATCH or height % PATCH or width % PATCH:
        raise UserError(
            f"teacher.input_size=[{height},{width}] does not fit patches of {PATCH} pixels.",
            "Use multiples of 14, such as teacher.input_size=[392,518].",
        )
    return height, width


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear with aligned corners, in float32, as Depth Anything resizes images and depths."""
    if tuple(x.shape[-2:]) == size:
        return x.float()
    return F.interpolate(x.float(), size=size, mode="bilinear", align_corners=True)
