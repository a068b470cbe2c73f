"""The archive: every fact that a search has learnt, in one SQLite file.

One writer (the driver), any number of readers. A fact is committed before the search
goes on (WAL, synchronous=FULL), and nothing about running work is stored, so a killed
search leaves facts and nothing else. Each row carries a checksum, because SQLite does
not notice a flipped bit in a value.
"""

import hashlib
import json
import math
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from evonas import fault_injection, files
from evonas.errors import DataError, EngineError, UserError

SCHEMA_VERSION = 1
SETTLED = frozenset({"reference"})
_APPLICATION = 0x45564E53
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
_COLUMNS = "seq, fingerprint, genotype, part, state, objectives, extra, reason"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A recorded fact: what one part of one genotype measured, or why it could not be measured.

    Args:
        seq: given when the point was asked, so that it does not depend on who answered first.
        fingerprint: of everything the numbers depend on besides the genotype.
        genotype: text form.
        part: "shared" or "exclusive".
        state: "done" with finite objectives, or "failed" with a reason.
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
    """All parts of one genotype joined; `objectives` is None if one of them failed."""

    seq: int
    genotype: str
    objectives: tuple[float, ...] | None
    extra: Mapping[str, Any]
    reason: str


class Archive:
    """An opened archive; use `Archive.open` to write and `Archive.read` to look."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def open(
        cls, path: Path, identity: Mapping[str, Any], resume: bool, unsafe_fs: bool = False
    ) -> "Archive":
        """Create the archive of a new search, or continue an old one.

        Args:
            path: of the SQLite file; its folder is made.
            identity: plain JSON data that must not change over the life of the search.
            resume: whether an existing archive may be continued.
            unsafe_fs: accept a network file system, whose locks SQLite cannot trust.

        Raises:
            UserError: archive exists without resume, identity changed, newer schema, network disk.
            DataError: the file is damaged or no archive.
        """
        if not unsafe_fs:
            files.refuse_network(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        archive = cls(_connect(path.resolve().as_uri()), path)
        try:
            with _explained(path):
                archive._continue_or_create(dict(identity), resume)
        except BaseException:
            archive.close()
            raise
        return archive

    @classmethod
    def read(cls, path: Path) -> "Archive":
        """Open for reading only, also while a search writes.

        Raises:
            UserError: there is no archive, or a newer evonas wrote it.
            DataError: the file is damaged or no archive.
        """
        if not path.is_file():
            raise UserError(f"There is no archive at {path}.", "Run the search first: stage=search")
        uri = path.resolve().as_uri()
        is_clean = not path.with_name(path.name + "-wal").exists()
        with _explained(path):
            try:
                connection = _connect(uri + "?mode=ro")
                connection.execute("SELECT count(*) FROM sqlite_master")
            except sqlite3.OperationalError:
                if not is_clean:
                    raise
                # without a log beside it the file is complete, and may lie on a read-only disk
                connection = _connect(uri + "?immutable=1")
            archive = cls(connection, path)
            archive._check_file()
        return archive

    @property
    def meta(self) -> dict[str, Any]:
        """The identity that the search was started with."""
        with _explained(self.path):
            return {
                key: json.loads(value)
                for key, value in self._connection.execute("SELECT key, value FROM meta")
            }

    def settle(self, key: str, value: Any) -> Any:
        """Fix a fact that the search's first results decide; the first value stays, and is returned.

        Args:
            key: one of `SETTLED`; these are in `meta`, but no part of the identity.
        """
        assert key in SETTLED
        with _explained(self.path):
            self._connection.execute(
                "INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (key, _canonical(value))
            )
        return self.meta[key]

    def lookup(self, fingerprint: str, genotype: str) -> Evaluation | None:
        """The fact about a genotype under a fingerprint, if it is known."""
        with _explained(self.path):
            row = self._connection.execute(
                f"SELECT {_COLUMNS}, checksum FROM evaluation WHERE fingerprint = ? AND genotype = ?",
                (fingerprint, genotype),
            ).fetchone()
        return None if row is None else self._evaluation(row)

    def record(self, evaluation: Evaluation, seconds: float = 0.0, worker: str = "") -> Evaluation:
        """Commit a fact durably and return it as stored.

        Values that are not finite numbers never become results: the fact is stored as
        failed, with the reason.

        Raises:
            EngineError: disk full, or the fact is known already (two drivers?).
        """
        stored = as_fact(evaluation)
        row = _row(stored)
        with _explained(self.path):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                marks = ", ".join("?" * (len(row) + 1))
                self._connection.execute(
                    f"INSERT INTO evaluation ({_COLUMNS}, checksum) VALUES ({marks})", (*row, _checksum(row))
                )
                self._connection.execute(
                    "INSERT INTO execution (fingerprint, genotype, seconds, worker) VALUES (?, ?, ?, ?)",
                    (stored.fingerprint, stored.genotype, float(seconds), worker),
                )
                fault_injection.point("archive.before_commit")
                self._connection.execute("COMMIT")
                fault_injection.point("archive.after_commit")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        return stored

    def evaluations(self) -> list[Evaluation]:
        """All facts in the order their points were asked."""
        return [self._evaluation(row) for row in self._rows()]

    def in_order_recorded(self) -> list[Evaluation]:
        """All facts in the order in which they became durable."""
        return [self._evaluation(row) for row in self._rows("rowid")]

    def seconds(self, fingerprint: str | None = None) -> float:
        """The summed wall time of all recorded measurements, or of those under one fingerprint."""
        with _explained(self.path):
            (total,) = self._connection.execute(
                "SELECT total(seconds) FROM execution WHERE ?1 IS NULL OR fingerprint = ?1", (fingerprint,)
            ).fetchone()
        return float(total)

    def took(self, fingerprint: str, genotype: str) -> tuple[float, str] | None:
        """Seconds and worker of a recorded measurement, or None for one that is not known."""
        with _explained(self.path):
            return self._connection.execute(
                "SELECT seconds, worker FROM execution WHERE fingerprint = ? AND genotype = ?",
                (fingerprint, genotype),
            ).fetchone()

    def dump(self) -> str:
        """The canonical text of all facts: one JSON list a line, full precision, no wall times."""
        return "".join(json.dumps(row[:-1]) + "\n" for row in self._rows())

    def digest(self) -> str:
        """The sha256 of the dump; equal digests mean equal searches."""
        return hashlib.sha256(self.dump().encode()).hexdigest()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._connection.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _rows(self, order: str = "seq, part, fingerprint") -> list[tuple[Any, ...]]:
        with _explained(self.path):
            return self._connection.execute(
                f"SELECT {_COLUMNS}, checksum FROM evaluation ORDER BY {order}"
            ).fetchall()

    def _evaluation(self, row: tuple[Any, ...]) -> Evaluation:
        seq, fingerprint, genotype, part, state, objectives, extra, reason, checksum = row
        if _checksum(row[:-1]) != checksum:
            raise DataError(
                f"{self.path} is damaged: evaluation {seq} does not match its checksum.", _RESTORE
            )
        return Evaluation(
            seq, fingerprint, genotype, part, state, json.loads(objectives), json.loads(extra), reason
        )

    def _continue_or_create(self, identity: dict[str, Any], resume: bool) -> None:
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables:
            self._check_file()
            if not resume:
                raise UserError(
                    f"{self.path} holds a search already.", "Add resume=true, or name another run="
                )
            _refuse_change(self.meta, identity)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        if not tables:
            self._create(identity)

    def _create(self, identity: dict[str, Any]) -> None:
        """Make the tables and the identity in one transaction, so that neither exists alone."""
        values = [(key, _canonical(value)) for key, value in identity.items()]
        self._connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _TABLES.split(";")):
            self._connection.execute(statement)
        self._connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", values)
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._connection.execute("COMMIT")

    def _check_file(self) -> None:
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if application != _APPLICATION:
            raise DataError(f"{self.path} is not an archive of evonas.", _RESTORE)
        if version > SCHEMA_VERSION:
            raise UserError(
                f"{self.path} has schema {version}; this evonas knows schemas up to {SCHEMA_VERSION}.",
                "Update it with: pip install --upgrade evonas",
            )
        (verdict,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise DataError(f"{self.path} is damaged: {verdict}.", _RESTORE)


_RESTORE = "Restore the file from a copy, or start another search with run=<new name>."


def as_fact(evaluation: Evaluation) -> Evaluation:
    """The evaluation, or a failed one if its objectives are not all finite numbers."""
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
    """Genotypes of which every part is known, in the order asked.

    Args:
        archive: to read from.
        parts: the parts that make a candidate whole; a mapping also says under which
            fingerprint each part counts.
        objective_names: the order of the objective vectors.

    Returns:
        One candidate per genotype; a genotype whose parts are not all recorded is left out.
    """
    by_genotype: dict[str, dict[str, Evaluation]] = {}
    for fact in archive.evaluations():
        wanted = parts.get(fact.part) if isinstance(parts, Mapping) else fact.fingerprint
        if fact.part in parts and fact.fingerprint == wanted:
            by_genotype.setdefault(fact.genotype, {})[fact.part] = fact
    whole = (facts for facts in by_genotype.values() if len(facts) == len(parts))
    return sorted((_join(list(facts.values()), objective_names) for facts in whole), key=lambda c: c.seq)


def _join(facts: list[Evaluation], objective_names: Sequence[str]) -> Candidate:
    values = {name: value for fact in facts for name, value in fact.objectives.items()}
    reasons = [fact.reason for fact in facts if fact.state == "failed"]
    missing = [name for name in objective_names if name not in values]
    if missing and not reasons:
        reasons = [f"objective {missing[0]} was not measured"]
    vector = None if reasons else tuple(float(values[name]) for name in objective_names)
    extra = {key: value for fact in facts for key, value in fact.extra.items()}
    return Candidate(min(f.seq for f in facts), facts[0].genotype, vector, extra, "; ".join(reasons))


def _refuse_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    # fingerprints last: what changed them has a name that says more
    keys = sorted((set(old) | set(new)) - SETTLED, key=lambda key: (key == "fingerprints", key))
    for key in keys:
        before, after = (_canonical(side[key]) if key in side else "absent" for side in (old, new))
        if before != after:
            raise UserError(
                f"This search was started with {key}={before[:200]}; it cannot go on with {after[:200]}.",
                f"Set {key} back, or start another search with run=<new name>.",
            )


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30.0)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours: damage is a DataError, a full disk an EngineError."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise EngineError(
            f"A fact was recorded twice in {path}: {error}.", "Is another search using it?"
        ) from error
    except sqlite3.OperationalError as error:
        free = shutil.disk_usage(path.parent).free // 2**20
        raise EngineError(
            f"{path} cannot be used: {error} ({free} MiB free on its disk).",
            "Make room on the disk, then repeat the command with resume=true",
        ) from error
    except (sqlite3.DatabaseError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged or no archive: {error}.", _RESTORE) from error


def _row(evaluation: Evaluation) -> tuple[Any, ...]:
    objectives = _canonical({name: float(value) for name, value in evaluation.objectives.items()})
    facts = (evaluation.seq, evaluation.fingerprint, evaluation.genotype, evaluation.part, evaluation.state)
    return (*facts, objectives, _canonical(_plain(evaluation.extra)), evaluation.reason)


def _checksum(row: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _plain(value: Any) -> Any:
    """JSON data of anything: numbers that are not finite become text, unknown objects too."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    return float(value) if isinstance(value, float) and math.isfinite(value) else str(value)
