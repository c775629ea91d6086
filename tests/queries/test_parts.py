"""Answers that come node by node say the same, in the same order, as those that come at once."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from linktrail.command import main
from linktrail.errors import QueryError
from linktrail.testing.clock import FakeClock
from queries.answers.about import asked, asking
from queries.catalog import questions
from queries.engine import Engine, open_lake
from tests.queries.lakes import Run, at, write_lake

NOW = FakeClock(at(3650))
HOSTILE = "o'node"  # its name is in no statement as it stands
NODES = [*(f"node-{number:02d}" for number in range(44)), HOSTILE]
EMPTY = {f"node-{number:02d}" for number in range(8, 40)}  # a whole part without rows
BOUNDS = {"at": at(3000), "since": at(600), "until": at(3000)}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of more nodes than are asked for at once; only in the last part is there something uncertain and a second cluster."""
    runs = []
    for number, node in enumerate(NODES):
        last = node == HOSTILE
        run = Run(node=node, cluster="other" if last else "main")
        run.start(0.5)
        if node not in EMPTY:
            for name in ("one", "two"):
                image, layer, container = (f"{what}-{name}-{number}" for what in ("image", "layer", "container"))
                run.link("image_record", "created", image, (900 + number, 901 + number))
                run.link("image_layer", "created", image, (900 + number, 901 + number), target=layer)
                run.link("container_record", "created", container, (None if last else 950, 951), container_name=f"app-{name}")
                run.link("container_layer", "created", container, (950, 951), target=layer)
                run.usage("layer", layer, (1000, 1001), 4096 * number)
            if last:
                run.link("container_record", "removed", "container-two-44", (2990, 3010))
        run.vouch(3600, since=0.5)
        runs.append(run)
    return write_lake(tmp_path_factory.mktemp("fleet") / "lake", runs, twice=["links"])


@pytest.fixture
def engine(fleet: Path) -> Engine:
    return open_lake(fleet)


BY_NODE = [name for name, question in questions().items() if question.by_node]


def test_some_questions_come_so() -> None:
    """Those whose answers are long on a fleet."""
    assert BY_NODE == ["containers", "diff", "images"]


@pytest.mark.parametrize("name", BY_NODE)
def test_the_parts_are_the_whole(name: str, engine: Engine) -> None:
    """Every row once, in the order of the whole; after it the engine sees all nodes again."""
    values = {key: BOUNDS[key] for key in ("at", "since", "until") if any(one.name == key for one in questions()[name].parameters)}
    whole = asked(engine, name, values, clock=NOW)
    parts = asking(engine, name, values, in_parts=True, clock=NOW)
    sheets = list(parts.sheets)
    assert len(sheets) > 2
    assert {sheet.name for sheet in sheets} == {"rows"}
    assert replace(whole, sheets=sheets).rows.to_pylist() == whole.rows.to_pylist()
    assert whole.rows.num_rows >= 2 * (len(NODES) - len(EMPTY))
    assert parts.completeness() == whole.completeness
    assert asked(engine, name, values, clock=NOW).rows.equals(whole.rows)


def test_an_error_on_the_way_leaves_the_engine_whole(engine: Engine) -> None:
    """Whoever goes on asking it asks about all nodes."""
    with engine.of_nodes("FROM links", "node-01", "node-02"):
        assert engine.rows("SELECT DISTINCT node FROM links") == [{"node": "node-01"}]
    with pytest.raises(QueryError), engine.of_nodes("FROM links", HOSTILE, None):
        engine.rows("SELECT nothing FROM links")
    assert engine.rows("SELECT count(DISTINCT node) AS n FROM links") == [{"n": len(NODES) - len(EMPTY)}]


@pytest.mark.parametrize("verb", ["containers", "images"])
def test_as_people_see_it(verb: str, fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As csv they have one header; a table has a second one only where a column begins to say something; json is whole."""
    words = [verb, "--lake", str(fleet), "--at", "2026-11-23T16:50:00Z"]
    assert main([*words, "--json"]) in (0, 3)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert main([*words, "--format", "csv"]) in (0, 3)
    out, err = capsys.readouterr()
    assert "The record" in err
    found = list(csv.DictReader(io.StringIO(out)))
    identifier = "container_id" if verb == "containers" else "image_id"
    assert [row[identifier] for row in found] == [row[identifier] for row in rows]
    assert {row["node"] for row in found} == set(NODES) - EMPTY
    assert main(words) in (0, 3)
    out = capsys.readouterr().out
    headers = [line for line in out.splitlines() if line.endswith("NODE")]
    assert len(headers) == (2 if verb == "containers" else 1)  # the last part alone has certainty
    assert all(line.startswith(("C", "I")) for line in headers)
    assert len(out.splitlines()) == len(rows) + len(headers) * 2 - 1
    assert sum("other" in line for line in out.splitlines()) == 2
