"""How well subnets of a DINOv2-type ViT-S keep the whole model's features, against multiply-adds.

    python benchmarks/vit_fidelity.py <folder of CamVid> <vit_small_patch14_dinov2.safetensors> --cache <folder>

Subnets are cut without training, and once more after one epoch of feature distillation on the training photographs.
Features are the tokens of the last level; those of subnets that read smaller images are resized to the whole model's
grid. Three figures on the validation photographs, after which rows are named:

- `cosine`: of a subnet's and the whole model's token, mean over tokens;
- `error`: squared difference over the whole model's squared difference from its mean training token, which
  therefore has the error 1;
- `accuracy`: of patch classes, by a linear probe that was fitted to the whole model's training tokens once.

Rows are appended to `--rows` as JSON lines; a row that is there is not measured again. One thread.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timm.layers import Attention
from torch import Tensor, nn
from trials import markdown

from evonas import weights
from evonas.data.augment import normalise
from evonas.data.segmentation.base import IGNORE
from evonas.data.segmentation.camvid import CLASSES, CamVid
from evonas.randomness import derive, generator
from evonas.search.base import Observation
from evonas.search.pruning.nested_order import NestedOrder
from evonas.space.genotype import Genotype
from evonas.supernets.base import cost
from evonas.supernets.elastic_timm.backbone import cut_out
from evonas.supernets.elastic_timm.cost import path
from evonas.supernets.elastic_timm.count import macs_of_modules
from evonas.supernets.elastic_timm.family import ElasticTimm
from evonas.supernets.elastic_timm.space import Architecture, elastic_space
from evonas.supernets.elastic_timm.subnet import largest
from evonas.supernets.prefix import PrefixExecutor
from evonas.supernets.resolution import at_full_size
from evonas.supernets.step import Size
from evonas.supernets.supernet import Supernet, extract
from evonas.train.sampling.step import CurriculumStep, StepSampler

MODEL, SIZE, PATCH, BATCH = "vit_small_patch14_dinov2", (126, 168), 14, 8
PARTS = [at / 6 for at in range(2, 7)]
RESOLUTIONS = [1 / 2, 2 / 3, 5 / 6, 1.0]
# photographs of the training split that Taylor scores, rotations and the nested order read
SCORED, SEARCHED = 48, 12
EVALUATIONS, POPULATION = 128, 16
# those of uniform cuts
SHARES = (0.835, 0.67, 0.505, 0.34, 0.23)
PARTS_OF_STUDY = ("untrained", "others", "nested", "distilled")
ORDERS = ("none", "norm", "taylor", "centred", "rotated")
# Taylor scores of whole batches instead of single images, and of the features' squares instead of projections
VARIANTS = tuple(f"{order}-{loss}" for order in ("taylor", "centred") for loss in ("batches", "squares"))
# layers that read neurons and heads
READERS = ("attn.proj", "mlp.fc2")
RATE, WARM_UP, DECAY = 2e-4, 6, 0.01

# smaller images: in steps of one patch at nearly equal parts of both sides, and in steps of 56 pixels
SIZES = ((56, 84), (84, 112), (112, 140), (56, 112), (112, 112))

Row = dict[str, Any]


class Rows:
    """Rows of a file of JSON lines, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        self.rows: dict[str, Row] = {row["name"]: row for row in map(json.loads, lines)}

    def once(self, name: str, make: Callable[[], Row]) -> Row:
        """The row of this name, measured now unless it is there."""
        if name not in self.rows:
            began = time.process_time()
            row = {"name": name, **make()}
            row["seconds"] = round(time.process_time() - began, 1)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self.rows[name] = row
            print(json.dumps({key: value for key, value in row.items() if key != "front"}), flush=True)
        return self.rows[name]


@dataclass(frozen=True)
class Photographs:
    """Images (N 3 H W) and the class of every patch (N h w), IGNORE where most of it is void or other classes."""

    images: Tensor
    classes: Tensor


def photographs(root: Path, split: str) -> Photographs:
    """A split of CamVid at the size of the model's images, not augmented."""
    source = CamVid(str(root), height=128, width=160)
    images, classes = [], []
    for frame in source.frames("holdout" if split == "val" else "train"):
        image, mask = source.decoded(frame)
        resized = Image.fromarray(image).resize(SIZE[::-1], Image.Resampling.BICUBIC)
        images.append(normalise(np.asarray(resized, dtype=np.float32) / 255))
        labels = np.asarray(Image.fromarray(mask).resize(SIZE[::-1], Image.Resampling.NEAREST))
        patches = torch.from_numpy(labels.astype(np.int64)).unfold(0, PATCH, PATCH).unfold(1, PATCH, PATCH)
        counts = torch.stack([(patches == each).sum((2, 3)) for each in range(len(CLASSES))])
        best = counts.max(0)
        classes.append(torch.where(best.values * 2 > PATCH * PATCH, best.indices, IGNORE))
    return Photographs(torch.stack(images), torch.stack(classes))


class Study:
    """The whole model, its features, and what subnets are measured against.

    Args:
        given: what was typed.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.weights, self.cache = given.weights, given.cache
        self.cache.mkdir(parents=True, exist_ok=True)
        self.train, self.val = photographs(given.camvid, "train"), photographs(given.camvid, "val")
        self.space = elastic_space(MODEL, widths=PARTS, heads=PARTS, depth=0.5, resolutions=RESOLUTIONS)
        self.whole = self.supernet("none")
        self.scored = self.train.images[:: len(self.train.images) // SCORED]

    def supernet(self, order: str, seed: int = 0) -> Supernet:
        """The model with its units in an order; see `sorted_by`."""
        family = ElasticTimm(self.space, MODEL, order=order.partition("-")[0])
        net = Supernet(family, nn.Identity(), 0).eval()
        family.adopt(net, weights.load_foreign(self.weights), "zeros")
        family.sort_by_losses(net, self.projections(net, order, seed))
        return net

    def projections(self, net: Supernet, order: str, seed: int) -> Iterator[Callable[[], Tensor]]:
        """Losses for Taylor scores without labels: random projections of the whole model's last level.

        The loss of a feature match is flat where the match is perfect. A projection on Gaussian noise is not, and
        the mean square of its derivative by a unit is the square of what the features would change by.
        """
        count, step = SCORED, BATCH if order.endswith("-batches") else 1
        chosen = generator(seed, "fidelity/scored").permutation(len(self.train.images))[:count]
        for begin in range(0, count, step):
            images = self.train.images[chosen[begin : begin + step]]
            noise = torch.Generator().manual_seed(derive(seed, "fidelity/noise", begin))

            def loss(images: Tensor = images, noise: torch.Generator = noise) -> Tensor:
                level = net.features(images, self.space.largest())[-1]
                if order.endswith("-squares"):
                    return level.square().sum()
                return (level * torch.randn(level.shape, generator=noise)).sum()

            yield loss

    def features(self, images: Tensor) -> Tensor:
        """The last level (N C h w) of the whole model."""
        with torch.no_grad():
            return torch.cat(
                [self.whole.features(each, self.space.largest())[-1] for each in images.split(BATCH)]
            )

    @cached_property
    def of_train(self) -> Tensor:
        """Features of the training photographs."""
        path = self.cache / "train.pt"
        if not path.exists():
            torch.save(self.features(self.train.images), path)
        found: Tensor = torch.load(path, weights_only=True)
        return found

    @cached_property
    def of_val(self) -> Tensor:
        """Features of the validation photographs."""
        return self.features(self.val.images)

    @cached_property
    def mean(self) -> Tensor:
        """(1 C 1 1) the mean token of the training photographs."""
        return self.of_train.mean((0, 2, 3), keepdim=True)

    @cached_property
    def probe(self) -> tuple[Tensor, Tensor]:
        """Weight (K C) and bias (K) of the ridge regression of patch classes on the whole model's tokens."""
        labels = self.train.classes.flatten()
        tokens = (self.of_train - self.mean).permute(0, 2, 3, 1).flatten(0, 2)[labels != IGNORE].double()
        wanted = F.one_hot(labels[labels != IGNORE], len(CLASSES)).double()
        prior = wanted.mean(0)
        gram = tokens.T @ tokens
        gram += 1e-2 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weight = torch.linalg.solve(gram, tokens.T @ (wanted - prior)).T.float()
        return weight, prior.float()

    def fidelity(self, found: Tensor) -> Row:
        """The three figures of features (N C h w) of the validation photographs."""
        error = (found - self.of_val).square().sum() / (self.of_val - self.mean).square().sum()
        weight, bias = self.probe
        classes = (torch.einsum("kc,nchw->nkhw", weight, found - self.mean) + bias[:, None, None]).argmax(1)
        kept = self.val.classes != IGNORE
        return {
            "cosine": round(float(F.cosine_similarity(found, self.of_val, dim=1).mean()), 5),
            "error": round(float(error), 5),
            "accuracy": round(float((classes == self.val.classes)[kept].float().mean()), 5),
        }

    def last_level(self, net: Any, images: Tensor) -> Tensor:
        """The last level of a backbone, on the whole model's grid."""
        with torch.no_grad():
            return torch.cat(
                [at_full_size(net(each), net, each.shape[-2:])[-1] for each in images.split(BATCH)]
            )

    def measured(self, net: Supernet, genotype: Genotype) -> Row:
        """Share of multiply-adds and fidelity of a subnet."""
        found = self.last_level(net.subnet(genotype).backbone, self.val.images)
        return {"share": round(self.share(net, genotype), 4), **self.fidelity(found)}

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of the whole model."""
        return cost(self.whole.family, self.space.largest(), SIZE).macs

    def share(self, net: Supernet, genotype: Genotype) -> float:
        """A subnet's multiply-adds as a part of the whole model's."""
        return cost(net.family, genotype, SIZE).macs / self.macs

    def genotype(self, **parts: float) -> Genotype:
        """The subnet whose genes of a letter have the choice nearest to a part of their largest one."""
        indices = []
        for axis in self.space.axes:
            part = parts.get(axis.name[0], 1.0)
            values = [float(each) for each in axis.choices]
            indices.append(min(range(len(values)), key=lambda at: abs(values[at] - part * values[-1])))
        return self.space.from_vector(indices)


def untrained(study: Study, rows: Rows, orders: Sequence[str], seeds: Sequence[int]) -> None:
    """Cuts of the whole model without training, in some orders."""
    for order, seed in ((order, seed) for seed in seeds for order in orders):
        if seed and order in ("none", "norm"):
            continue
        net, name = cache(partial(study.supernet, order, seed)), f"cut/{order}/{seed}"
        curve(study, rows, name, net)
        if not seed and "-" not in order and order != "none":
            single_kinds(study, rows, name, net)


def other_cuts(study: Study, rows: Rows) -> None:
    """Smaller images, missing blocks, calibrated biases, and heads that are not rotated by data."""
    smaller_images(study, rows)
    without_rotation(study, rows)
    without_blocks(study, rows)
    for order in ("norm", "taylor", "rotated"):
        calibrated(study, rows, f"cut/{order}/0", cache(partial(study.supernet, order)))


def distilled(study: Study, rows: Rows, order: str, seed: int, rate: float) -> None:
    """The same curves after one epoch of feature distillation."""
    name = f"distilled/{order}/{seed}/{rate:g}"
    path = study.cache / f"{name.replace('/', '-')}.pt"
    net = study.supernet(order, 0)

    def train() -> Row:
        losses = distil(study, net, seed, rate)
        torch.save(net.state_dict(), path)
        return {"share": 1.0, "loss": losses, **study.measured(net, study.space.largest())}

    rows.once(f"{name}/whole", train)
    net.load_state_dict(torch.load(path, weights_only=True))
    curve(study, rows, name, lambda: net)
    nested(study, rows, name, lambda: net, seed)


def curve(study: Study, rows: Rows, name: str, net: Callable[[], Supernet]) -> None:
    """Uniform cuts at five levels of multiply-adds."""
    for part in PARTS[-2::-1]:
        genotype = study.genotype(e=part, h=part)
        rows.once(f"{name}/uniform {part:.2f}", lambda genotype=genotype: study.measured(net(), genotype))
    least = study.genotype(e=PARTS[0], h=PARTS[0], d=2 / 3)
    rows.once(f"{name}/uniform {PARTS[0]:.2f}, 8 of 12 blocks", lambda: study.measured(net(), least))


def single_kinds(study: Study, rows: Rows, name: str, net: Callable[[], Supernet]) -> None:
    """One kind of gene at a time; rotated heads lose channels."""
    for letter, word in (("e", "neurons"), ("h", "heads")):
        for part in PARTS[-2::-1]:
            genotype = study.genotype(**{letter: part})
            rows.once(f"{name}/{word} {part:.2f}", lambda at=genotype: study.measured(net(), at))


def smaller_images(study: Study, rows: Rows) -> None:
    """The whole model on smaller images."""
    for height, width in SIZES:

        def make_row(size: Size = (height, width)) -> Row:
            net: Any = cut_out(study.whole.backbone, largest(study.whole.backbone.structure))
            net.input_size = lambda _: size
            macs = sum(macs_of_modules(net.structure, size).values())
            found = study.last_level(net, study.val.images)
            return {"share": round(macs / study.macs, 4), **study.fidelity(found)}

        rows.once(f"cut/images of {height}x{width}", make_row)


def calibrated(study: Study, rows: Rows, name: str, net: Callable[[], Supernet]) -> None:
    """Uniform cuts whose biases were changed for each subnet; see `shift_biases`."""
    means = cache(lambda: layer_means(study, net()))

    def make_row(genotype: Genotype) -> Row:
        backbone: Any = extract(net(), genotype).backbone
        shift_biases(study, net(), backbone, means())
        found = study.last_level(backbone, study.val.images)
        return {"share": round(study.share(net(), genotype), 4), **study.fidelity(found)}

    for part in PARTS[-2::-1]:
        rows.once(f"{name}/calibrated {part:.2f}", partial(make_row, study.genotype(e=part, h=part)))


def layer_means(study: Study, net: Supernet) -> dict[str, Tensor]:
    """Mean outputs of the whole model's blocks, and of their layers that read units, by name."""
    found = dict[str, Tensor]()

    def keep(name: str, _: nn.Module, __: Any, made: Tensor) -> None:
        found[name] = made.flatten(0, -2).mean(0)

    _run_hooked(net.backbone, keep, study.scored)
    return found


def shift_biases(study: Study, net: Supernet, backbone: Any, means: Mapping[str, Tensor]) -> None:
    """Change the biases of an extracted subnet such that its layers have the whole model's mean outputs, in place.

    One layer after the other; a block's output gets the mean of the missing blocks behind it.

    Args:
        study: whose training photographs are read.
        net: the supernet.
        backbone: of the subnet.
        means: result of `layer_means`.
    """
    whole, own = dict(net.backbone.named_modules()), dict(backbone.named_modules())

    def shift(name: str, module: Any, _: Any, made: Tensor) -> Tensor:
        last = name
        while _is_block(name) and (behind := _next(last)) in whole and behind not in own:
            last = behind
        missing = means[last] - made.flatten(0, -2).mean(0)
        if _is_block(name):
            module.mlp.fc2.bias.data += missing / module.ls2.gamma.detach()
        else:
            module.bias.data += missing
        return made + missing

    _run_hooked(backbone, shift, study.scored)


def _run_hooked(backbone: nn.Module, hook: Callable[..., Any], images: Tensor) -> None:
    handles = [
        module.register_forward_hook(partial(hook, name))
        for name, module in backbone.named_modules()
        if name.endswith(READERS) or _is_block(name)
    ]
    with torch.no_grad():
        backbone(images)
    for handle in handles:
        handle.remove()


def _is_block(name: str) -> bool:
    return name.rpartition(".")[0].endswith("blocks")


def _next(block: str) -> str:
    start, _, number = block.rpartition(".")
    return f"{start}.{int(number) + 1}"


def without_blocks(study: Study, rows: Rows) -> None:
    """Whole blocks left out: each alone, then by least error alone, and as depth genes leave them out."""
    backbone: Any = study.whole.backbone
    units = largest(backbone.structure).blocks
    droppable = [at for at, block in enumerate(backbone.structure.blocks) if block.is_droppable]

    def make_row(gone: Sequence[int]) -> Row:
        of = Architecture(1.0, tuple(None if at in gone else each for at, each in enumerate(units)))
        macs = sum(study.whole.family.price(step, SIZE).macs for step in path(of, backbone.structure))
        found = study.last_level(cut_out(backbone, of), study.val.images)
        names = [backbone.structure.blocks[at].name for at in gone]
        return {"share": round(macs / study.macs, 4), "gone": names, **study.fidelity(found)}

    alone = [rows.once(f"cut/block {at} alone", partial(make_row, [at])) for at in droppable]
    ranked = [at for _, at in sorted(zip((row["error"] for row in alone), droppable, strict=True))]
    for count in range(2, 7):
        rows.once(f"cut/blocks by error, {count}", partial(make_row, ranked[:count]))
    # depth genes leave out the last block of a stage first
    last = list(range(3, len(units), 3))
    for count in range(1, 5):
        chosen = [at for at in ranked if at in last][:count]
        rows.once(f"cut/last blocks of stages by error, {count}", partial(make_row, chosen))


def without_rotation(study: Study, rows: Rows) -> None:
    """Channels of every head cut as they come, or rotated without data; as multiply-adds of as many heads."""
    for kind in ("first", "weights"):
        for part in PARTS[-2::-1]:

            def make_row(kind: str = kind, part: float = part) -> Row:
                backbone: Any = study.supernet("none").backbone
                for module in backbone.modules():
                    if isinstance(module, Attention):
                        project_heads(module, part, kind)
                found = study.last_level(backbone, study.val.images)
                share = study.share(study.whole, study.genotype(h=part))
                return {"share": round(share, 4), **study.fidelity(found)}

            rows.once(f"cut/rotated by {kind}/head channels {part:.2f}", make_row)


def project_heads(attention: Any, part: float, kind: str) -> None:
    """Project queries, keys and values of every head to a part of their channels, in place.

    Args:
        attention: of timm.
        part: of the channels of a head.
        kind: `first`: the first channels, without a rotation. `weights`: the projections that change the product of
            queries and keys, and what the values add to a block's output, least for white inputs.
    """
    heads, width = attention.num_heads, attention.head_dim
    kept = round(width * part)
    # a constant input carries the bias
    joint = torch.cat([attention.qkv.weight, attention.qkv.bias[:, None]], 1).detach().double()
    q, k, v = joint.view(3, heads, width, -1).clone()
    outputs = attention.proj.weight.detach().double().view(-1, heads, width)
    for head in range(heads):
        if kind == "first":
            q[head, kept:], v[head, kept:] = 0, 0
            continue
        (one, upper), (two, lower) = torch.linalg.qr(q[head].T), torch.linalg.qr(k[head].T)
        left, values, right = torch.linalg.svd(upper @ lower.T)
        scale = values[:kept].sqrt()
        q[head, :kept], k[head, :kept] = (one @ left[:, :kept] * scale).T, (two @ right[:kept].T * scale).T
        q[head, kept:], k[head, kept:] = 0, 0
        basis = torch.linalg.svd(outputs[:, head].T)[0][:, :kept]
        v[head] = basis @ basis.T @ v[head]
    made = torch.stack([q, k, v]).view_as(joint).float()
    attention.qkv.weight.data.copy_(made[:, :-1])
    attention.qkv.bias.data.copy_(made[:, -1])


def nested(study: Study, rows: Rows, name: str, net: Callable[[], Supernet], seed: int) -> None:
    """The nested order by error per multiply-add on training photographs, and its subnets on validation ones."""
    images = study.train.images[:SEARCHED]
    wanted = study.of_train[:SEARCHED]
    scale = (wanted - study.mean).square().sum()

    def search() -> Row:
        searcher = NestedOrder(
            study.space,
            seed,
            POPULATION,
            EVALUATIONS,
            ("error", "macs"),
            "macs",
            {"macs": lambda _, genotype: study.share(net(), genotype)},
        )
        runner, front = PrefixExecutor(net()), list[tuple[list[int], float, float]]()
        while asked := searcher.ask():
            ordered = sorted(asked, key=study.whole.family.path)
            errors: dict[Genotype, float] = {}
            with torch.no_grad():
                for genotype, following in zip(ordered, [*ordered[1:], None], strict=True):
                    level = runner.subnet(genotype, following)(images)[-1]
                    if level.shape != wanted.shape:
                        level = F.interpolate(level, wanted.shape[-2:], mode="bilinear")
                    errors[genotype] = float((level - wanted).square().sum() / scale)
            front += [(list(each.genes), study.share(net(), each), errors[each]) for each in asked]
            searcher.tell([Observation(each, (errors[each], study.share(net(), each))) for each in asked])
        return {"front": front}

    front = rows.once(f"{name}/nested", search)["front"]
    for limit in SHARES:
        genes, _, _ = min((each for each in front if each[1] <= limit), key=lambda each: each[2])
        genotype = study.space.from_vector(genes)
        rows.once(
            f"{name}/nested {limit:g}",
            lambda at=genotype: {**study.measured(net(), at), "genotype": study.space.format(at)},
        )


def distil(study: Study, net: Supernet, seed: int, rate: float) -> list[float]:
    """One epoch on the training photographs that the nested order does not read; mean losses of the four quarters."""
    teacher, backbone = study.whole, net.backbone
    step = CurriculumStep("distil", num_subnets=3, always=("largest", "narrowest"))
    sampler = StepSampler(study.space, seed, step)
    order = SEARCHED + generator(seed, "fidelity/epoch").permutation(len(study.train.images) - SEARCHED)
    batches = torch.from_numpy(order).split(BATCH)
    optimizer = torch.optim.AdamW(backbone.parameters(), rate, weight_decay=DECAY)
    losses = list[float]()
    for at, batch in enumerate(batches):
        part = min(1.0, (at + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * at / len(batches)))
        optimizer.param_groups[0]["lr"] = rate * part
        images = study.train.images[batch]
        with torch.no_grad():
            wanted = teacher.features(images, study.space.largest())
        optimizer.zero_grad()
        total = 0.0
        for genotype in sampler.genotypes(at):
            own = net.subnet(genotype).backbone
            found = at_full_size(own(images), own, SIZE)
            loss = torch.stack([_relative(*pair) for pair in zip(found, wanted, strict=True)]).mean() / 3
            loss.backward()
            total += float(loss)
        nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
        optimizer.step()
        losses.append(total)
    return [round(float(np.mean(each)), 4) for each in np.array_split(losses, 4)]


def _relative(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared difference over the squared difference from the mean token."""
    scale = (wanted - wanted.mean((0, 2, 3), keepdim=True)).square().sum()
    return (found - wanted).square().sum() / scale


def tables(rows: Rows) -> str:
    """All rows as one Markdown table."""
    shown = [
        [
            row["name"],
            f"{row['share']:.3f}",
            f"{row['cosine']:.3f}",
            f"{row['error']:.3f}",
            f"{row['accuracy']:.3f}",
        ]
        for row in rows.rows.values()
        if "cosine" in row
    ]
    return markdown(("cut", "share of MACs", "cosine", "error", "accuracy"), shown)


def main() -> None:
    """Measure what is missing, then print all rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "camvid", type=Path, help="folder of train, trainannot, val, valannot, test, testannot"
    )
    parser.add_argument("weights", type=Path, help="safetensors file with timm's names")
    parser.add_argument("--cache", type=Path, required=True, help="folder for features and distilled weights")
    parser.add_argument("--rows", type=Path, default=Path("benchmarks/answers/vit_fidelity.jsonl"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--parts", nargs="+", default=PARTS_OF_STUDY, choices=PARTS_OF_STUDY)
    parser.add_argument(
        "--orders", nargs="+", default=ORDERS, choices=(*ORDERS, *VARIANTS), help="without training"
    )
    parser.add_argument(
        "--distilled", default="rotated", choices=ORDERS, help="order of the distilled supernet"
    )
    parser.add_argument(
        "--rates", nargs="+", type=float, default=[RATE], help="learning rates of the distillation"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    study, rows = Study(given), Rows(given.rows)
    rows.once("whole", lambda: {"share": 1.0, **study.fidelity(study.of_val)})
    rows.once("mean token", lambda: {"share": 0.0, **study.fidelity(study.mean.expand_as(study.of_val))})
    if "untrained" in given.parts:
        untrained(study, rows, given.orders, given.seeds)
    if "others" in given.parts:
        other_cuts(study, rows)
    for order, seed in ((order, seed) for seed in given.seeds for order in given.orders):
        if "nested" in given.parts and "-" not in order:
            nested(study, rows, f"cut/{order}/{seed}", cache(partial(study.supernet, order, seed)), seed)
    for seed in given.seeds if "distilled" in given.parts else ():
        for rate in given.rates:
            distilled(study, rows, given.distilled, seed, rate)
    print("\n" + tables(rows))


if __name__ == "__main__":
    main()
