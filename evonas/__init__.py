"""evonas: multi-objective neural architecture search for dense vision."""

# as in typing, whose import would cost every command more than the rest of this file
TYPE_CHECKING = False
if TYPE_CHECKING:
    from evonas.hub import load as load
    from evonas.version import __version__ as __version__


def __getattr__(name: str) -> object:
    # torch is imported when a network is wanted, and not by the command line
    if name == "load":
        from evonas.hub import load

        return load
    if name == "__version__":
        from evonas.version import __version__

        return __version__
    raise AttributeError(f"module 'evonas' has no attribute '{name}'")
