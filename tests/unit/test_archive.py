"""The archive: facts are durable, exact, checked on the way in and on the way out."""

import math
import sqlite3
from contextlib import nullcontext
from pathlib import Path

import pytest

from evonas import archive as module
from evonas import files
from evonas.archive import Archive, Evaluation, candidates
from evonas.errors import DataError, EngineError, UserError

IDENTITY = {"seed": 1, "space": {"name": "toy"}, "objectives": ["error", "latency"]}


def fact(seq: int, genotype: str, part: str = "shared", **values: float) -> Evaluation:
    return Evaluation(seq, f"print-{part}", genotype, part, "done", values or {"error": 0.1 * seq})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search" / "archive.sqlite"


def opened(path: Path, resume: bool = False, **changes: object) -> Archive:
    return Archive.open(path, {**IDENTITY, **changes}, resume)


def filled(path: Path, count: int = 20) -> str:
    with opened(path) as archive:
        for seq in range(count):
            archive.record(fact(seq, f"toy:k={seq}"), seconds=0.5, worker="w1")
        return archive.digest()


def test_facts_come_back_exactly(path: Path) -> None:
    value = Evaluation(
        3, "f", "toy:k=1", "shared", "done", {"error": 0.1 + 0.2}, {"images": 8, "spread": [1.5]}
    )
    with opened(path) as archive:
        assert archive.record(value) == value
        assert archive.lookup("f", "toy:k=1") == value
        assert archive.lookup("g", "toy:k=1") is None
    with Archive.read(path) as archive:
        assert archive.evaluations() == [value]
        assert archive.meta == IDENTITY


def test_the_dump_knows_neither_order_of_completion_nor_time(path: Path, tmp_path: Path) -> None:
    digest = filled(path)
    with opened(tmp_path / "other.sqlite") as archive:
        for seq in reversed(range(20)):
            archive.record(fact(seq, f"toy:k={seq}"), seconds=seq, worker="w2")
        assert archive.digest() == digest
        archive.record(fact(20, "toy:k=20"))
        assert archive.digest() != digest


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "0.5", True])
def test_what_is_no_finite_number_becomes_a_failure(path: Path, value: object) -> None:
    with opened(path) as archive:
        stored = archive.record(Evaluation(0, "f", "g", "shared", "done", {"error": value}))  # type: ignore[dict-item]
        assert stored == archive.lookup("f", "g")
        assert stored.state == "failed" and not stored.objectives and "error" in stored.reason


def test_odd_extras_are_kept_as_text(path: Path) -> None:
    with opened(path) as archive:
        archive.record(
            Evaluation(0, "f", "g", "shared", "done", {"e": 1.0}, {"cv": math.nan, "at": Path("x")})
        )
        found = archive.lookup("f", "g")
    assert found is not None and found.extra == {"cv": "nan", "at": "x"}


def test_a_fact_is_recorded_once(path: Path) -> None:
    with opened(path) as archive:
        archive.record(fact(0, "g"))
        with pytest.raises(EngineError, match="twice"):
            archive.record(fact(1, "g"))
        assert len(archive.evaluations()) == 1
        archive.record(fact(2, "h"))


def test_an_old_archive_is_continued_only_on_request(path: Path) -> None:
    filled(path)
    with pytest.raises(UserError, match="resume=true"):
        opened(path)
    with opened(path, resume=True) as archive:
        assert len(archive.evaluations()) == 20


@pytest.mark.parametrize("key", ["seed", "space", "objectives", "added"])
def test_a_changed_question_is_refused_by_key(path: Path, key: str) -> None:
    filled(path)
    with pytest.raises(UserError, match=key) as caught:
        opened(path, resume=True, **{key: "changed"})
    assert '"changed"' in str(caught.value)
    assert str(IDENTITY.get(key, "absent")).split("'")[0][:3] in str(caught.value)


def test_an_archive_killed_while_it_was_made_counts_as_new(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with opened(path) as archive:
        assert archive.evaluations() == []


def test_newer_archives_are_refused_kindly(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {module.SCHEMA_VERSION + 1}")
    connection.close()
    for attempt in (lambda: Archive.read(path), lambda: opened(path, resume=True)):
        with pytest.raises(UserError, match=f"schema {module.SCHEMA_VERSION + 1}") as caught:
            attempt()
        assert "upgrade" in str(caught.value)


def test_truncation_is_noticed(path: Path) -> None:
    filled(path, count=200)
    whole = path.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match="archive"):
            Archive.read(path).evaluations()


def test_a_changed_value_is_noticed(path: Path) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE evaluation SET objectives = '{\"error\": 0.0}' WHERE seq = 7")
    connection.close()
    for attempt in (lambda: Archive.read(path), lambda: opened(path, resume=True)):
        with pytest.raises(DataError, match="evaluation 7"):
            attempt()


CHANGES = {
    "reference": (
        "UPDATE meta SET value = '[9.0, 9.0]' WHERE key = 'reference'",
        "reference of its metadata",
    ),
    "identity": ("UPDATE meta SET value = '2' WHERE key = 'seed'", "seed of its metadata"),
    "a key more": ("INSERT INTO meta VALUES ('ideal', '[0.0]')", "ideal of its metadata"),
    "a key less": ("DELETE FROM meta WHERE key = 'reference'", "reference of its metadata"),
    "rows": ("DELETE FROM evaluation WHERE seq BETWEEN 5 AND 14", "holds 10 evaluations and recorded 20"),
    "order": ("UPDATE evaluation SET rowid = 1000 WHERE seq = 3", "the order of its evaluations"),
    "seconds": (
        "UPDATE execution SET seconds = 0.1 WHERE genotype = 'toy:k=3'",
        "the times of its evaluations",
    ),
    "worker": ("DELETE FROM execution WHERE genotype = 'toy:k=3'", "the times of its evaluations"),
    "seal": ("DELETE FROM seal WHERE key = 'meta.seed'", "seed of its metadata"),
}


@pytest.mark.parametrize(("statement", "named"), CHANGES.values(), ids=CHANGES.keys())
def test_what_was_changed_behind_the_search_is_named(path: Path, statement: str, named: str) -> None:
    filled(path)
    with opened(path, resume=True) as archive:
        archive.settle("reference", [1.0, 2.0])
    Archive.read(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    for attempt in (lambda: Archive.read(path), lambda: opened(path, resume=True)):
        with pytest.raises(DataError, match=named) as caught:
            attempt()
        assert str(path) in caught.value.message


def test_an_archive_without_a_seal_is_read_and_sealed_when_resumed(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE seal")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    for _ in range(2):
        with Archive.read(path) as archive:
            assert len(archive.evaluations()) == 20 and not archive.is_sealed
    assert caplog.text.count("was written before archives were sealed") == 1
    with opened(path, resume=True) as archive:
        assert archive.is_sealed
        archive.record(fact(20, "toy:k=20"))
    with Archive.read(path) as archive:
        assert len(archive.evaluations()) == 21
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM evaluation WHERE seq = 2")
    connection.close()
    with pytest.raises(DataError, match="20 evaluations and recorded 21"):
        Archive.read(path)


def test_a_failed_evaluation_can_be_replaced_and_no_other(path: Path) -> None:
    filled(path)
    with opened(path, resume=True) as archive:
        archive.record(Evaluation(20, "print-shared", "toy:k=20", "shared", "failed", reason="timeout"))
        archive.replace_failed(fact(20, "toy:k=20", error=0.25), seconds=2.0, worker="w2")
        assert archive.took("print-shared", "toy:k=20") == (2.0, "w2")
        with pytest.raises(AssertionError):
            archive.replace_failed(fact(3, "toy:k=3", error=0.0))
    with Archive.read(path) as archive:
        assert [each.objectives["error"] for each in archive.in_order_recorded()][-2:] == [0.1 * 19, 0.25]


@pytest.mark.parametrize("deep", ["meta", "evaluation"])
def test_values_that_are_too_deep_are_damage(path: Path, deep: str) -> None:
    text = "[" * 10**5 + "]" * 10**5
    with opened(path) as archive:
        archive._connection.execute("INSERT INTO meta VALUES ('deep', ?)", (text if deep == "meta" else "1",))
        row = (0, "f", "g", "shared", "done", '{"e": 1.0}', text, "")
        archive._connection.execute(
            f"INSERT INTO evaluation VALUES ({', '.join('?' * 9)})", (*row, module._checksum(row))
        )
        archive._set_seal(archive._computed_seal())
    with Archive.read(path) as archive, pytest.raises(DataError, match="damaged"):
        _ = archive.meta if deep == "meta" else archive.evaluations()


SCHEMAS = {
    "an endless view": [
        "ALTER TABLE evaluation RENAME TO real",
        "CREATE VIEW evaluation AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    ],
    "a trigger": ["CREATE TRIGGER t AFTER INSERT ON execution BEGIN DELETE FROM evaluation; END"],
    "another table": ["CREATE TABLE more (x)"],
    "an index that computes": ["CREATE INDEX i ON evaluation (length(extra))"],
    "other columns": ["ALTER TABLE execution ADD COLUMN more AS (hex(zeroblob(1000000000)))"],
    "a table less": ["DROP TABLE execution"],
}


@pytest.mark.parametrize("statements", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_other_tables_than_those_of_an_archive_are_refused(path: Path, statements: list[str]) -> None:
    filled(path)
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    for attempt in (lambda: Archive.read(path), lambda: opened(path, resume=True)):
        with pytest.raises(DataError, match="tables of an archive"):
            attempt()


def test_a_query_ends_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    monkeypatch.setattr(module, "_QUERY_SECONDS", 0.0)
    monkeypatch.setattr(module, "_BYTES_PER_SECOND", 2**30)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with (
        Archive.read(path) as archive,
        pytest.raises(DataError, match="too long"),
        module._translated_errors(path),
    ):
        archive._connection.execute(endless)


@pytest.mark.parametrize("name", ["archive.sqlite", "archive.sqlite-journal"])
def test_links_are_not_written_through(path: Path, tmp_path: Path, name: str) -> None:
    path.parent.mkdir()
    (tmp_path / "mine").write_text("mine")
    path.with_name(name).symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match=r"link|journal"):
        opened(path)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_journal_that_names_files_elsewhere_is_refused(path: Path) -> None:
    filled(path)
    path.with_name(path.name + "-journal").write_bytes(b"/home/me/mine" + bytes.fromhex("d9d505f920a163d7"))
    with pytest.raises(DataError, match="no journal of this archive"):
        opened(path, resume=True)


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("hello " * 500)
    with pytest.raises(DataError, match=r"text\.sqlite"):
        Archive.read(tmp_path / "text.sqlite")
    with sqlite3.connect(tmp_path / "foreign.sqlite") as connection:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(DataError, match="not an archive"):
        opened(tmp_path / "foreign.sqlite", resume=True)
    with pytest.raises(UserError, match="stage=search"):
        Archive.read(tmp_path / "none.sqlite")


def test_a_full_disk_loses_nothing(path: Path) -> None:
    with opened(path) as archive:
        (pages,) = archive._connection.execute("PRAGMA page_count").fetchone()
        archive._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(EngineError, match=r"full.*MiB free"):
            for seq in range(1000):
                archive.record(fact(seq, f"toy:k={seq}", error=0.5))
        kept = len(archive.evaluations())
    with opened(path, resume=True) as archive:
        assert len(archive.evaluations()) == kept > 0
        archive.record(fact(kept, "toy:k=more"))


def test_readers_see_commits_and_cannot_write(path: Path) -> None:
    with opened(path) as writer, Archive.read(path) as reader:
        writer.record(fact(0, "g"))
        assert len(reader.evaluations()) == 1
        with pytest.raises(EngineError, match="readonly"):
            reader.record(fact(1, "h"))


@pytest.mark.parametrize(("kind", "is_refused"), [("nfs4", True), ("fuse.sshfs", True), ("ext4", False)])
def test_network_disks_are_refused(tmp_path: Path, kind: str, is_refused: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path.resolve()}/far {kind} rw 0 0\n")
    files.refuse_network(tmp_path / "archive.sqlite", mounts)
    expectation = pytest.raises(UserError, match=kind) if is_refused else nullcontext()
    with expectation:
        files.refuse_network(tmp_path / "far" / "archive.sqlite", mounts)


def test_how_long_a_measurement_took_is_known_beside_the_fact(path: Path) -> None:
    with opened(path) as archive:
        archive.record(fact(0, "g"), seconds=1.25, worker="worker-3")
        assert archive.took("print-shared", "g") == (1.25, "worker-3")
        assert archive.took("print-shared", "h") is None


def test_candidates_join_parts_in_the_order_asked(path: Path) -> None:
    with opened(path) as archive:
        archive.record(fact(3, "b", "exclusive", latency=7.0))
        archive.record(fact(0, "a", error=0.5))
        archive.record(fact(2, "b", error=0.4))
        archive.record(fact(4, "c", error=0.3))
        archive.record(Evaluation(1, "print-exclusive", "a", "exclusive", "failed", reason="timeout"))
        archive.record(Evaluation(9, "old", "b", "exclusive", "done", {"latency": 1.0}))
        prints = {"shared": "print-shared", "exclusive": "print-exclusive"}
        found = candidates(archive, prints, ["error", "latency"])
    assert [(each.genotype, each.objectives) for each in found] == [("a", None), ("b", (0.4, 7.0))]
    assert found[0].reason == "timeout"
