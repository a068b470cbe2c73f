"""The command line: from words to one stage in one run, and from errors to exit codes.

Nothing here imports torch: help, completion and every mistake answer at once.
"""

import io
import logging
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import FrameType

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode as HydraMode
from omegaconf import DictConfig, OmegaConf

from evonas import cli_args, cli_errors, config, files, schema, stages
from evonas.cli_help import usage
from evonas.command_text import command, setting, shell
from evonas.config import conf_dir
from evonas.errors import EvoNASError, UserError
from evonas.foreign_errors import known_error
from evonas.run import Run, close_run, end_attempt, find_run, open_run
from evonas.stages.base import Context
from evonas.stages.build.combinations import check_combinations, refuse_settings_of_none
from evonas.stages.build.setup import complete
from evonas.stages.shortened import TRAINING, shortened
from evonas.version import __version__

log = logging.getLogger("evonas.cli")
log.addHandler(logging.NullHandler())
LOG = "log.txt"
# it stands in pages, cards and names of folders
_TASK = re.compile(r"\w[\w .+/-]{0,79}")
_LOG_BYTES = 5_000_000
# as after SIGPIPE
_READER_GONE = 128 + signal.SIGPIPE


class Interrupted(KeyboardInterrupt):
    """A signal asked us to stop; libraries treat it like Ctrl-C."""


class Signals:
    """Remembers the first signal, because some libraries turn it into an exit of their own.

    The second signal of a kind ends the process at once.
    """

    def __init__(self) -> None:
        self.received = 0

    def listen(self) -> None:
        """Answer Ctrl-C and SIGTERM with `Interrupted`."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number
        signal.signal(number, signal.SIG_DFL)
        raise Interrupted


class JobFailedError(Exception):
    """A job of a sweep failed and has been reported; the sweep goes on."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def main() -> int:
    """Run what `sys.argv` says.

    Returns:
        0 done, 1 a bug of ours, 2 a wrong command, 3 wrong data, 4 failed machinery,
        130 and 143 after SIGINT and SIGTERM, 141 after whoever read the output went away, as `| head` does.
    """
    _replace_closed_streams()
    try:
        code = _answer()
        sys.stdout.flush()
    except BrokenPipeError as error:
        code = _READER_GONE if _is_reader_gone() else _report(error)
    if code == _READER_GONE:
        # what is still buffered would fail again when the interpreter ends
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
    return code


def _replace_closed_streams() -> None:
    """Opens standard streams that the caller closed, as `>&-` does, or the next file would take their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))


def _is_reader_gone() -> bool:
    """Whether standard output or error is a pipe that nobody reads any more."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _answer() -> int:
    # threads that spin for long while they wait cost tenfold as soon as another process wants
    # a core; threads that never spin halve the speed when none does
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    signals = Signals()
    if sys.argv[1:] == ["--version"]:
        print(__version__)
        return 0
    signals.listen()
    words = sys.argv[1:]
    if {"--help", "-h"} & set(words):
        print(usage([conf_dir(), *map(Path, cli_args.config_dirs(words))]))
        return 0
    try:
        words = cli_args.rewrite(words)
        _hand_to_hydra(words, signals)
    except JobFailedError as error:
        return error.code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    except KeyboardInterrupt:
        return 128 + (signals.received or signal.SIGINT)
    except cli_errors.COMPLAINTS as error:
        return _report(cli_errors.explain(error, words, conf_dir()))
    except BrokenPipeError:
        raise
    except Exception as error:
        return 128 + signals.received if signals.received else _report(known_error(error))
    return 0


def _hand_to_hydra(words: list[str], signals: Signals) -> None:
    schema.register()
    config.guard_files()
    for folder in cli_args.config_dirs(words) if cli_args.is_sweep(words) else ():
        config.check_folder(Path(folder))
    # Hydra shall raise what goes wrong, so that we can say it and choose the exit code
    os.environ["HYDRA_FULL_ERROR"] = "1"
    flags = [f"--config-dir={Path(folder).absolute()}" for folder in cli_args.config_dirs(words)]
    with ExitStack() as stack:
        stack.enter_context(_without_secrets(words))
        if cli_args.is_sweep(words) and not any(word.startswith("hydra") for word in words):
            # Hydra leaves a folder for every sweep, which is of no use to anyone
            scratch = stack.enter_context(files.Scratch("evonas-sweep-"))
            words = [*words, setting("hydra.sweep.dir", str(scratch))]
        sys.argv = ["evonas", *words]
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(
            _job(signals, flags)
        )()


@contextmanager
def _without_secrets(words: Sequence[str]) -> Iterator[None]:
    """Redact what Hydra prints of the config by itself; everything else is printed as it comes."""
    if not any(re.match(r"(--cfg|-c|--info|-i)(=|$)", word) for word in words):
        yield
        return
    shown = io.StringIO()
    try:
        with redirect_stdout(shown):
            yield
    finally:
        print(re.sub(r"(?m)^([ -]*([\w.-]+): )(.+)$", _redacted, shown.getvalue()), end="", flush=True)


def _redacted(line: re.Match[str]) -> str:
    return f"{line[1]}{config.redact(line[3], line[2])}"


def _job(signals: Signals, flags: Sequence[str]) -> Callable[[DictConfig], float | None]:
    """What Hydra calls for each command; a sweeper that learns is told what each has come to."""

    def job(cfg: DictConfig) -> float | None:
        settings = HydraConfig.get()
        overrides = list(settings.overrides.task)
        is_sweep = settings.mode == HydraMode.MULTIRUN
        if is_sweep:
            print(f"job {settings.job.num + 1}: {shell(config.redact(overrides))}", flush=True)
        stage = str(settings.runtime.choices["stage"])
        code, run = _run_job(cfg, overrides, stage, signals, flags)
        if code and is_sweep and not cfg.fail_fast and not signals.received:
            raise JobFailedError(code)
        if code:
            raise SystemExit(code)
        return _outcome(run, stage) if is_sweep and run is not None else None

    return job


def _outcome(run: Run, stage: str) -> float | None:
    # numpy is of no use to a command that only answers
    from evonas.stages.sweep_objective import outcome

    return outcome(run, stage)


def _run_job(
    cfg: DictConfig, overrides: Sequence[str], stage: str, signals: Signals, flags: Sequence[str]
) -> tuple[int, Run | None]:
    """One stage in one run; every end of it becomes an exit code, which comes with the run, if there is one.

    Args:
        flags: what was typed besides overrides and shall be recorded with them.
    """
    run: Run | None = None
    with ExitStack() as stack:
        try:
            _check(cfg, overrides, stage)
            stack.enter_context(config.trusting(cfg.packages))
            complete(cfg)
            run = _open(cfg, [*flags, *overrides], stage)
            stack.callback(close_run, run)
            if stage not in stages.NEEDS_NO_RUN:
                # what libraries write into a run is as private as the run
                stack.callback(os.umask, os.umask(0o077))
            stack.enter_context(_logged(run, stage, overrides))
            if stage in TRAINING and (banner := shortened([*flags, *overrides])):
                print(banner, flush=True)
            print(config.build(cfg.stage).run(Context(cfg, run)), flush=True)
        except (KeyboardInterrupt, SystemExit):
            if not signals.received:
                raise
            code = _stopped(run, stage, signals.received)
        except Exception as error:
            # an import that was interrupted fails in ways of its own
            stopped = signals.received
            if isinstance(error, BrokenPipeError) and not stopped and _is_reader_gone():
                code = _READER_GONE
            else:
                code = _stopped(run, stage, stopped) if stopped else _report(known_error(error), run)
        else:
            code = 0
        if run is not None:
            end_attempt(run, code)
        return code, run


def _check(cfg: DictConfig, overrides: Sequence[str], stage: str) -> None:
    name = str(OmegaConf.select(cfg, "task.name") or "task")
    if not _TASK.fullmatch(name):
        raise UserError(
            f"{name[:80]!r} cannot be the name of a task.", "Use letters, digits, blanks, - _ + . /"
        )
    if stage not in stages.NEEDS_NO_TASK and cfg.task is None:
        if cfg.run:
            find_run(Path(cfg.outputs), cfg.run)
        first = [] if stage == "run" else [f"stage={stage}"]
        raise UserError("No task chosen.", f"Try: {command('+task=synthetic', *first, outputs=cfg.outputs)}")
    objectives = [each for each in overrides if cli_args.group(each) == "objective"]
    check_combinations(cfg, stage, objectives)
    if not cli_args.brings_others(overrides):
        refuse_settings_of_none(cfg, overrides)
    if cfg.packages and "packages" not in map(cli_args.group, overrides):
        raise UserError(
            f"A config file allows packages={list(cfg.packages)}, but whose code is run is yours to say.",
            f"If you trust it, add: {shell([setting('packages', list(cfg.packages))])}",
        )
    config.refuse_environment(cfg)
    cli_errors.check_types(cfg, overrides)
    cli_errors.refuse_infinite(cfg, overrides)
    cli_errors.refuse_too_small(cfg)


def _open(cfg: DictConfig, overrides: Sequence[str], stage: str) -> Run:
    if stage in stages.NEEDS_NO_RUN:
        return Run(Path(cfg.outputs).absolute(), "")
    if stage not in stages.READS_ONLY:
        return open_run(cfg, overrides)
    if not cfg.run:
        raise UserError(
            f"Which run shall '{stage}' read?", f"Try: {command(stage, 'run=last', outputs=cfg.outputs)}"
        )
    find_run(Path(cfg.outputs), cfg.run)
    return open_run(cfg, overrides, lock_it=False)


def _stopped(run: Run | None, stage: str, number: int) -> int:
    """Say how to go on after a signal; the exit code that shells give it."""
    if run is not None and run.attempt is not None:
        log.info("stopped by signal %d", number)
        again = run.command(stage, "resume=true")
        print(f"\nStopped; nothing is lost. Go on with: {again}", flush=True)
    return 128 + number


def _report(error: Exception, run: Run | None = None) -> int:
    """Print and log an error; the exit code it stands for."""
    if isinstance(error, EvoNASError):
        text = config.redact(f"error: {error.message}" + (f"\n{error.hint}" if error.hint else ""))
        code = error.exit_code
    else:
        text = config.redact("".join(traceback.format_exception(error)) + "This is a bug of evonas.")
        code = 1
    log.error("%s", text)
    if code == 1 and run is not None and run.attempt is not None:
        text += f" The log is {run.attempt / LOG}"
    print(text, file=sys.stderr, flush=True)
    return code


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return str(config.redact(super().format(record)))


@contextmanager
def _logged(run: Run, stage: str, overrides: Sequence[str]) -> Iterator[None]:
    """Keep what every library logs in the attempt's log; our own warnings are shown as well."""
    root = logging.getLogger()
    handlers: list[logging.Handler] = [_console()]
    if run.attempt is not None:
        handlers.append(
            RotatingFileHandler(run.attempt / LOG, maxBytes=_LOG_BYTES, backupCount=1, delay=True)
        )
        handlers[1].setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    before = root.level
    root.setLevel(logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    log.info("evonas %s, stage %s: %s", __version__, stage, " ".join(overrides))
    try:
        yield
    finally:
        root.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _console() -> logging.Handler:
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.WARNING)
    console.setFormatter(_Redacting("%(levelname)s: %(message)s"))
    console.addFilter(lambda record: record.name.startswith("evonas") and record.name != log.name)
    return console
