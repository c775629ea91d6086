from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linktrail.schema import TABLES
from queries.completeness import to_datetime
from queries.engine import Engine, open_lake, setup
from queries.snapshot import LakeFiles, TableFiles
from queries.views import definitions, documented_views
from tests.queries.lakes import Run, at, write_lake
from tests.queries.story import BASE, IMAGE, LEAKED, OLD, SERVER, TOP


def moment(seconds: float) -> dict[str, object]:
    """Return the parameter ``$t`` for an instant."""
    return {"t": to_datetime(at(seconds))}


# --- as of an instant -------------------------------------------------------------------------------------------


def held(engine: Engine, seconds: float) -> set[tuple[str, str, str]]:
    """Return the links of the leaked layer at an instant: kind, subject, certainty."""
    rows = engine.rows("FROM links_at($t) WHERE layer_id = $id", {**moment(seconds), "id": LEAKED})
    return {(row["link_kind"], row["subject"], row["certainty"]) for row in rows}


def test_links_come_and_go(engine: Engine) -> None:
    """Before its creation a layer has no link, after it all, after the crash only what leaked, after the clean-up the rest."""
    assert held(engine, 599) == set()
    alive = {kind for kind, _, certainty in held(engine, 700) if certainty == "certain"}
    assert alive == {"layer_directory", "short_link", "link_file", "lower_reference", "layer_record", "parent_pointer", "container_layer"}
    leaked = {kind for kind, _, _ in held(engine, 1300)}
    assert leaked == {"layer_directory", "short_link", "link_file", "lower_reference"}
    assert {kind for kind, _, _ in held(engine, 3500)} == {"link_file", "lower_reference"}


def test_inside_an_interval_both_sides_are_possible(engine: Engine) -> None:
    """While nobody knows whether a link is there yet or still, it is possible."""
    assert ("layer_directory", LEAKED, "possible") in held(engine, 600.1)
    assert ("layer_record", LEAKED, "possible") in held(engine, 1200.2)
    assert ("layer_record", LEAKED, "certain") in held(engine, 1199.9)
    assert not [row for row in held(engine, 1200.5) if row[0] == "layer_record"]
    targets = engine.rows("SELECT target, certainty FROM links_at($t) WHERE subject = 'TOPSHORT'", moment(3100.1))
    assert targets == [{"target": f"../{TOP}/diff", "certainty": "possible"}]


def test_what_the_baseline_found_is_not_known_before(engine: Engine) -> None:
    """Recording cannot say what was there before it began, and says it is possible while the first reading ran."""
    assert engine.query("FROM links_at($t)", moment(0.1)).num_rows == 0
    assert {row["certainty"] for row in engine.rows("FROM links_at($t)", moment(0.7))} == {"possible"}
    assert {row["certainty"] for row in engine.rows("FROM links_at($t)", moment(2))} == {"certain"}


def test_layers_show_what_holds_them(engine: Engine) -> None:
    """Record, directory, parent, image, container, size: one row a layer."""
    layers = {row["layer_id"]: row for row in engine.rows("FROM layers_at($t)", moment(1300))}
    assert set(layers) == {BASE, TOP, OLD, LEAKED}
    assert (layers[TOP]["parent"], layers[TOP]["images"], layers[TOP]["containers"]) == (BASE, [IMAGE], [])
    assert (layers[OLD]["containers"], layers[OLD]["record"], layers[OLD]["bytes"]) == ([SERVER], "present", 40_960)
    assert (layers[LEAKED]["record"], layers[LEAKED]["directory"], layers[LEAKED]["bytes"]) == (None, "present", 9_000_000)


def test_findings_are_open_between_their_ends(engine: Engine) -> None:
    """Opened before, not closed before; inside an interval possible; and as it last stood then."""

    def standing(seconds: float) -> list[tuple[str, int, str]]:
        rows = engine.rows("FROM findings_at($t)", moment(seconds))
        return [(row["severity"], row["bytes"], row["certainty"]) for row in rows]

    assert standing(1799) == []
    assert standing(1800.2) == [("warning", 9_000_000, "possible")]
    assert standing(1801) == [("warning", 9_000_000, "certain")]
    assert standing(1861) == [("error", 12_000_000, "certain")]
    assert standing(3000.5) == [("error", 12_000_000, "possible")]
    assert standing(3001) == []


def test_sizes_end_with_their_layer(engine: Engine) -> None:
    """The newest sample counts, and a layer that was removed takes no space any more."""
    sizes = "SELECT bytes FROM usage_at($t) WHERE subject = $id"
    assert engine.rows(sizes, {**moment(602), "id": LEAKED}) == [{"bytes": 1_000_000}]
    assert engine.rows(sizes, {**moment(2999), "id": LEAKED}) == [{"bytes": 9_000_000}]
    assert engine.rows(sizes, {**moment(3001), "id": LEAKED}) == []


def test_instants_can_be_written_as_text(engine: Engine) -> None:
    """In SQL of people an instant is a string."""
    assert engine.query("FROM findings_at('2026-11-23 16:31:30')").num_rows == 1
    assert engine.query("FROM findings_at(now())").num_rows == 0


def test_leaks_are_those_open_at_the_end(engine: Engine, tmp_path: Path) -> None:
    """The view has no instant: it is the end of the record."""
    run = Run()
    run.finding("opened", "unaccounted-layer", "x", (1, 2))
    run.finding("opened", "layer-missing", "y", (1, 2), family="breaks")
    with open_lake(write_lake(tmp_path / "lake", [run])) as other:
        assert [row["subject"] for row in other.rows("FROM leaks")] == ["x"]
    assert engine.rows("FROM leaks") == []


def test_owners_are_kept_after_deletion(engine: Engine) -> None:
    """A layer that is gone still has its pod."""
    rows = engine.rows("FROM owners WHERE id = $id", {"id": LEAKED})
    assert [(row["k8s_pod_name"], row["container_name"]) for row in rows] == [("worker-0", "worker")]


# --- another beginning ------------------------------------------------------------------------------------------


def test_a_second_baseline_replaces_what_was_known(tmp_path: Path) -> None:
    """Where the ledger was lost, nobody said what was removed meanwhile: only what the new baseline found stands after it."""
    first, second = Run(), Run("20261123T170000Z-bbbbbbbb")
    for subject in ("kept", "gone"):
        first.link("layer_directory", "observed", subject, (None, 1), origin="baseline")
    first.finding("opened", "unaccounted-layer", "gone", (None, 1.5))
    second.link("layer_directory", "observed", "kept", (None, 3601), origin="baseline")
    with open_lake(write_lake(tmp_path / "lake", [first, second])) as engine:
        assert {row["subject"] for row in engine.rows("FROM links_at($t)", moment(100))} == {"kept", "gone"}
        assert {row["subject"] for row in engine.rows("FROM links_at($t)", moment(3700))} == {"kept"}
        assert engine.query("FROM findings_at($t)", moment(100)).num_rows == 1
        assert engine.query("FROM findings_at($t)", moment(3700)).num_rows == 0


def test_what_a_restart_found_may_have_happened_in_its_gap(tmp_path: Path) -> None:
    """The first diagnosis of a run states no beginning; it lies in the restart gap, and earlier the old state is certain."""
    first, second = Run(), Run("20261123T161000Z-bbbbbbbb")
    first.start(0)
    first.finding("opened", "unaccounted-layer", "x", (1, 2))
    second.coverage("gap", (300, 600), cause="restart", message="")
    second.start(599)
    second.finding("closed", "unaccounted-layer", "x", (None, 601))
    second.finding("opened", "unaccounted-layer", "y", (None, 601))
    with open_lake(write_lake(tmp_path / "lake", [first, second])) as engine:

        def standing(seconds: float) -> set[tuple[str, str]]:
            return {(row["subject"], row["certainty"]) for row in engine.rows("FROM findings_at($t)", moment(seconds))}

        assert standing(200) == {("x", "certain")}
        assert standing(400) == {("x", "possible"), ("y", "possible")}
        assert standing(602) == {("y", "certain")}


# --- against a model --------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.sampled_from(["n1", "n2"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["created", "removed", "retargeted", "changed"]),
        st.integers(1, 20),  # time since the step before
        st.integers(0, 20),  # length of the interval
    ),
    max_size=14,
)


@pytest.fixture(scope="module")
def memory() -> Iterator[Any]:
    """A DuckDB with the views over tables in memory, which examples fill anew."""
    connection: Any = duckdb.connect()
    statements = setup(LakeFiles(Path(), {name: TableFiles(name) for name in TABLES}), copy=True)
    for statement in (*statements.first, *statements.stored, *statements.plain, *(definition.sql for definition in definitions())):
        connection.execute(statement)
    yield connection
    connection.close()


@settings(max_examples=40, deadline=None)
@given(steps, st.lists(st.integers(0, 300), min_size=1, max_size=3))
def test_links_at_is_the_fold_of_all_changes(memory: Any, steps: list[tuple[str, str, str, int, int]], asked: list[int]) -> None:
    """For any history: the newest certain change of each link stands unless it is a removal, and every open interval adds a possibility."""
    history: dict[tuple[str, str], list[tuple[int, int, str, str]]] = defaultdict(list)
    runs = {node: Run(node=node) for node in ("n1", "n2")}
    clock = 0
    for number, (node, subject, action, pause, length) in enumerate(steps):
        clock += pause
        target = f"target{number}"
        runs[node].link("short_link", action, subject, (clock - length, clock), target=target)
        history[node, subject].append((clock - length, clock, action, target))
    memory.register("made", pa.concat_tables([run.table("links") for run in runs.values()]))
    memory.execute("DELETE FROM lake.links")
    memory.execute("INSERT INTO lake.links FROM made")
    for seconds in asked:
        found = memory.execute("SELECT node, subject, target, certainty FROM links_at($t)", moment(seconds)).fetchall()
        assert set(found) == expected(history, seconds)
        assert len(found) == len(set(found))


def expected(history: dict[tuple[str, str], list[tuple[int, int, str, str]]], seconds: int) -> set[tuple[str, str, str, str]]:
    """Return what stands at ``seconds``, told naively."""
    standing: set[tuple[str, str, str, str]] = set()
    for (node, subject), changes in history.items():
        settled = [change for change in changes if change[1] <= seconds]
        moving = [change for change in changes if change[0] < seconds < change[1]]
        certainty = "possible" if moving else "certain"
        standing |= {(node, subject, target, certainty) for _, _, action, target in settled[-1:] if action != "removed"}
        standing |= {(node, subject, target, "possible") for _, _, action, target in moving if action != "removed"}
    return standing


# --- the gaps ---------------------------------------------------------------------------------------------------


def gaps(engine: Engine) -> list[tuple[str, Any, Any]]:
    """Return cause, beginning and end of every gap, in seconds after the beginning."""
    rows = engine.rows("SELECT cause, began, ended FROM gaps ORDER BY ended, cause")

    def seconds(value: Any) -> float | None:
        return None if value is None else (value - to_datetime(at(0))).total_seconds()

    return [(row["cause"], seconds(row["began"]), seconds(row["ended"])) for row in rows]


def test_a_run_that_knew_nothing_of_the_one_before_is_a_gap(tmp_path: Path) -> None:
    """A new state directory over an old lake: nobody stated a gap, and there is one all the same."""
    first, second, third = Run(), Run("20261123T170000Z-b"), Run("20261123T180000Z-c")
    first.start(0)
    first.vouch(100, since=0)
    second.start(3600)
    second.vouch(3700, since=3600)
    third.coverage("gap", (3700, 7200), cause="restart", message="")
    third.start(7200)
    with open_lake(write_lake(tmp_path / "lake", [first, second, third])) as engine:
        assert gaps(engine) == [("unrecorded", 100, 3600), ("restart", 3700, 7200)]


def test_a_gap_without_a_beginning_begins_at_the_last_word(tmp_path: Path) -> None:
    """What was vouched for by an earlier run stays so."""
    first, second = Run(), Run("20261123T170000Z-b")
    first.start(0)
    first.vouch(100, since=0)
    second.coverage("gap", (None, 3600), cause="ledger-lost", message="")
    second.start(3600)
    with open_lake(write_lake(tmp_path / "lake", [first, second])) as engine:
        assert gaps(engine) == [("ledger-lost", 100, 3600)]


def test_missing_batches_that_arrived_after_all_are_no_gap(tmp_path: Path) -> None:
    """A hole is a hole until every row of it came."""
    hole = {
        "cause": "batch-missing",
        "message": "batch 1 never arrived",
        "first_seq": 10,
        "last_seq": 19,
        "origin": "processor",
        "store_root": None,
    }
    run = Run()
    run.coverage("gap", (1, 2), **hole)
    part = {"origin": "processor", "store_root": None, "batch_table": "links"}
    run.coverage("batch", (1, 2), first_seq=10, last_seq=14, batch_rows=5, **part)
    with open_lake(write_lake(tmp_path / "open", [run])) as engine:
        assert gaps(engine) == [("batch-missing", 1, 2)]
    run.coverage("batch", (1, 2), first_seq=15, last_seq=19, batch_rows=5, **part)
    with open_lake(write_lake(tmp_path / "filled", [run])) as engine:
        assert gaps(engine) == []


def test_another_nodes_batches_fill_no_hole(tmp_path: Path) -> None:
    """Whatever run they say they are of."""
    run, other = Run(), Run(node="n2")
    hole = {"first_seq": 10, "last_seq": 19, "origin": "processor", "store_root": None}
    run.coverage("gap", (1, 2), cause="batch-missing", message="batch 1 never arrived", **hole)
    other.coverage("batch", (1, 2), batch_table="links", batch_rows=10, **hole)
    with open_lake(write_lake(tmp_path / "lake", [run, other])) as engine:
        assert gaps(engine) == [("batch-missing", 1, 2)]


# --- documentation ----------------------------------------------------------------------------------------------


def test_every_view_is_documented_and_every_documented_view_exists(engine: Engine) -> None:
    """``linktrail sql --views`` tells what there is, with one sentence at least."""
    listed = {view.signature: view.meaning for view in documented_views()}
    assert all(meaning.endswith(".") for meaning in listed.values())
    for signature in listed:
        engine.query(f"FROM {signature.replace('(t)', '(now())')} LIMIT 1")
    views = {row["name"] for row in engine.rows("SELECT view_name AS name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'")}
    macros = {
        f"{row['name']}(t)"
        for row in engine.rows("SELECT function_name AS name FROM duckdb_functions() WHERE NOT internal AND schema_name = 'main'")
    }
    assert views | macros == set(listed)
