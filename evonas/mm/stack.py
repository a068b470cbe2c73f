"""The one way to load OpenMMLab's packages."""

import importlib

from evonas.errors import UserError
from evonas.mm import installed
from evonas.mm.extension import stand_in


def load(module: str, asked_by: str) -> None:
    """Import mmdet or mmseg with all that they register; a stand-in takes the place of absent compiled ops.

    Args:
        module: import name.
        asked_by: what the user typed, for the message.

    Raises:
        UserError: it is not there, or what is there does not fit.
    """
    packages = installed.packages()
    if module not in packages:
        raise UserError(f"{asked_by} needs {module}, which is not installed.", installed.INSTALL)
    wrong = list(installed.misfits(packages))
    if wrong:
        raise UserError(f"The OpenMMLab packages here do not fit: {wrong[0]}.", installed.INSTALL)
    stand_in()
    importlib.import_module(f"{module}.models")
