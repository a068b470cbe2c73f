"""The weights that a chosen network starts from, and where they come from.

They are, the first that there is: what the supernet of this run or of `inputs=` gives; the backbone that
another run retrained (`genotype=run:...`), under the starting weights' head; the starting weights themselves,
from a file, from `inputs=`, or from the seed. Starting weights that somebody trained come before another
run's, and `transfer=` overrules all of this. Only a run whose networks are given (`genotype=`) does without a
supernet.
"""

from pathlib import Path

from torch import Tensor

from evonas import weights
from evonas.errors import DataError, UserError
from evonas.nn.bn_calibration import BNCalibration
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.run_mode import RunMode
from evonas.stages.networks.references import Given
from evonas.stages.networks.selected import TRANSFERRED, Net, transferred
from evonas.stages.pretrain import PRETRAINED
from evonas.supernets.static_net import StaticNet
from evonas.supernets.supernet import Supernet, extract

_BACKBONE = "backbone."


def start_file(context: Context) -> Path:
    """The weights of the supernet, or in a run without one its starting weights."""
    run = context.run
    if context.setup.mode is RunMode.GIVEN and run.find(factory.SUPERNET) is None:
        return run.need(PRETRAINED, made_by="pretrain")
    return run.need(factory.SUPERNET, made_by="supernet")


def load_start(context: Context) -> Supernet:
    """A supernet with the weights of `start_file`, in eval mode."""
    net = factory.supernet(context.setup)
    factory.load_into(net, start_file(context))
    return net.eval()


def started(run: Run, supernet: Supernet, net: Net, renewal: BNCalibration | None = None) -> StaticNet:
    """A chosen network with the weights that it starts from.

    Args:
        renewal: gives a subnet of the supernet batch-norm statistics of its own.

    Raises:
        DataError: a backbone that was transferred is damaged.
    """
    static = extract(supernet, supernet.space.parse(net.genotype))
    path = transferred(run, net)
    if path is not None:
        static.backbone.load_state_dict(weights.load(path))
    elif renewal is not None:
        renewal(static, net.genotype)
    return static


def transfer(context: Context, each: Given) -> dict[str, str]:
    """Keep the backbone that a given network was retrained to, where it is what the network shall start from.

    Returns:
        what selected.json notes of it; nothing where the network starts from this run's own weights.

    Raises:
        UserError: transfer=true, but that network was never retrained.
        DataError: its weights are those of another network.
    """
    wanted = context.cfg.get("transfer")
    if each.weights is None and wanted:
        retraining = f"python -m evonas stage=retrain run={each.home}" if each.home else "stage=retrain"
        raise UserError(f"{each.reason} was never retrained.", f"Retrain it with: {retraining}")
    if each.weights is None or wanted is False or (wanted is None and _is_trained(context.run)):
        return {}
    found = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in weights.load(each.weights).items()
        if name.startswith(_BACKBONE)
    }
    _check(context, each, found)
    about = {"from": each.reason, "sha256": weights.digest(each.weights)}
    weights.save(context.run.path(TRANSFERRED.format(each.name)), found, {"genotype": each.genotype, **about})
    return about


def _is_trained(run: Run) -> bool:
    """Whether there are weights that somebody trained, here or in the run of `inputs=`."""
    if run.find(factory.SUPERNET) is not None:
        return True
    path = run.find(PRETRAINED)
    return path is not None and weights.load_meta(path).get("source") != "seed"


def _check(context: Context, each: Given, found: dict[str, Tensor]) -> None:
    """Refuse weights that do not fill the network exactly."""
    family = context.setup.family
    vessel = family.build(family.space.parse(each.genotype), seed=None)
    try:
        vessel.load_state_dict(found)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise DataError(
            f"The weights of {each.reason} do not fit this run's network: {first}",
            "Choose the network that it was found with (network=...), or start afresh with transfer=false.",
        ) from error
