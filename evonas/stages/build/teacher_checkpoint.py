"""The teacher that `stage=teacher` trained or checked, as later stages find it."""

import hashlib
import json
from typing import Any

from omegaconf import DictConfig

from evonas import files, weights
from evonas.config import to_plain
from evonas.errors import DataError, UserError
from evonas.identifiers import as_first_release, identified
from evonas.run import Run
from evonas.stages.base import Context
from evonas.train.teachers.base import Origin
from evonas.train.teachers.feature_cache import (
    CachedTeacher,
    IndexedImages,
    RecordFile,
    human_size,
    image_outputs,
)

TEACHER = "teacher/teacher.safetensors"
RESULT = "teacher/result.json"
CACHE = "teacher/cache"
# paths may change when a disk is moved; the content is identified by its sha256
_PATHS = ("weights", "encoder_weights", "folder")


def network(cfg: DictConfig) -> dict[str, Any]:
    """The settings of the teacher as plain data, without the paths of its weights."""
    plain = {key: value for key, value in to_plain(cfg.teacher).items() if key not in _PATHS}
    return dict(identified(plain))


def loaded(net: Any, cfg: DictConfig) -> dict[str, Any]:
    """Facts in teacher/result.json about a teacher without trainable weights."""
    return {"loaded": True, "origin": net.origin.facts(), "network": network(cfg)}


def is_loaded(run: Run) -> bool:
    """Whether the run's teacher has no trainable weights."""
    return bool(_facts(run).get("loaded"))


def has_output(run: Run) -> bool:
    """Whether the run has a teacher with outputs, which can be scored, and not features alone."""
    return bool(_facts(run).get("metrics")) if is_loaded(run) else run.find(TEACHER) is not None


def digest(run: Run) -> str:
    """A digest that changes whenever the teacher's outputs may.

    Raises:
        UserError: there is no teacher yet.
    """
    if not is_loaded(run):
        return weights.digest(run.need(TEACHER, made_by="teacher"))
    facts = _facts(run)
    # weights trained before there were ids have identities with the digest of this text
    text = json.dumps([as_first_release(facts["network"]), facts["origin"]["sha256"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def verify(run: Run, cfg: DictConfig, origin: Origin | None) -> None:
    """Refuse foreign weights that are not those of `stage=teacher`.

    Args:
        origin: of the foreign weights; None for a teacher without them.

    Raises:
        UserError: `stage=teacher` was not run, or with other settings.
        DataError: the file changed since.
    """
    if origin is None:
        return
    facts = files.read_json(run.need(RESULT, made_by="teacher"))
    again = f"Run it again: {run.command('teacher')}"
    recorded, wanted = identified(facts.get("network")), network(cfg)
    for key in sorted({*(recorded or {}), *wanted}):
        if recorded is None or recorded.get(key) != wanted.get(key):
            raise UserError(f"stage=teacher was not run with teacher.{key}={wanted.get(key)}.", again)
    if facts["origin"]["sha256"] != origin.sha256:
        what = "The random weights of the teacher" if origin.is_random else str(origin.weights)
        raise DataError(f"{what} changed since stage=teacher: their sha256 is another.", again)


def cached(context: Context, net: Any, level: int) -> CachedTeacher:
    """The teacher with its outputs cached in the run; prints the size that the cache will have.

    Raises:
        EngineError: the disk is too small.
    """
    images = IndexedImages(context.setup.task.dataset("train"))
    example = image_outputs(net, images[0]["image"][None], level)
    parts = (digest(context.run), images.manifest(), context.cfg.hardware.precision, level)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()
    path = context.run.path(f"{CACHE}/{key[:16]}.bin")
    records = RecordFile(path, key, [tuple(each.shape) for each in example], len(images))
    records.check_space()
    size = human_size(records.num_bytes)
    print(
        f"The teacher's outputs for {len(images)} images take {size} when all are cached: {path}", flush=True
    )
    return CachedTeacher(net, records, level)


def _facts(run: Run) -> dict[str, Any]:
    path = run.find(RESULT)
    return {} if path is None else dict(files.read_json(path))
