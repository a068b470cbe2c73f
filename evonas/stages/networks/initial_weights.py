"""The weights that a selected network starts from.

They are the first that exists of: the supernet of this run or of `inputs=`; the initial weights of this run if they
were trained; the backbone that another run retrained (`networks=run:...`), under the head of the initial weights;
the initial weights from the seed. `transfer=` overrides this. Weights of another project (`networks=net.inherited`)
come first, with their head if it fits. Only a run whose networks are named (`networks=`) does
without a supernet.
"""

from pathlib import Path

from evonas import files, weights
from evonas.errors import DataError, UserError
from evonas.nn.bn_calibration import BNCalibration
from evonas.run import Run
from evonas.stages.base import Context
from evonas.stages.build import factory
from evonas.stages.build.setup import RunMode
from evonas.stages.networks.references import NetworkRef
from evonas.stages.networks.selected import (
    TRANSFERRED,
    TRANSFERRED_HEAD,
    SelectedNetwork,
    transferred_backbone,
)
from evonas.stages.pretrain import PRETRAINED, has_trained_head
from evonas.stages.supernet import STARTING
from evonas.supernets.static_net import StaticNet, static_net
from evonas.supernets.supernet import Supernet, extract

_BACKBONE = "backbone."


def initial_weights_file(context: Context) -> Path:
    """The weights of the supernet, or of pretrain in a run with named networks and without a supernet."""
    run = context.run
    if context.setup.mode is RunMode.NAMED and run.find(factory.SUPERNET) is None:
        return run.need(PRETRAINED, made_by="pretrain")
    return run.need(factory.SUPERNET, made_by="supernet")


def refuse_untrained_head(run: Run) -> None:
    """Refuse a supernet that has its starting weights, if their head is untrained.

    Raises:
        UserError: its subnets compute nothing that a search could rank.
    """
    path = run.need(factory.SUPERNET, made_by="supernet")
    start = path.parent.parent / PRETRAINED
    if weights.load_meta(path).get("source") != STARTING or not start.exists():
        return
    if not has_trained_head(start):
        raise UserError(
            f"The weights in {path} have no trained head, so that a front of their subnets is meaningless.",
            "Add sampler=largest to train the whole model first, or inputs=<a run with a trained supernet>.",
        )


def load_initial_supernet(context: Context) -> Supernet:
    """A supernet with the weights of `initial_weights_file`, in eval mode."""
    net = factory.supernet(context.setup)
    factory.load_into(net, initial_weights_file(context))
    return net.eval()


def initial_network(
    run: Run, supernet: Supernet, net: SelectedNetwork, bn_calibration: BNCalibration | None = None
) -> StaticNet:
    """A selected network with its initial weights.

    Args:
        bn_calibration: calibrates a subnet of the supernet; None leaves the supernet's statistics.

    Raises:
        DataError: a transferred backbone is damaged.
    """
    static = extract(supernet, supernet.space.parse(net.genotype))
    path = transferred_backbone(run, net)
    if path is not None:
        static.backbone.load_state_dict(weights.load(path))
        if "head" in net.transferred:
            head = run.need(TRANSFERRED_HEAD.format(net.name), made_by="select")
            static.head.load_state_dict(weights.load(head))
    elif bn_calibration is not None:
        bn_calibration(static, net.genotype)
    return static


def transfer_backbone(context: Context, network: NetworkRef) -> dict[str, str]:
    """Copy the retrained backbone of a named network into this run, if the network starts from it.

    Returns:
        its record in selected.json; empty if the network starts from this run's own weights.

    Raises:
        UserError: transfer=true, but the network was never retrained.
        DataError: its weights are those of another network.
    """
    wanted = context.cfg.get("transfer")
    if network.weights is None and wanted:
        folder = network.source_folder
        retraining = "stage=retrain" if folder is None else Run(folder, "").command("retrain")
        raise UserError(f"{network.reason} was never retrained.", f"Retrain it with: {retraining}")
    if network.is_foreign and wanted is not False:
        return _transfer_foreign(context, network)
    if network.weights is None or wanted is False or (wanted is None and _has_trained_weights(context.run)):
        return {}
    found = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in weights.load(network.weights).items()
        if name.startswith(_BACKBONE)
    }
    family = context.setup.family
    try:
        family.build(family.space.parse(network.genotype), seed=None).load_state_dict(found)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise DataError(
            f"The weights of {network.reason} do not fit this run's network: {first}",
            "Choose the network that it was found with (network=...), or start afresh with transfer=false.",
        ) from error
    about = {"from": network.reason, "sha256": weights.digest(network.weights)}
    weights.save(
        context.run.path(TRANSFERRED.format(network.name)), found, {"genotype": network.genotype, **about}
    )
    return about


def _transfer_foreign(context: Context, network: NetworkRef) -> dict[str, str]:
    """Copy the weights of another project's network into this run, with their head if it fits."""
    path = network.weights
    assert path is not None
    supernet = factory.supernet(context.setup)
    static = static_net(supernet.family, supernet.head, supernet.space.parse(network.genotype))
    adoption = supernet.family.adopt(static, weights.load_foreign(path), "zeros")
    about = {"from": network.reason, "sha256": files.sha256(path)}
    facts = {"genotype": network.genotype, **about}
    weights.save(context.run.path(TRANSFERRED.format(network.name)), static.backbone.state_dict(), facts)
    if any(name.startswith("head.") for name in adoption.left):
        return about
    digest = weights.save(
        context.run.path(TRANSFERRED_HEAD.format(network.name)), static.head.state_dict(), facts
    )
    return {**about, "head": digest}


def _has_trained_weights(run: Run) -> bool:
    """Whether there are weights that were trained or adopted, in this run or that of `inputs=`."""
    if run.find(factory.SUPERNET) is not None:
        return True
    path = run.find(PRETRAINED)
    return path is not None and weights.load_meta(path).get("source") != "seed"
