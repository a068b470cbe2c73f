"""Task of a tabular benchmark, whose networks are not trained here."""


class TableTask:
    """Defines the error column of a table; it has no data, head or loss.

    Args:
        name: name of the benchmark.
        error_name: column of the error.
    """

    def __init__(self, name: str, error_name: str = "error") -> None:
        self.name, self.error_name = name, error_name
