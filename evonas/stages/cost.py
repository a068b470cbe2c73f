"""stage=cost: parameters and multiply-adds of one network, in closed form. Torch-free but for models of timm."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig

from evonas.config import build, to_plain
from evonas.errors import UserError
from evonas.space.genotype import Genotype
from evonas.stages.base import Context
from evonas.stages.networks.network_files import network_named
from evonas.supernets.base import SupernetFamily, classifier_cost, cost, published, published_macs
from evonas.supernets.families import family_config

ENDS = ("smallest", "largest")


class ShowCost:
    """Prints what a network of the family costs; needs no run, data or weights.

    Args:
        genotype: text form, `smallest`, `largest`, the name of a published network of the family, in any case, or a
            file in which one is published, if the family reads such files; such a network has its published settings,
            whatever the family's defaults are.
        size: height and width of the image in pixels, before the network resizes it.
        classes: of the classification head; None for those of a published network, or else for the backbone alone.

    Raises:
        UserError: the size or the number of classes is not positive.
    """

    needs_task = False

    def __init__(
        self, genotype: str = "largest", size: Sequence[int] = (224, 224), classes: int | None = None
    ) -> None:
        is_size = isinstance(size, Sequence) and not isinstance(size, str) and len(size) == 2
        if not is_size or any(
            isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in size
        ):
            raise UserError(
                f"size must be a height and a width in pixels from 1, got {size}.", "Try size=[224,224]."
            )
        if classes is not None and (not isinstance(classes, int) or isinstance(classes, bool) or classes < 1):
            raise UserError(f"classes must be at least 1 or null, got {classes}.", "Try classes=1000.")
        self.genotype, self.size, self.classes = genotype, (size[0], size[1]), classes

    def run(self, context: Context) -> str:
        """One line of words and values: params, macs, those of the backbone, size that is read, and genotype.

        A family whose publication counts in another way has `published_macs` besides, of the whole published network.
        """
        family = context.setup.family
        found, classes = network_named(family, str(self.genotype)), self.classes
        if found is not None:
            name, net = found
            _refuse_typed(name, net.settings)
            config = {**family_config(to_plain(context.cfg.network)), **net.settings}
            family = build(config, space=context.setup.space)
            genotype = family.space.parse(net.genotype)
            classes = net.classes if classes is None else classes
        else:
            genotype = self._genotype(family, list(published(family)))
        backbone = cost(family, genotype, self.size)
        whole = (
            backbone if classes is None else backbone + classifier_cost(family, genotype, self.size, classes)
        )
        height, width = family.input_size(genotype, self.size)
        counted = published_macs(family, genotype, self.size)
        parts = [
            f"params {whole.params} macs {whole.macs}",
            f"backbone_params {backbone.params} backbone_macs {backbone.macs}",
            *(() if counted is None else (f"published_macs {counted}",)),
            f"classes {classes or 0} input {height}x{width}",
            f"genotype {family.space.format(genotype)}",
        ]
        return " ".join(parts)

    def _genotype(self, family: SupernetFamily, known: Sequence[str]) -> Genotype:
        text = str(self.genotype)
        if text in ENDS:
            return family.space.smallest() if text == ENDS[0] else family.space.largest()
        if ":" in text:
            return family.space.parse(text)
        raise UserError(
            f"{text[:80]!r} is not a network of space {family.space.name}.",
            f"Give the text of one, or: {', '.join((*ENDS, *known))}.",
        )


def _refuse_typed(name: str, settings: Mapping[str, Any]) -> None:
    """Refuse a typed setting that the published network does not have."""
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    for each in typed:
        key, _, value = each.lstrip("+~").partition("=")
        setting = key.removeprefix("network.")
        if key != setting and setting in settings and not _is_same(value, settings[setting]):
            raise UserError(
                f"{name} has network.{setting}={settings[setting]}, not {value}.", f"Leave {key} out."
            )


def _is_same(typed: str, value: Any) -> bool:
    if isinstance(value, int | float):
        try:
            return float(typed) == float(value)
        except ValueError:
            return False
    wanted = "null" if value is None else str(value)
    return typed.replace(" ", "") == wanted.replace(" ", "")
