"""reuse=: archives whose evaluations a search takes instead of measuring."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evonas.archive import Archive
from evonas.config import build
from evonas.errors import UserError
from evonas.evaluate.engine import Engine, Part
from evonas.evaluate.inline import InlineEngine
from evonas.evaluate.reuse import FingerprintOf, ReusingEngine, common_parts, require_common
from evonas.identifiers import naming_of
from evonas.objectives.base import Pooled
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
        incomplete: list[tuple[Archive, FingerprintOf, Engine]] = []
        for name in [named] if isinstance(named, str) else named:
            path = _path(context, str(name), context.run.path(ARCHIVE).resolve())
            archive = opened.enter_context(Archive.read(path))
            theirs = naming_of(archive.meta)(spec)
            fingerprint_of = _fingerprints(evaluator if theirs == spec else build(theirs))
            whole: dict[Part, str] = {part: fingerprint_of(part, None) for part in parts}
            known, missing = _subset(theirs, evaluator, archive)
            if missing and "shared" not in common_parts(archive, whole):
                known_of = _fingerprints(build({**theirs, "objectives": known}))
                require_common(archive, whole, {"shared": known_of("shared", None)})
                # what is missing is cheap and measured in this process
                lacking = {key: spec["objectives"][key] for key in missing}
                engine = opened.enter_context(closing(InlineEngine({**spec, "objectives": lacking})))
                incomplete.append((archive, _of_shared(known_of), engine))
            else:
                require_common(archive, whole)
            archives.append((archive, fingerprint_of))

        def wrap(engine: Engine) -> Engine:
            made.append(ReusingEngine(engine, archives, context.setup.space, incomplete))
            return made[-1]

        yield wrap if archives else lambda engine: engine
        for each in made:
            print(f"{each.reused} measurements were taken over from reuse=.", flush=True)
            if each.completed:
                print(f"{each.completed} of them had fewer objectives, which were measured anew.", flush=True)


def _subset(
    spec: Mapping[str, Any], evaluator: "Evaluator | TableEvaluator", archive: Archive
) -> tuple[dict[str, Any], list[str]]:
    """Configs of the objectives that an archive has, and keys of the shared ones that it lacks.

    Nothing is lacking where completing an archive would cost as much as measuring: an objective that needs the data, or
    one that is measured alone on its device.
    """
    configs, theirs = spec.get("objectives"), set(archive.meta.get("objectives") or ())
    if not isinstance(configs, Mapping) or len(configs) != len(evaluator.objectives):
        return {}, []
    named = dict(zip(configs, evaluator.objectives, strict=True))
    lacking = {key: each for key, each in named.items() if each.part == "shared" and each.name not in theirs}
    if any(isinstance(each, Pooled) for each in lacking.values()):
        return {}, []
    return {key: config for key, config in configs.items() if key not in lacking}, list(lacking)


def _of_shared(fingerprint_of: FingerprintOf) -> FingerprintOf:
    """The fingerprints of the shared part alone, which is the only one that is completed."""
    return lambda part, images: fingerprint_of(part, images) if part == "shared" else ""


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
