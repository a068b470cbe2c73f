"""The walk along a curriculum: how supernet and pretrain learn their weights, step after step."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evonas import files, weights
from evonas.randomness import derive
from evonas.stages import assembly, subnets
from evonas.stages.base import Context
from evonas.stages.listening import Listening, listening
from evonas.train import panel
from evonas.train.checkpoint import remove
from evonas.train.curriculum import PST, CurriculumStep
from evonas.train.determinism import batches_per_epoch
from evonas.train.fit import Resumable, check_identity, fit
from evonas.train.module import SupernetModule


class Walk:
    """Trains a supernet along `sampler=`; every finished step is one durable file.

    Args:
        context: config and run.
        folder: `supernet` or `pretrain`: where results go, and the name of the random streams.
        recipe: which recipe of `train` is followed.
        start: weights to start from; None for those drawn from the seed.
    """

    def __init__(self, context: Context, folder: str, recipe: str, start: Path | None) -> None:
        cfg = context.cfg
        self.context, self.folder, self.start = context, folder, start
        self.task, self.recipe = assembly.task(cfg), assembly.recipe(cfg, recipe)
        self.net = assembly.supernet(cfg, self.task)
        self.curriculum: PST = assembly.curriculum(cfg, self.net.space)
        self.members = panel.members(self.net.space, cfg.seed, cfg.train.panel_random)
        self.device = assembly.devices(cfg).torch_device
        dataset: Any = self.task.dataset("train")
        self.steps_per_epoch = batches_per_epoch(len(dataset), self.recipe.batch_size)
        start_digest = weights.digest(start) if start else None
        self.origin = {"start": start_digest, **assembly.origin(context)}
        self.report: list[dict[str, Any]] = []

    @property
    def path(self) -> Path:
        """The weights that the walk ends with."""
        return self.context.run.path(f"{self.folder}/supernet.safetensors")

    def is_finished(self) -> bool:
        """Whether an earlier attempt, with these settings, left the weights; asked only to resume."""
        return self.context.run.resume and subnets.is_made(self.path, self.identity())

    def identity(self) -> dict[str, Any]:
        """All that the weights depend on besides the run's own identity, as JSON gives it back."""
        return {"steps": [dict(self._identity(step)) for step in self.curriculum.steps]}

    def run(self) -> float:
        """Train what is left to train; the mean error of the panel at the end."""
        if self.start:
            assembly.load_into(self.net, self.start)
        total = self.curriculum.optimizer_steps(self.steps_per_epoch)
        rows: list[dict[str, Any]] = []
        with listening(self.context, self.folder, self.folder.title(), total, self.path.parent) as listener:
            for index, step in enumerate(self.curriculum.steps):
                rows = self._reuse(index, step) or self._train(index, step, listener)
                listener.next_training(step.optimizer_steps(self.steps_per_epoch))
                self._write_panel(step, rows)
                listener.progress.note(self._line(step, rows))
        return self._finish(rows)

    def _finish(self, rows: list[dict[str, Any]]) -> float:
        """Keep the weights, then remove the files of the curriculum."""
        error = panel.mean_error(rows, self.task)
        weights.save(self.path, self.net.state_dict(), {"panel_error": error, "identity": self.identity()})
        for index, step in enumerate(self.curriculum.steps):
            remove(self._file(index, step))
        return error

    def _reuse(self, index: int, step: CurriculumStep) -> list[dict[str, Any]] | None:
        """A step that an earlier attempt finished; without `resume` its file is removed."""
        path = self._file(index, step)
        if not path.exists():
            return None
        if not self.context.run.resume:
            remove(path)
            return None
        check_identity(path, self._identity(step))
        assembly.load_into(self.net, path)
        return list(weights.load_meta(path)["panel"])

    def _train(self, index: int, step: CurriculumStep, listener: Listening) -> list[dict[str, Any]]:
        """One step of the curriculum: optimizer and projectors start afresh."""
        self._fit(index, step, listener)
        rows = panel.measure(self.net, self.members, self.task, self._batch_size(), self.device)
        plain = [{**row, "genotype": self.net.space.format(row["genotype"])} for row in rows]
        listener.measured({f"panel/{row['name']}": row["metrics"][self.task.error_name] for row in rows})
        meta = {"identity": self._identity(step), "panel": plain}
        weights.save(self._file(index, step), self.net.state_dict(), meta)
        remove(self._state(index, step))
        return plain

    def _fit(self, index: int, step: CurriculumStep, listener: Listening) -> None:
        cfg, purpose = self.context.cfg, f"{self.folder}/{step.name}"
        seed = derive(cfg.seed, purpose)
        data = assembly.training_data(cfg, self.task, self.recipe.batch_size, seed)
        rates = assembly.schedule(self.recipe, self.steps_per_epoch, step.epochs, step.warmup_epochs)
        module = SupernetModule(
            self.net,
            self.curriculum.sampler(step),
            self.task,
            rates,
            seed,
            weight_decay=self.recipe.weight_decay,
            grad_clip=self.recipe.grad_clip,
            **assembly.teaching(self.context, self.task, self.net.backbone.levels, purpose),
        )
        state = Resumable(self._state(index, step), self._identity(step), self.context.run.resume)
        fit(module, data, step.epochs, assembly.devices(cfg), state, listener)

    def _identity(self, step: CurriculumStep) -> Mapping[str, Any]:
        return {**_plain_recipe(self.recipe), **_plain_step(step), **self.origin}

    def _file(self, index: int, step: CurriculumStep) -> Path:
        return self.context.run.path(f"{self.folder}/curriculum/{index}-{step.name}.safetensors")

    def _state(self, index: int, step: CurriculumStep) -> Path:
        return self.context.run.path(f"{self.folder}/curriculum/{index}-{step.name}.state.safetensors")

    def _write_panel(self, step: CurriculumStep, rows: list[dict[str, Any]]) -> None:
        self.report.append({"name": step.name, "panel": rows})
        content = {"error_name": self.task.error_name, "steps": self.report}
        files.write_json(self.path.with_name("panel.json"), content)

    def _line(self, step: CurriculumStep, rows: list[dict[str, Any]]) -> str:
        name = self.task.error_name
        shown = ", ".join(f"{row['name']} {row['metrics'][name]:.4f}" for row in rows)
        return f"{step.name}: holdout {name} {shown}"

    def _batch_size(self) -> int:
        return int(self.context.cfg.hardware.eval_batch_size)


def _plain_recipe(recipe: Any) -> dict[str, Any]:
    unused = ("epochs", "warmup_epochs", "checkpoint_steps")
    return {key: value for key, value in asdict(recipe).items() if key not in unused}


def _plain_step(step: CurriculumStep) -> dict[str, Any]:
    """As JSON will give it back: lists, not tuples."""
    return {
        **asdict(step),
        "opened": {k: _listed(v) for k, v in step.opened.items()},
        "always": list(step.always),
    }


def _listed(value: Any) -> Any:
    return value if isinstance(value, str) else list(value)
