"""Commands whose trainings are cut short to see that everything fits together: their numbers mean nothing."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from evonas import deprecated
from evonas.errors import EvoNASError, UserError
from evonas.run import attempts_of, exit_code, typed
from evonas.stages import PIPELINES
from evonas.stages.stage_times import stage_typed

# choice -> what its file says of itself
_CHOICES: Mapping[str, str] = {
    "limits=debug": "every training is cut to one epoch of at most four batches, and the numbers mean nothing",
    "debug=fast": "every stage is cut to seconds, and the numbers mean nothing",
    "debug=limit": "every stage does about a tenth of the usual work, and the numbers show trends only",
    "debug=overfit": "every training overfits on purpose, and the numbers mean nothing for other images",
    "debug=profile": "every training is cut to 20 batches, and the numbers mean nothing",
}
# stages whose results depend on how long something was trained
TRAINING = PIPELINES | {
    "pretrain",
    "teacher",
    "supernet",
    "search",
    "retrain",
    "baselines",
    "rank",
    "discover",
}
_BATCHES, _EPOCHS = "limits.max_batches", "limits.max_epochs"


def shortened(overrides: Iterable[str]) -> str:
    """How a command cuts its trainings short, as a sentence; empty if it does not.

    Args:
        overrides: as they were typed or recorded, also in names of earlier releases.
    """
    words = [deprecated.override(each, deprecated.silent) for each in overrides if not each.startswith("-")]
    chosen = dict(word.lstrip("+~").split("=", 1) for word in words if "=" in word)
    for choice, told in _CHOICES.items():
        group, _, option = choice.partition("=")
        if chosen.get(group) == option:
            return f"Debug run ({choice}): {told}."
    cut = [f"{key}={chosen[key]}" for key in (_BATCHES, _EPOCHS) if chosen.get(key, "null") != "null"]
    if not cut:
        return ""
    meaning = "the numbers mean nothing" if _BATCHES in cut[0] else "the numbers may mean little"
    return f"Shortened run ({', '.join(cut)}): every training is cut, and {meaning}."


def shortened_in(directory: Path) -> str:
    """The first such sentence of the commands of a run that made its results; empty if there is none."""
    for attempt in attempts_of(directory):
        try:
            told = shortened(typed(attempt)) if stage_typed(attempt) in TRAINING else ""
        except EvoNASError:
            # its record is torn
            continue
        if told and exit_code(attempt) != UserError.exit_code:
            return told
    return ""
