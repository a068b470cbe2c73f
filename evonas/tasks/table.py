"""The task of a tabular benchmark: others trained its networks, so there is nothing to train here."""


class TableTask:
    """Names the error that choices minimise; it has no data, head or loss, because a table has no network.

    Args:
        name: of the benchmark.
        error_name: the column that stands for the error.
    """

    def __init__(self, name: str, error_name: str = "error") -> None:
        self.name, self.error_name = name, error_name
