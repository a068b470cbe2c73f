"""Networks for one's own code: `from evonas import load`."""

from pathlib import Path

from evonas.errors import UserError
from evonas.nn.extract import StaticNet
from evonas.run import find_run
from evonas.stages.exported import CONFIG, load_exported

_RUN = "run:"


def load(reference: str | Path, outputs: str | Path = "outputs") -> StaticNet:
    """An exported network in eval mode on the CPU: `net(images)`, `net.features(images)`.

    Args:
        reference: `run:<run>#<name>`, where `run:last` is the newest run, or an export folder.
        outputs: the folder of the runs.

    Raises:
        UserError: there is no such run, or it has exported no network of that name.
        DataError: the export is damaged.
    """
    text = str(reference)
    if not text.startswith(_RUN):
        return load_exported(Path(reference))
    name, _, net = text.removeprefix(_RUN).partition("#")
    folder = find_run(Path(outputs), name) / "export"
    known = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    if not known:
        raise UserError(f"Run '{folder.parent.name}' has exported no network.", _command(folder.parent))
    if net not in known:
        raise UserError(f"Run '{folder.parent.name}' has exported no '{net}'.", f"It has: {', '.join(known)}")
    return load_exported(folder / net)


def _command(run: Path) -> str:
    return f"Make them with: python -m evonas stage=export run={run.name}"
