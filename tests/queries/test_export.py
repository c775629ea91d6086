"""Other tools' forms: their required fields, intervals kept, nothing invented, hostile names inert."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from linktrail.command import main
from linktrail.schema import FINDINGS, LINKS
from queries.engine import Engine, open_lake
from queries.export.names import ECS
from queries.export.writing import ExportForm, export
from tests.queries.lakes import Run, at
from tests.queries.story import LEAKED
from tests.report.hostile import HOSTILE_TIME, write_hostile

_NOT_EXPORTED = {"day", "monotonic_ns", "subject_raw", "target_raw", "file_path_raw", "file_nlink", "detail", "related", "read_only"}


def written(engine: Engine, form: ExportForm, after: float = 0, before: float = 3600) -> str:
    """Return what is written of a part of the story."""
    out = io.StringIO()
    count = export(engine, form, at(after), at(before), out)
    text = out.getvalue()
    assert count == len(list(csv.DictReader(io.StringIO(text)))) if form is ExportForm.TIMESKETCH else count == len(text.splitlines())
    return text


def events(engine: Engine, form: ExportForm, after: float = 0, before: float = 3600) -> list[dict[str, Any]]:
    """Return the JSON events of a part of the story."""
    return [json.loads(line) for line in written(engine, form, after, before).splitlines()]


def test_timesketch_has_its_three_columns_and_the_interval(engine: Engine) -> None:
    """message, datetime, timestamp_desc; every change but the baseline, findings among them, in order."""
    lines = list(csv.DictReader(io.StringIO(written(engine, ExportForm.TIMESKETCH))))
    assert len(lines) == 7 + 3 + 3 + 3
    assert [line["datetime"] for line in lines] == sorted(line["datetime"] for line in lines)
    finding = next(line for line in lines if line["timestamp_desc"].startswith("finding opened"))
    assert finding["message"] == f"finding unaccounted-layer (warning) opened, holding 9.0 MB: layer directory {LEAKED} has no record"
    assert (finding["occurred_after"], finding["datetime"]) == ("2026-11-23T16:30:00.000000Z", "2026-11-23T16:30:00.500000Z")


def test_ecs_documents_nest_and_keep_sequence_and_times(engine: Engine) -> None:
    """@timestamp, event.*, file.*, container.*; what ECS has no word for stands below linktrail."""
    documents = events(engine, ExportForm.ECS, 599, 602)
    link = next(one for one in documents if one["linktrail"]["link"]["kind"] == "short_link")
    assert link["@timestamp"] == link["event"]["end"] == "2026-11-23T16:10:00.200000Z"
    assert link["event"]["start"] == "2026-11-23T16:10:00.000000Z"
    assert (link["event"]["action"], link["event"]["type"], link["event"]["dataset"]) == ("created", ["creation"], "linktrail.links")
    assert link["file"] == {"path": f"overlay/l/{link['linktrail']['subject']}", "target_path": f"../{LEAKED}/diff"}
    assert link["container"]["image"]["hash"]["all"] == ["1" * 64]
    assert "orchestrator" not in link, "no cluster was named"
    [opened, *_] = [one for one in events(engine, ExportForm.ECS) if one["event"]["kind"] == "alert"]
    assert (opened["event"]["code"], opened["log"]["level"], opened["linktrail"]["bytes"]) == ("unaccounted-layer", "warning", 9_000_000)


def test_ocsf_has_findings_only(engine: Engine) -> None:
    """Class 2004 with what it requires; the life of one finding; no link is dressed up as a file activity with an invented actor."""
    found = events(engine, ExportForm.OCSF)
    assert [(one["activity_name"], one["type_uid"], one["status_id"]) for one in found] == [
        ("Create", 200_401, 1),
        ("Update", 200_402, 1),
        ("Close", 200_403, 4),
    ]
    for one in found:
        assert {"class_uid", "category_uid", "activity_id", "severity_id", "time", "metadata", "finding_info"} <= one.keys()
        assert one["class_uid"] == 2004
        assert one["finding_info"]["uid"] == f"unaccounted-layer-{LEAKED}"
        assert "actor" not in one
    assert found[0]["time"] == at(1800.5) // 1_000_000
    assert found[0]["start_time"] == at(1200.5) // 1_000_000, "when the damage began"


def test_every_column_has_a_name_or_a_reason() -> None:
    """A new column of links or findings must be named for the other forms, or listed here as not exported."""
    columns = {column.name for table in (LINKS, FINDINGS) for column in table.columns}
    assert columns - set(ECS) - _NOT_EXPORTED == {"since_after", "since_before"}
    assert set(ECS) <= columns


def test_hostile_names(tmp_path: Path) -> None:
    """A line is a line, JSON is ASCII, and no cell begins as a formula does."""
    run = Run(node="n2")
    run.start(0.5)
    run.link("symlink", "created", '=HYPERLINK("http://evil.example")', (5.0, 6.0), file_path="a\nb\rc", target="@SUM(1)")
    lake = write_hostile(tmp_path / "lake", run)
    after, before = (instant / 1e9 - at(0) / 1e9 for instant in HOSTILE_TIME)
    with open_lake(lake) as engine:
        for form in (ExportForm.ECS, ExportForm.OCSF):
            assert written(engine, form, after, before).isascii()
        lines = list(csv.DictReader(io.StringIO(written(engine, ExportForm.TIMESKETCH, after, before))))
    hostile = next(line for line in lines if "HYPERLINK" in line["subject"])
    assert hostile["subject"].startswith("'=")
    assert hostile["target"] == "'@SUM(1)"
    assert hostile["file_path"] == "a\\nb\\rc"
    assert all(not value.startswith(("=", "+", "-", "@")) for line in lines for value in line.values())


def test_the_command(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Events on standard output; how many, and whether the record was complete, on standard error."""
    words = ["export", "--lake", str(story), "--as", "ecs", "--from", "2026-11-23T16:05:00Z"]
    assert main([*words, "--to", "2026-11-23T16:31:00Z"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 11
    assert err.startswith("11 events.\nThe record is complete")
    assert main([*words, "--to", "2026-11-23T16:40:00Z"]) == 3
    assert main([*words[:3], "--as", "syslog", "--from", "now"]) == 2
