"""reuse=: whose facts a search takes over instead of measuring."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evonas.archive import Archive
from evonas.errors import UserError
from evonas.evaluate.engine import Engine, Job, Part
from evonas.evaluate.reuse import Reusing, require_common
from evonas.run import find_run
from evonas.stages.base import Context

if TYPE_CHECKING:
    from evonas.objectives.evaluator import Evaluator
    from evonas.objectives.tabular import TableEvaluator

ARCHIVE = "search/archive.sqlite"


@contextmanager
def reusing(
    context: Context, evaluator: "Evaluator | TableEvaluator", fingerprints: Mapping[Part, str]
) -> Iterator[Callable[[Engine], Engine]]:
    """What puts the archives of `reuse=` before an engine; it says at the end how much they knew.

    Args:
        fingerprints: of full measurements, by part.

    Raises:
        UserError: `reuse` names no archive, this run's own, or one without a fact that could count here.
        DataError: an archive is damaged or none.
    """
    named = context.cfg.get("reuse") or []
    made: list[Reusing] = []

    limited = cache(_limited(evaluator))

    def fingerprint_of(job: Job) -> str:
        return fingerprints[job.part] if job.images is None else limited(job.part, job.images)

    with ExitStack() as opened:
        archives = [
            opened.enter_context(_opened(context, str(name), fingerprints))
            for name in ([named] if isinstance(named, str) else named)
        ]

        def put_before(engine: Engine) -> Engine:
            made.append(Reusing(engine, archives, fingerprint_of))
            return made[-1]

        yield put_before if archives else lambda engine: engine
        for each in made:
            print(f"{each.reused} measurements were taken over from reuse=.", flush=True)


def _limited(evaluator: Any) -> Callable[[Part, int], str]:
    return lambda part, images: str(evaluator.fingerprint(part, images))


def _opened(context: Context, name: str, fingerprints: Mapping[Part, str]) -> Archive:
    archive = Archive.read(_path(context, name, context.run.path(ARCHIVE).resolve()))
    try:
        require_common(archive, fingerprints)
    except BaseException:
        archive.close()
        raise
    return archive


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
