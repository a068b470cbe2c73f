"""reuse=: archives whose evaluations a search takes instead of measuring."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evonas.archive import Archive
from evonas.config import build
from evonas.errors import UserError
from evonas.evaluate.engine import Engine, Part
from evonas.evaluate.reuse import FingerprintOf, ReusingEngine, require_common
from evonas.identifiers import naming_of
from evonas.run import find_run
from evonas.stages.base import Context

if TYPE_CHECKING:
    from evonas.objectives.evaluator import Evaluator
    from evonas.objectives.tabular.evaluator import TableEvaluator

ARCHIVE = "search/archive.sqlite"


@contextmanager
def reuse_results(
    context: Context, spec: Mapping[str, Any], evaluator: "Evaluator | TableEvaluator", parts: Sequence[Part]
) -> Iterator[Callable[[Engine], Engine]]:
    """Yields what wraps an engine so that evaluations in the archives of `reuse=` are not repeated.

    At the end it prints how many measurements were reused.

    Args:
        spec: config of the evaluator, in this search's naming; an archive may use the other naming.
        evaluator: built from it.
        parts: those that the search measures.

    Raises:
        UserError: `reuse` names no archive, this run's own, or one without an evaluation that is comparable.
        DataError: an archive is damaged.
    """
    named = context.cfg.get("reuse") or []
    made: list[ReusingEngine] = []
    with ExitStack() as opened:
        archives: list[tuple[Archive, FingerprintOf]] = []
        for name in [named] if isinstance(named, str) else named:
            path = _path(context, str(name), context.run.path(ARCHIVE).resolve())
            archive = opened.enter_context(Archive.read(path))
            theirs = naming_of(archive.meta)(spec)
            fingerprint_of = _fingerprints(evaluator if theirs == spec else build(theirs))
            require_common(archive, {part: fingerprint_of(part, None) for part in parts})
            archives.append((archive, fingerprint_of))

        def wrap(engine: Engine) -> Engine:
            made.append(ReusingEngine(engine, archives, context.setup.space))
            return made[-1]

        yield wrap if archives else lambda engine: engine
        for each in made:
            print(f"{each.reused} measurements were taken over from reuse=.", flush=True)


def _fingerprints(evaluator: Any) -> FingerprintOf:
    @cache
    def fingerprint(*about: Part | int) -> str:
        return str(evaluator.fingerprint(*about))

    # a table measures on all images and knows no number of them
    return lambda part, images: fingerprint(part, *([] if images is None else [images]))


def _path(context: Context, name: str, own: Path) -> Path:
    """The archive that is meant by the name of a run, the path of its folder, or its own path."""
    if "/" in name or name.endswith(".sqlite"):
        path = Path(name).expanduser()
    else:
        path = find_run(Path(context.cfg.outputs), name)
    path = path / ARCHIVE if path.is_dir() else path
    if path.resolve() == own:
        raise UserError(f"reuse={name} is this run itself.", "To go on with it, leave reuse= out.")
    return path
