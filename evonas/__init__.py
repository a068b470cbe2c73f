"""evonas: multi-objective neural architecture search for dense vision."""

__version__ = "0.1.0.dev0"
