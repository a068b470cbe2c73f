"""The errors a user may meet. Each ends a command with its own exit code."""


class EvoNASError(Exception):
    """What happened, with the value, and what to type next.

    Args:
        message: one sentence that names the offending value.
        hint: a command or setting that helps; printed on its own line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UserError(EvoNASError):
    """The command, its config or its inputs are wrong."""

    exit_code = 2


class DataError(EvoNASError):
    """A file from outside is missing, malformed or dangerous."""

    exit_code = 3


class DamagedError(DataError, ValueError):
    """A file of a run is torn, or not what its name says; what is in other files can still be used."""


class EngineError(EvoNASError):
    """The machinery failed: workers, disk, memory."""

    exit_code = 4


class InfeasibleError(UserError, ValueError):
    """A genotype has no result, whichever worker measures it: for instance, a table has no row of it."""


class DisturbedError(EngineError):
    """The machine did not allow a measurement, for instance a latency on a busy processor; it may do so later."""
