"""The archive: all evaluations of a search in one SQLite file.

There is one writer (the driver) and any number of readers. An evaluation is committed before the search
continues (WAL, synchronous=FULL), and pending work is not stored, so a killed search leaves complete
evaluations only. Each row has a checksum, since SQLite does not detect a flipped bit in a value. The rows, their
times and the metadata are chained: the table `seal` holds a running hash of the rows and of their times, their count,
and a checksum of each key of the metadata, all renewed in the transaction that changes what they cover.

A file may come from somebody else. It is opened only if its tables are exactly those below, without views or triggers,
and every query has a limit of time.
"""

import hashlib
import json
import logging
import math
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from evonas import deprecated, fault_injection, files
from evonas.errors import DataError, EngineError, UserError

SCHEMA_VERSION = 2
SETTLED = frozenset({"reference"})
# a file, a text in it, and seconds of a query: a fixed part and one for each byte of the file
MAX_BYTES, MAX_TEXT_BYTES = 2 * 2**30, 16 * 2**20
_QUERY_SECONDS, _BYTES_PER_SECOND, _STEPS = 10.0, 2**20, 100_000
_APPLICATION = 0x45564E53
_LOG = logging.getLogger(__name__)
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE evaluation (
    seq INTEGER NOT NULL, fingerprint TEXT NOT NULL, genotype TEXT NOT NULL, part TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('done', 'failed')), objectives TEXT NOT NULL,
    extra TEXT NOT NULL, reason TEXT NOT NULL, checksum TEXT NOT NULL, UNIQUE (fingerprint, genotype));
CREATE TABLE execution (
    fingerprint TEXT NOT NULL, genotype TEXT NOT NULL, seconds REAL NOT NULL, worker TEXT NOT NULL,
    finished TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
"""
# of schema 2; an archive of schema 1 gets it when its search is resumed
_SEAL = "CREATE TABLE seal (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_COUNT, _ROWS, _TIMES, _META = "count", "rows", "times", "meta."
_COLUMNS = "seq, fingerprint, genotype, part, state, objectives, extra, reason"
_TIME_COLUMNS = "fingerprint, genotype, seconds, worker, finished"
# the end of a rollback journal that names a journal of several files
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Evaluation of one part of one genotype: its objectives, or the reason of a failure.

    Args:
        seq: sequence number, assigned when the point was asked; independent of the order of completion.
        fingerprint: identifies everything besides the genotype that the values depend on.
        genotype: formatted genotype.
        part: "shared" or "exclusive".
        state: "done" with finite objectives, or "failed" with a reason.
        extra: other recorded data, such as confidence intervals.
    """

    seq: int
    fingerprint: str
    genotype: str
    part: str
    state: Literal["done", "failed"]
    objectives: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """All parts of one genotype merged; `objectives` is None if a part failed."""

    seq: int
    genotype: str
    objectives: tuple[float, ...] | None
    extra: Mapping[str, Any]
    reason: str


class Archive:
    """An open archive; create with `Archive.open` to write or `Archive.read` to read."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def open(
        cls, path: Path, identity: Mapping[str, Any], resume: bool, unsafe_fs: bool = False
    ) -> "Archive":
        """Create the archive of a new search, or open that of a search to resume.

        Args:
            path: path of the SQLite file; its folder is created.
            identity: plain JSON data that must not change when the search is resumed.
            resume: whether an existing archive may be continued.
            unsafe_fs: accept a network file system, where SQLite's locks are unreliable.

        Raises:
            UserError: archive exists without `resume`, identity changed, newer schema, network file system.
            DataError: the file is damaged or not an archive.
        """
        if not unsafe_fs:
            files.refuse_network(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(files.open_to_change(path))
        _refuse_journal(path)
        archive = cls(_connect(path), path)
        try:
            with _translated_errors(path):
                archive._continue_or_create(dict(identity), resume)
        except BaseException:
            archive.close()
            raise
        return archive

    @classmethod
    def read(cls, path: Path) -> "Archive":
        """Open an archive for reading, also while a search writes to it.

        Raises:
            UserError: there is no archive, or a newer version of evonas wrote it.
            DataError: the file is damaged or not an archive.
        """
        if not path.is_file():
            raise UserError(f"There is no archive at {path}.", "Run the search first: stage=search")
        is_clean = not path.with_name(path.name + "-wal").exists()
        with _translated_errors(path):
            try:
                connection = _connect(path, "?mode=ro")
                connection.execute("SELECT count(*) FROM sqlite_master")
            except sqlite3.OperationalError:
                if not is_clean:
                    raise
                # without a write-ahead log the file is complete, and may be on a read-only disk
                connection = _connect(path, "?immutable=1")
            archive = cls(connection, path)
            try:
                archive._check_file()
                archive._check_seal()
            except BaseException:
                archive.close()
                raise
        return archive

    @property
    def meta(self) -> dict[str, Any]:
        """Identity and other metadata of the search."""
        with _translated_errors(self.path):
            return {
                key: json.loads(value)
                for key, value in self._connection.execute("SELECT key, value FROM meta")
            }

    def settle(self, key: str, value: Any) -> Any:
        """Store metadata that the first results determine; returns the value that was stored first.

        Args:
            key: one of `SETTLED`, which are part of `meta` but not of the identity.
        """
        assert key in SETTLED
        if key not in self.meta:
            with _translated_errors(self.path), self._transaction():
                self._connection.execute(
                    "INSERT INTO meta (key, value) VALUES (?, ?)", (key, _canonical(value))
                )
                self._set_seal({_META + key: _digest(_canonical(value))})
        return self.meta[key]

    def lookup(self, fingerprint: str, genotype: str) -> Evaluation | None:
        """The evaluation of a genotype under a fingerprint, or None."""
        with _translated_errors(self.path):
            row = self._connection.execute(
                f"SELECT {_COLUMNS}, checksum FROM evaluation WHERE fingerprint = ? AND genotype = ?",
                (fingerprint, genotype),
            ).fetchone()
        return None if row is None else self._evaluation(row)

    def record(self, evaluation: Evaluation, seconds: float = 0.0, worker: str = "") -> Evaluation:
        """Commit an evaluation durably and return it as stored.

        An evaluation with values that are not finite numbers is stored as failed, with the reason.

        Raises:
            EngineError: the disk is full, or the evaluation exists already (two drivers?).
        """
        stored = finite_or_failed(evaluation)
        with _translated_errors(self.path), self._transaction("archive.before_commit"):
            self._insert(stored, seconds, worker)
        fault_injection.point("archive.after_commit")
        return stored

    def replace_failed(self, evaluation: Evaluation, seconds: float = 0.0, worker: str = "") -> Evaluation:
        """`record` an evaluation in place of a failed one of the same fingerprint and genotype.

        The old row and its times are removed, and the new one counts as the newest.
        """
        stored = finite_or_failed(evaluation)
        key = stored.fingerprint, stored.genotype
        with _translated_errors(self.path), self._transaction("archive.before_commit"):
            found = self._connection.execute(
                "DELETE FROM evaluation WHERE fingerprint = ? AND genotype = ? AND state = 'failed'", key
            )
            assert found.rowcount == 1, "only failed evaluations are replaced"
            self._connection.execute("DELETE FROM execution WHERE fingerprint = ? AND genotype = ?", key)
            self._set_seal(self._computed_seal())
            self._insert(stored, seconds, worker)
        fault_injection.point("archive.after_commit")
        return stored

    def _insert(self, stored: Evaluation, seconds: float, worker: str) -> None:
        """Insert an evaluation and its time, and continue the chain."""
        row = _row(stored)
        checksum = _checksum(row)
        marks = ", ".join("?" * (len(row) + 1))
        self._connection.execute(
            f"INSERT INTO evaluation ({_COLUMNS}, checksum) VALUES ({marks})", (*row, checksum)
        )
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        times = (stored.fingerprint, stored.genotype, float(seconds), worker, now)
        self._connection.execute(f"INSERT INTO execution ({_TIME_COLUMNS}) VALUES (?, ?, ?, ?, ?)", times)
        seal = self._seal()
        self._set_seal(
            {
                _COUNT: str(int(seal[_COUNT]) + 1),
                _ROWS: _chained(seal[_ROWS], checksum),
                _TIMES: _chained(seal[_TIMES], json.dumps(times)),
            }
        )

    @contextmanager
    def _transaction(self, fault_point: str = "") -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            if fault_point:
                fault_injection.point(fault_point)
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def evaluations(self) -> list[Evaluation]:
        """All evaluations in the order asked."""
        return [self._evaluation(row) for row in self._rows()]

    def in_order_recorded(self) -> list[Evaluation]:
        """All evaluations in the order recorded."""
        return [self._evaluation(row) for row in self._rows("rowid")]

    def seconds(self, fingerprint: str | None = None) -> float:
        """Total wall-clock time of all evaluations, or of those with one fingerprint, summed over workers."""
        with _translated_errors(self.path):
            (total,) = self._connection.execute(
                "SELECT total(seconds) FROM execution WHERE ?1 IS NULL OR fingerprint = ?1", (fingerprint,)
            ).fetchone()
        return float(total)

    def took(self, fingerprint: str, genotype: str) -> tuple[float, str] | None:
        """Seconds and worker of an evaluation, or None if it is not recorded."""
        with _translated_errors(self.path):
            return self._connection.execute(
                "SELECT seconds, worker FROM execution WHERE fingerprint = ? AND genotype = ?",
                (fingerprint, genotype),
            ).fetchone()

    def dump(self) -> str:
        """Canonical text of all evaluations: one JSON list per line, full precision, without wall-clock times."""
        return "".join(json.dumps(row[:-1]) + "\n" for row in self._rows())

    def digest(self) -> str:
        """SHA-256 of the dump; equal digests mean equal searches."""
        return hashlib.sha256(self.dump().encode()).hexdigest()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._connection.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _rows(self, order: str = "seq, part, fingerprint") -> list[tuple[Any, ...]]:
        with _translated_errors(self.path):
            return self._connection.execute(
                f"SELECT {_COLUMNS}, checksum FROM evaluation ORDER BY {order}"
            ).fetchall()

    def _evaluation(self, row: tuple[Any, ...]) -> Evaluation:
        seq, fingerprint, genotype, part, state, objectives, extra, reason, _ = self._verified(row)
        with _translated_errors(self.path):
            values, others = json.loads(objectives), json.loads(extra)
        return Evaluation(seq, fingerprint, genotype, part, state, values, others, reason)

    def _verified(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """A row that matches its checksum."""
        if _checksum(row[:-1]) != row[-1]:
            raise DataError(
                f"{self.path} is damaged: evaluation {row[0]} does not match its checksum.", _RESTORE
            )
        return row

    def _continue_or_create(self, identity: dict[str, Any], resume: bool) -> None:
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables:
            self._check_file()
            if not resume:
                raise UserError(
                    f"{self.path} holds a search already.", "Add resume=true, or name another run="
                )
            self._check_seal()
            _refuse_change(self.meta, identity)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        if not tables:
            self._create(identity)
        elif not self.is_sealed:
            with self._transaction():
                self._start_seal()

    def _create(self, identity: dict[str, Any]) -> None:
        """Create tables and identity in one transaction."""
        values = [(key, _canonical(value)) for key, value in identity.items()]
        with self._transaction():
            for statement in filter(str.strip, _TABLES.split(";")):
                self._connection.execute(statement)
            self._connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", values)
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._start_seal()

    def _start_seal(self) -> None:
        """Create the seal over what the archive holds."""
        self._connection.execute(_SEAL)
        self._set_seal(self._computed_seal())
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @property
    def is_sealed(self) -> bool:
        """Whether the archive has a seal; those of schema 1 have none until their search is resumed."""
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        return int(version) >= SCHEMA_VERSION

    def _seal(self) -> dict[str, str]:
        return dict(self._connection.execute("SELECT key, value FROM seal"))

    def _set_seal(self, values: Mapping[str, str]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO seal (key, value) VALUES (?, ?)", list(values.items())
        )

    def _computed_seal(self) -> dict[str, str]:
        """The seal of what the archive holds now.

        Raises:
            DataError: a row does not match its own checksum.
        """
        found = {
            _META + key: _digest(value)
            for key, value in self._connection.execute("SELECT key, value FROM meta")
        }
        count, rows, times = 0, "", ""
        for row in self._connection.execute(f"SELECT {_COLUMNS}, checksum FROM evaluation ORDER BY rowid"):
            count, rows = count + 1, _chained(rows, self._verified(row)[-1])
        for row in self._connection.execute(f"SELECT {_TIME_COLUMNS} FROM execution ORDER BY rowid"):
            times = _chained(times, json.dumps(row))
        return {**found, _COUNT: str(count), _ROWS: rows, _TIMES: times}

    def _check_seal(self) -> None:
        """Compare the archive with its seal.

        Raises:
            DataError: something was changed that the seal covers; the message names it.
        """
        if not self.is_sealed:
            _say_unsealed(str(self.path))
            return
        # one transaction, so that a search that writes meanwhile does not come between
        self._connection.execute("BEGIN")
        try:
            wanted, found = self._seal(), self._computed_seal()
        finally:
            self._connection.execute("COMMIT")
        broken = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
        if not broken:
            return
        changed = [key.removeprefix(_META) for key in broken if key.startswith(_META)]
        if changed:
            what = f"{', '.join(changed)} of its metadata"
        elif _COUNT in broken:
            what = f"it holds {found[_COUNT]} evaluations and recorded {wanted.get(_COUNT)}, so the number of rows"
        else:
            what = "the order of its evaluations" if _ROWS in broken else "the times of its evaluations"
        raise DataError(
            f"{self.path} was changed after it was written: {what} does not match its seal.", _RESTORE
        )

    def _check_file(self) -> None:
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise DataError(f"{self.path} is not an archive of evonas.", _RESTORE)
        if version > SCHEMA_VERSION:
            raise UserError(
                f"{self.path} has schema {version}; this version of evonas reads schemas up to {SCHEMA_VERSION}.",
                "Update it with: pip install --upgrade evonas",
            )
        _refuse_schema(self.path, self._connection, version)
        (verdict,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise DataError(f"{self.path} is damaged: {verdict}.", _RESTORE)


_RESTORE = "Restore the file from a copy, or start another search with run=<new name>."


def finite_or_failed(evaluation: Evaluation) -> Evaluation:
    """Return the evaluation, or a failed one if its objectives are not all finite numbers."""
    if evaluation.state == "failed":
        return replace(evaluation, objectives={})
    for name, value in evaluation.objectives.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            reason = f"objective {name} is {str(value)[:80]}, not a finite number"
            return replace(evaluation, state="failed", objectives={}, reason=reason)
    if not evaluation.objectives:
        return replace(evaluation, state="failed", reason="nothing was measured")
    return evaluation


def candidates(
    archive: Archive, parts: Mapping[str, str] | Sequence[str], objective_names: Sequence[str]
) -> list[Candidate]:
    """Genotypes with all parts evaluated, in the order asked.

    Args:
        archive: archive to read.
        parts: required parts; a mapping gives the required fingerprint of each part.
        objective_names: order of the objective vectors.

    Returns:
        One candidate per genotype; genotypes with missing parts are left out.
    """
    by_genotype: dict[str, dict[str, Evaluation]] = {}
    for found in archive.evaluations():
        wanted = parts.get(found.part) if isinstance(parts, Mapping) else found.fingerprint
        if found.part in parts and found.fingerprint == wanted:
            by_genotype.setdefault(found.genotype, {})[found.part] = found
    complete = (found for found in by_genotype.values() if len(found) == len(parts))
    return sorted((_merge(list(found.values()), objective_names) for found in complete), key=lambda c: c.seq)


def _merge(evaluations: list[Evaluation], objective_names: Sequence[str]) -> Candidate:
    values = {name: value for each in evaluations for name, value in each.objectives.items()}
    reasons = [each.reason for each in evaluations if each.state == "failed"]
    missing = [name for name in objective_names if name not in values]
    if missing and not reasons:
        reasons = [f"objective {missing[0]} was not measured"]
    vector = None if reasons else tuple(float(values[name]) for name in objective_names)
    extra = {key: value for each in evaluations for key, value in each.extra.items()}
    seq = min(each.seq for each in evaluations)
    return Candidate(seq, evaluations[0].genotype, vector, extra, "; ".join(reasons))


def _refuse_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    # fingerprints last, since the key that changed them is more informative
    keys = sorted((set(old) | set(new)) - SETTLED, key=lambda key: (key == "fingerprints", key))
    for key in keys:
        before, after = (json.loads(_canonical(side.get(key))) for side in (old, new))
        changed = deprecated.first_difference(key, before, after)
        if changed:
            where, *values = changed
            was, now = ("absent" if each is None else _canonical(each)[:200] for each in values)
            raise UserError(
                f"This search was started with {where}={was}; it cannot be resumed with {now}.",
                f"Set {where} back, or start another search with run=<new name>.",
            )


class _Connection(sqlite3.Connection):
    """A connection whose queries are interrupted after some seconds, each with the rows that are read of it."""

    def limit_time(self, seconds: float) -> None:
        self._seconds, self._ends = seconds, time.monotonic() + seconds
        self.set_progress_handler(lambda: time.monotonic() > self._ends, _STEPS)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if hasattr(self, "_ends"):
            self._ends = time.monotonic() + self._seconds
        return super().execute(sql, parameters)


@cache
def _say_unsealed(path: str) -> None:
    """Say once of an archive that it has no seal."""
    _LOG.warning(
        "%s was written before archives were sealed: changes of its metadata and missing evaluations cannot be "
        "noticed. Resuming its search seals it.",
        path,
    )


def _connect(path: Path, options: str = "") -> sqlite3.Connection:
    """A connection that runs nothing that a file brings along, and no query for ever."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(f"{path} has {size} bytes, more than the {MAX_BYTES} that are read.", _RESTORE)
    uri = path.resolve().as_uri() + options
    found = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30.0, factory=_Connection)
    found.limit_time(_QUERY_SECONDS + size / _BYTES_PER_SECOND)
    found.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_TEXT_BYTES)
    found.execute("PRAGMA trusted_schema = OFF")
    found.execute("PRAGMA cell_size_check = ON")
    return found


def _refuse_journal(path: Path) -> None:
    """Refuse the rollback journal of another file, which SQLite would follow to files outside of the run."""
    journal = path.with_name(path.name + "-journal")
    if journal.is_symlink() or (journal.exists() and journal.read_bytes()[-8:] == _SUPER_JOURNAL):
        raise DataError(f"{journal} is no journal of this archive.", "Remove it.")


def _refuse_schema(path: Path, connection: sqlite3.Connection, version: int) -> None:
    """Refuse a file with other tables than an archive has: a view or trigger runs whenever it is read or written."""
    wanted = {statement.strip() for statement in _TABLES.split(";") if statement.strip()}
    wanted |= {_SEAL} if version >= SCHEMA_VERSION else set()
    found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    # indices of UNIQUE columns have no statement
    others = [
        f"{kind} {str(name)[:40]}" for kind, name, sql in found if sql is not None and sql not in wanted
    ]
    if others or len(wanted) != sum(sql is not None for *_, sql in found):
        raise DataError(
            f"{path} does not have the tables of an archive{f': {others[0]}' if others else ''}.", _RESTORE
        )


@contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    """Translate SQLite errors: a damaged file is a DataError, a full disk an EngineError."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise EngineError(
            f"An evaluation was recorded twice in {path}: {error}.",
            "Check that no other search uses this archive.",
        ) from error
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise DataError(f"{path} takes too long to read.", _RESTORE) from error
        free = shutil.disk_usage(path.parent).free // 2**20
        raise EngineError(
            f"{path} cannot be used: {error} ({free} MiB free on its disk).",
            "Free space on the disk, then repeat the command with resume=true",
        ) from error
    except (sqlite3.DatabaseError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is damaged or not an archive: {error}.", _RESTORE) from error


def _row(evaluation: Evaluation) -> tuple[Any, ...]:
    objectives = _canonical({name: float(value) for name, value in evaluation.objectives.items()})
    key = (evaluation.seq, evaluation.fingerprint, evaluation.genotype, evaluation.part, evaluation.state)
    return (*key, objectives, _canonical(_plain(evaluation.extra)), evaluation.reason)


def _checksum(row: Sequence[Any]) -> str:
    return _digest(json.dumps(row))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _chained(head: str, link: str) -> str:
    return hashlib.sha256(f"{head}{link}".encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _plain(value: Any) -> Any:
    """Convert to JSON data; non-finite numbers and unknown objects become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    return float(value) if isinstance(value, float) and math.isfinite(value) else str(value)
