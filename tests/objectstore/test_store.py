"""A lake in an object store: the same promises as in a directory, against a real HTTP server that speaks S3."""

from __future__ import annotations

import json
import multiprocessing
import random
import threading
import time
from pathlib import Path

import pytest

from linktrail.clock import SystemClock
from linktrail.command import main
from linktrail.durable import LocalFileSystem
from linktrail.errors import FencedError, LakeError, LakeMissingError, LakeUnreachableError, UsageError
from processor.lake import Lake
from processor.location import address, is_remote, place, storage_options
from processor.pipeline import FlushPolicy, Processor
from processor.spool_intake import SpoolIntake
from processor.upkeep.keeper import maintain
from queries.engine import open_lake
from queries.lake_cache import cache_directory
from queries.snapshot import read_lake
from tests.faults.rows import MAKERS, NUMBER_COLUMN
from tests.objectstore.conftest import Store
from tests.processor.scene import Scene
from tests.stores import unpack
from tests.upkeep.histories import answers, clock_after, horizon_of, runs_of, write
from tests.upkeep.test_compact import commit, opened, rows
from tests.upkeep.test_equality import SHORT

EAGER = FlushPolicy(urgent_seconds=0, idle_seconds=0)
_PROCESSES = multiprocessing.get_context("spawn")


def test_places_are_paths_inside_and_urls_outside() -> None:
    """There and back; a URL of another kind is refused; a directory stays one."""
    for url in ("s3://bucket/a/b", "abfss://container@account.dfs.core.windows.net/lake", "gs://bucket"):
        assert is_remote(place(url))
        assert address(place(url)) == address(place(url).absolute()) == url
        assert address(place(url) / "links") == f"{url}/links"
    assert not is_remote(place("/srv/lake"))
    assert (place("lake"), address(Path("/srv/lake")), storage_options(Path("/srv/lake"))) == (Path("lake"), "/srv/lake", None)
    for wrong in ("http://host/lake", "s3://", "s3:///"):
        with pytest.raises(UsageError):
            place(wrong)


def test_settings_come_from_the_environment_and_secrets_from_files(tmp_path: Path) -> None:
    """The vendors' variables, those for linktrail alone, and files."""
    (tmp_path / "secret").write_text("s\n")
    (tmp_path / "secret").chmod(0o600)
    given = {
        "AWS_REGION": "r",
        "HOME": "/",
        "LINKTRAIL_LAKE_OPTION_AWS_REGION": "q",
        "LINKTRAIL_LAKE_OPTION_KEY_FILE": str(tmp_path / "secret"),
    }
    assert storage_options(place("s3://b"), given) == {"aws_region": "q", "key": "s"}
    with pytest.raises(UsageError, match="No such file"):
        storage_options(place("s3://b"), {"LINKTRAIL_LAKE_OPTION_KEY_FILE": str(tmp_path / "none")})
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(UsageError, match="everybody"):
        storage_options(place("s3://b"), given)


def test_a_lake_in_a_store_is_made_kept_and_asked_like_any_other(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same rows in a directory and in the store give the same answers, also after upkeep, and through the command line."""
    from hypothesis import find, settings  # noqa: PLC0415 - one history of them is wanted

    from tests.upkeep.histories import steps  # noqa: PLC0415 - likewise

    history = find(steps, lambda found: len(found) > 12, settings=settings(database=None))
    runs, latest = runs_of(history)
    local, remote = tmp_path / "lake", store.bucket()
    with pytest.raises(LakeMissingError):
        read_lake(remote)
    for path in (local, remote):
        write(path, runs, pieces=2, twice=True)
    clock = clock_after(latest, 24)
    horizon, now = horizon_of(clock), clock.now().wall
    expected = answers(local, [horizon, now], horizon, now)
    assert answers(remote, [horizon, now], horizon, now) == expected
    maintain(remote, filesystem=LocalFileSystem(), clock=clock, policy=SHORT)
    assert answers(remote, [horizon, now], horizon, now) == expected
    assert main(["findings", "--lake", address(remote), "--json"]) in {0, 3}
    assert main(["sql", "SELECT count(*) AS n FROM links", "--lake", address(remote), "--format", "csv"]) == 0
    assert "\nn\n" in f"\n{capsys.readouterr().out}".replace("\r", "")


def test_up_records_into_a_store(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real store, recorded once, its lake elsewhere: shown and asked from there; nothing of a lake is made here."""
    root = unpack("cs-podman43-leaky", tmp_path / "store")
    url = address(store.bucket())
    assert main(["up", str(root), "--once", "--state", str(tmp_path / "state"), "--lake", url, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["recorded_links"] > 50
    assert not (tmp_path / "state" / "lake").exists()
    assert main(["findings", "--lake", url, "--json"]) in {0, 3}
    assert len(json.loads(capsys.readouterr().out)["rows"]) == len(shown["findings"]) > 0
    inside = ["up", str(root), "--once", "--state", str(tmp_path / "other"), "--lake", str(root / "lake")]
    assert main(inside) == 2


def test_files_are_copied_once(store: Store) -> None:
    """The second query finds them in the cache; a copy that was cut is copied again; what the store lacks is an error."""
    remote = store.bucket()
    lake = opened(remote)
    commit(lake, rows(1, 2), rows(3, first_seq=2))
    files = read_lake(remote).tables["links"].files
    stamps = {file: Path(file).stat().st_ino for file in files}
    assert {file: Path(file).stat().st_ino for file in read_lake(remote).tables["links"].files} == stamps
    assert all(file.startswith(str(cache_directory(remote))) for file in files)
    Path(files[0]).write_bytes(b"PAR1")
    with open_lake(remote) as engine:
        assert engine.rows("SELECT count(*) AS n FROM links") == [{"n": 3}]
    Path(files[0]).unlink()
    lake.tables["links"].remove_garbage([f"day=2026-11-23/{Path(files[0]).name}"])
    with pytest.raises(LakeError, match="cannot be copied"):
        read_lake(remote)


def test_of_two_writers_one_is_refused(store: Store) -> None:
    """By a conditional put: processors of one source, maintainers, and processes that make the same lake."""
    remote = store.bucket()
    makers: list[Lake] = []
    threads = [threading.Thread(target=lambda: makers.append(opened(remote))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[table.version for table in lake.tables.values()] for lake in makers] == [[0] * 4] * 3
    quick, slow, _ = makers
    commit(quick, rows(1))
    with pytest.raises(FencedError):
        slow.tables["links"].commit(rows(1), {"s": 1}, {"s": None})
    commit(quick, rows(2, first_seq=1))
    first, second = (opened(remote).tables["links"] for _ in range(2))
    first.rewrite(first.live_files(), [rows(1, 2)], data_change=False)
    with pytest.raises(FencedError):
        second.rewrite(second.live_files(), [rows(1, 2)], data_change=False)
    assert sorted(opened(remote).read("links").column("file_inode").to_pylist()) == [1, 2]


@pytest.mark.parametrize("fault", ["refuse .parquet", "refuse _delta_log", "forget _delta_log", "forget .parquet"])
def test_a_store_that_refuses_or_loses_puts_costs_no_row(store: Store, tmp_path: Path, fault: str) -> None:
    """Nothing is acknowledged while it refuses; what it did without saying so is found; afterwards every row is there once."""
    remote = store.bucket()
    scene = Scene(tmp_path)
    for table in MAKERS:
        scene.record(table, 1, 2)
    lake = Lake.open_for_writing(remote, filesystem=LocalFileSystem())
    processor = Processor(SpoolIntake(tmp_path / "spool", filesystem=LocalFileSystem()), lake, clock=scene.clock, policy=EAGER)
    store.fail(fault)
    for _ in range(3):
        try:
            processor.drain()
        except (LakeUnreachableError, FencedError):
            assert scene.spool.acknowledged() == 0
    if fault.startswith("refuse"):
        assert scene.spool.acknowledged() == 0
        with pytest.raises(LakeUnreachableError):
            processor.drain()
    store.fail("")
    processor.drain()
    assert scene.spool.acknowledged() == 4
    assert numbers(remote) == {table: [1, 2] for table in MAKERS}


def commit_for_ever(spool: Path, remote: Path) -> None:
    """A processor, to be killed."""
    lake = Lake.open_for_writing(remote, filesystem=LocalFileSystem())
    Processor(SpoolIntake(spool, filesystem=LocalFileSystem()), lake, clock=SystemClock(), policy=EAGER).run(threading.Event())


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.soak)])
def test_processors_of_a_lake_in_a_store_are_killed(store: Store, tmp_path: Path, kills: int) -> None:
    """Kill -9 anywhere between the puts of a commit: every row once."""
    remote = store.bucket()
    opened(remote)
    scene = Scene(tmp_path)
    chance = random.Random(kills)
    count = 0
    for _ in range(kills):
        for _ in range(8):
            count += 1
            for table in MAKERS:
                scene.record(table, count)
        process = _PROCESSES.Process(target=commit_for_ever, args=(tmp_path / "spool", remote), daemon=True)
        process.start()
        time.sleep(chance.uniform(1.0, 2.5))
        assert process.is_alive(), "it ended by itself"
        process.kill()
        process.join()
    Processor(
        SpoolIntake(tmp_path / "spool", filesystem=LocalFileSystem()),
        Lake.open_for_writing(remote, filesystem=LocalFileSystem()),
        clock=scene.clock,
    ).drain()
    assert numbers(remote) == {table: list(range(1, count + 1)) for table in MAKERS}


def numbers(remote: Path) -> dict[str, list[int]]:
    """Return the numbers of all rows of a lake, by table."""
    lake = Lake.open(remote)
    found: dict[str, list[int]] = {}
    for table, column in NUMBER_COLUMN.items():
        values: list[int | None] = lake.read(table).column(column).to_pylist()
        found[table] = sorted(value for value in values if value is not None)
    return found
