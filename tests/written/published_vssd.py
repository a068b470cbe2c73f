"""VSSD in plain torch, written from the published formulas: what a checkpoint of it computes.

The formulas are those of VSSD (arXiv 2407.18559): a block is x + dw(x), + mixer(LN x), + dw(x),
+ MLP(LN x); the mixer is [z, x, B, C, dt] = u W_in, dt' = softplus(dt + bias),
[x, B, C] = SiLU(dw[x, B, C]), S_h = sum_l B_l (dt'_l exp(A_log_h) x_l)^T, y_l = C_l S_h + D_h x_l,
out = (LN(y) z) W_out. Parameters carry the names and shapes of the published state dicts.

Legend: B batch, D width, H W space, L tokens, I inner width, S state, N heads, P head dim.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Sizes:
    """What a checkpoint was made for; the defaults are those of VSSD-Tiny."""

    dims: Sequence[int] = (64, 128, 256, 512)
    depths: Sequence[int] = (2, 4, 8, 4)
    heads: Sequence[int] = (2, 4, 8, 16)
    expand: int = 2
    states: int = 64
    mlp: int = 4
    stem: int = 32
    stem_ratio: int = 4
    merge_ratio: int = 4


class Checkpoint:
    """Makes a state dict in the published names, every tensor drawn from one seed."""

    def __init__(self, sizes: Sizes, seed: int = 0) -> None:
        self.sizes, self.state = sizes, State()
        self._random = torch.Generator().manual_seed(seed)
        self._stem()
        for stage in range(4):
            for block in range(sizes.depths[stage]):
                self._block(f"layers.{stage}.blocks.{block}", stage)
            if stage < 3:
                self._merge(f"layers.{stage}.downsample.conv", sizes.dims[stage], sizes.dims[stage + 1])

    def classifier(self, classes: int) -> State:
        """With the end of a classifier: norm and linear layer."""
        whole = Checkpoint._copy(self)
        whole._norm("norm", self.sizes.dims[-1])
        whole._linear("head", self.sizes.dims[-1], classes)
        return whole.state

    def backbone(self) -> State:
        """With the end of a backbone: one norm per level."""
        whole = Checkpoint._copy(self)
        for stage, dim in enumerate(self.sizes.dims):
            whole._norm(f"outnorm{stage}", dim)
        return whole.state

    def _copy(self) -> "Checkpoint":
        other = object.__new__(Checkpoint)
        other.sizes, other.state = self.sizes, dict(self.state)
        other._random = torch.Generator().manual_seed(99)
        return other

    def _stem(self) -> None:
        narrow, dim = self.sizes.stem, self.sizes.dims[0]
        wide = self.sizes.stem_ratio * dim
        for name, before, after, kernel in (
            ("conv1", 3, narrow, 3), ("conv2.0", narrow, narrow, 3), ("conv2.1", narrow, narrow, 3),
            ("conv3.0", narrow, wide, 3), ("conv3.1", wide, dim, 1),
        ):  # fmt: skip
            self._conv(f"patch_embed.{name}.conv", after, before, kernel, bias=False)
            self._batch_norm(f"patch_embed.{name}.norm", after)

    def _merge(self, name: str, before: int, after: int) -> None:
        wide = self.sizes.merge_ratio * after
        self._conv(f"{name}.0.conv", wide, before, 1)
        self._conv(f"{name}.1.conv", wide, 1, 3)
        self._conv(f"{name}.2.conv", after, wide, 1)
        self._batch_norm(f"{name}.2.norm", after)

    def _block(self, name: str, stage: int) -> None:
        dim = self.sizes.dims[stage]
        for kind in ("cpe1", "cpe2"):
            self._conv(f"{name}.{kind}", dim, 1, 3)
        for kind in ("norm1", "norm2"):
            self._norm(f"{name}.{kind}", dim)
        if stage < 3:
            self._mixer(f"{name}.attn", dim, self.sizes.heads[stage])
        else:
            self._linear(f"{name}.attn.to_qkv", dim, 3 * dim, bias=False)
            self._linear(f"{name}.attn.to_out", dim, dim)
        self._linear(f"{name}.mlp.fc1", dim, self.sizes.mlp * dim)
        self._linear(f"{name}.mlp.fc2", self.sizes.mlp * dim, dim)

    def _mixer(self, name: str, dim: int, heads: int) -> None:
        inner, states = self.sizes.expand * dim, self.sizes.states
        self._linear(f"{name}.in_proj", dim, 2 * inner + 2 * states + heads, bias=False)
        self._conv(f"{name}.conv2d", inner + 2 * states, 1, 3)
        for kind in ("dt_bias", "A_log", "D"):
            self.state[f"{name}.{kind}"] = self._draw(heads)
        self._norm(f"{name}.norm", inner)
        self._linear(f"{name}.out_proj", inner, dim, bias=False)

    def _draw(self, *shape: int, scale: float = 0.3, middle: float = 0.0) -> Tensor:
        return middle + scale * torch.randn(*shape, generator=self._random)

    def _linear(self, name: str, before: int, after: int, bias: bool = True) -> None:
        self.state[f"{name}.weight"] = self._draw(after, before, scale=1 / math.sqrt(before))
        if bias:
            self.state[f"{name}.bias"] = self._draw(after)

    def _conv(self, name: str, after: int, before: int, kernel: int, bias: bool = True) -> None:
        scale = 1 / math.sqrt(before * kernel**2)
        self.state[f"{name}.weight"] = self._draw(after, before, kernel, kernel, scale=scale)
        if bias:
            self.state[f"{name}.bias"] = self._draw(after)

    def _norm(self, name: str, dim: int) -> None:
        self.state[f"{name}.weight"] = self._draw(dim, middle=1)
        self.state[f"{name}.bias"] = self._draw(dim)

    def _batch_norm(self, name: str, dim: int) -> None:
        self._norm(name, dim)
        self.state[f"{name}.running_mean"] = self._draw(dim)
        self.state[f"{name}.running_var"] = self._draw(dim).square() + 0.5
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)


class Published:
    """Runs a state dict of published names."""

    def __init__(self, state: Mapping[str, Tensor], sizes: Sizes) -> None:
        self.state, self.sizes = state, sizes

    def maps(self, image: Tensor) -> list[Tensor]:
        """The map of every stage B D H W before any norm."""
        x = self._stem(image)
        maps = []
        for stage in range(4):
            for block in range(self.sizes.depths[stage]):
                x = self._block(f"layers.{stage}.blocks.{block}", x, stage)
            maps.append(x)
            if stage < 3:
                x = self._merge(f"layers.{stage}.downsample.conv", x)
        return maps

    def levels(self, image: Tensor) -> list[Tensor]:
        """What the backbone yields: every map behind its norm."""
        maps = self.maps(image)
        tokens = [self._norm(f"outnorm{at}", x.flatten(2).transpose(1, 2)) for at, x in enumerate(maps)]
        return [t.transpose(1, 2).view_as(x) for t, x in zip(tokens, maps, strict=True)]

    def logits(self, image: Tensor) -> Tensor:
        """What the classifier yields: norm, mean, linear."""
        tokens = self.maps(image)[-1].flatten(2).transpose(1, 2)
        return self._linear("head", self._norm("norm", tokens).mean(1))

    def _stem(self, x: Tensor) -> Tensor:
        x = self._layer("patch_embed.conv1", x, stride=2).relu()
        x = x + self._layer("patch_embed.conv2.1", self._layer("patch_embed.conv2.0", x).relu())
        return self._layer("patch_embed.conv3.1", self._layer("patch_embed.conv3.0", x, stride=2).relu())

    def _merge(self, name: str, x: Tensor) -> Tensor:
        x = self._conv(f"{name}.0.conv", x).relu()
        x = self._conv(f"{name}.1.conv", x, stride=2, groups=x.shape[1]).relu()
        return self._layer(f"{name}.2", x)

    def _block(self, name: str, x: Tensor, stage: int) -> Tensor:
        size, dim = x.shape[-2:], x.shape[1]
        mix = self._attention if stage == 3 else self._mixer
        x = x + self._conv(f"{name}.cpe1", x, groups=dim)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + mix(f"{name}.attn", self._norm(f"{name}.norm1", tokens), size, stage)
        x = tokens.transpose(1, 2).unflatten(2, size)
        x = x + self._conv(f"{name}.cpe2", x, groups=dim)
        tokens = x.flatten(2).transpose(1, 2)
        hidden = F.gelu(self._linear(f"{name}.mlp.fc1", self._norm(f"{name}.norm2", tokens)))
        return (tokens + self._linear(f"{name}.mlp.fc2", hidden)).transpose(1, 2).unflatten(2, size)

    def _mixer(self, name: str, u: Tensor, size: Sequence[int], stage: int) -> Tensor:
        inner, states = self.sizes.expand * u.shape[-1], self.sizes.states
        heads = self.sizes.heads[stage]
        z, xbc, dt = self._linear(f"{name}.in_proj", u).split((inner, inner + 2 * states, heads), -1)
        image = xbc.transpose(1, 2).unflatten(2, tuple(size))
        xbc = F.silu(self._conv(f"{name}.conv2d", image, groups=image.shape[1])).flatten(2).transpose(1, 2)
        x, key, query = xbc.split((inner, states, states), -1)
        step = F.softplus(dt + self.state[f"{name}.dt_bias"]) * self.state[f"{name}.A_log"].exp()
        x = x.unflatten(-1, (heads, -1))
        state = torch.einsum("bls,bln,blnp->bnsp", key, step, x)
        y = torch.einsum("bls,bnsp->blnp", query, state) + self.state[f"{name}.D"][:, None] * x
        return self._linear(f"{name}.out_proj", self._norm(f"{name}.norm", y.flatten(2)) * z)

    def _attention(self, name: str, u: Tensor, size: Sequence[int], stage: int) -> Tensor:  # noqa: ARG002
        heads = self.sizes.heads[stage]
        q, k, v = (t.unflatten(-1, (heads, -1)) for t in self._linear(f"{name}.to_qkv", u).chunk(3, -1))
        scores = torch.einsum("blnp,bmnp->bnlm", q, k) / math.sqrt(q.shape[-1])
        return self._linear(
            f"{name}.to_out", torch.einsum("bnlm,bmnp->blnp", scores.softmax(-1), v).flatten(2)
        )

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def _conv(self, name: str, x: Tensor, **options: int) -> Tensor:
        weight = self.state[f"{name}.weight"]
        padding = weight.shape[-1] // 2
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), padding=padding, **options)

    def _layer(self, name: str, x: Tensor, **options: int) -> Tensor:
        x = self._conv(f"{name}.conv", x, **options)
        mean, variance = (self.state[f"{name}.norm.running_{kind}"] for kind in ("mean", "var"))
        scale = self.state[f"{name}.norm.weight"] / (variance + 1e-5).sqrt()
        return (x - mean[:, None, None]) * scale[:, None, None] + self.state[f"{name}.norm.bias"][
            :, None, None
        ]

    def _norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred / (variance + 1e-5).sqrt() * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]
