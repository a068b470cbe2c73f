"""Number formats of training: which are known, and fp16 where Lightning would quietly choose another."""

from typing import Literal, cast

import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from evonas.errors import UserError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def check_precision(name: str) -> None:
    """Refuse what manual optimisation was never tried with."""
    if name not in PRECISIONS:
        raise UserError(f"hardware.precision={name} is unknown.", f"Choose among {', '.join(PRECISIONS)}.")


def precision_plugin(name: str, accelerator: str) -> MixedPrecision | None:
    """Mixed precision on the CPU, fp16 with a loss scaler; None where Lightning makes its own.

    Lightning itself replaces fp16 on the CPU by bf16, with nothing but a warning.
    """
    check_precision(name)
    if name == "32-true" or accelerator != "cpu":
        return None
    scaler = torch.amp.GradScaler("cpu") if name == "16-mixed" else None
    return MixedPrecision(cast(Literal["16-mixed", "bf16-mixed"], name), "cpu", scaler)
