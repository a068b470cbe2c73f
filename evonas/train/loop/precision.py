"""Numerical precisions of training, and a plugin for mixed precision on the CPU."""

from typing import Literal, cast

import torch
from lightning.pytorch.plugins.precision import MixedPrecision

from evonas.errors import UserError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def check_precision(name: str) -> None:
    """Raises a UserError if a precision is not supported."""
    if name not in PRECISIONS:
        raise UserError(f"hardware.precision={name} is unknown.", f"Choose among {', '.join(PRECISIONS)}.")


def precision_plugin(name: str, accelerator: str) -> MixedPrecision | None:
    """The plugin for mixed precision on the CPU, fp16 with a loss scaler; else None for Lightning's default.

    Lightning replaces fp16 on the CPU by bf16.
    """
    check_precision(name)
    if name == "32-true" or accelerator != "cpu":
        return None
    scaler = torch.amp.GradScaler("cpu") if name == "16-mixed" else None
    return MixedPrecision(cast(Literal["16-mixed", "bf16-mixed"], name), "cpu", scaler)
