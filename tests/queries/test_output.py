from __future__ import annotations

import base64
import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linktrail.drawing import MOST_DRAWN
from linktrail.errors import UsageError
from linktrail.output import Format, Sheet, write_output
from linktrail.schema import TIME
from linktrail.sizes import human_bytes
from linktrail.values import trim_fraction

HOSTILE = "\x1b[2J\x07evil|`x`\u202e<script>\n[a](http://b) \\xff"


def written(form: Format, *sheets: Sheet, document: dict[str, object] | None = None) -> str:
    """Return what ``write_output`` writes where there is no terminal."""
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, "utf-8", newline="")
    write_output(sheets, form, document or {}, stream=stream)
    stream.flush()
    return buffer.getvalue().decode("utf-8") if form is not Format.PARQUET else base64.b64encode(buffer.getvalue()).decode()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


ROWS = pa.table(
    {
        "name": pa.array(["plain", HOSTILE, None]),
        "bytes": pa.array([1_500_000, 0, None], pa.int64()),
        "at": pa.array([datetime(2026, 11, 23, 16, 0, 0, 500_000, UTC), datetime(2026, 11, 23, tzinfo=UTC), None], TIME),
        "raw": pa.array([b"\xff\x00", None, b""], pa.binary()),
        "ids": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
    }
)


def test_json_is_one_document_and_faithful() -> None:
    """Rows, whatever else is said, ISO times, base64 bytes; ASCII only, so that no name can speak to the terminal."""
    text = written(Format.JSON, Sheet("rows", ROWS), Sheet("totals", pa.table({"n": [1]})), document={"question": "q"})
    assert text.isascii()
    assert "\x1b" not in text
    document = json.loads(text)
    assert document["question"] == "q"
    assert document["totals"] == [{"n": 1}]
    assert document["rows"][0] == {
        "name": "plain",
        "bytes": 1_500_000,
        "at": "2026-11-23T16:00:00.500000Z",
        "raw": "/wA=",
        "ids": ["a", "b"],
    }
    assert document["rows"][1]["name"] == HOSTILE
    assert set(document["rows"][2].values()) == {None, ""}


def test_jsonl_has_a_row_a_line() -> None:
    """Every line stands alone, whatever is in the names."""
    lines = written(Format.JSONL, Sheet("rows", ROWS)).splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["plain", HOSTILE, None]


def test_csv_reads_back() -> None:
    """Names with quotes, commas and line ends survive; null is empty."""
    rows = list(csv.reader(io.StringIO(written(Format.CSV, Sheet("rows", ROWS)), newline="")))
    assert rows[0] == ["name", "bytes", "at", "raw", "ids"]
    assert rows[1] == ["plain", "1500000", "2026-11-23T16:00:00.500000Z", "/wA=", '["a", "b"]']
    assert rows[2][0] == HOSTILE
    assert rows[3] == ["", "", "", "", ""]


def test_parquet_keeps_types_and_what_was_said() -> None:
    """The rows are the same table, and the answer's statement stands in the metadata."""
    data = base64.b64decode(written(Format.PARQUET, Sheet("rows", ROWS), document={"completeness": {"complete": True}}))
    table = pq.read_table(io.BytesIO(data))
    assert table.equals(ROWS)
    assert json.loads(table.schema.metadata[b"linktrail.answer"])["completeness"]["complete"] is True


def test_parquet_is_refused_on_a_terminal() -> None:
    """Binary data on a terminal is never meant."""
    with pytest.raises(UsageError, match="redirect"):
        write_output((Sheet("rows", ROWS),), Format.PARQUET, {}, stream=Terminal())


def test_table_is_for_eyes() -> None:
    """Sizes are human-readable, times short, hostile names inert, and nothing is cut where the output is no terminal."""
    long = "x" * 3000
    text = written(
        Format.TABLE, Sheet("rows", ROWS), Sheet("more", pa.table({"long": [long]})), Sheet("empty", pa.table({"no": pa.nulls(0)}))
    )
    assert "1.5 MB" in text
    assert "2026-11-23T16:00:00.5Z" in text
    assert "a, b" in text
    assert long in text
    assert "\x1b" not in text
    assert r"\x1b[2J\x07evil" in text
    assert "\u202e" not in text
    assert "NO" not in text.split()
    assert all(line == line.rstrip() for line in text.splitlines())


def test_brief_is_what_eyes_see() -> None:
    """Where an answer has a shorter form, table and md show it, and programs never do."""
    sheet = Sheet("rows", ROWS, pa.table({"short": ["s"]}))
    assert written(Format.TABLE, sheet).split() == ["SHORT", "s"]
    assert "short" in written(Format.MD, sheet)
    assert "short" not in written(Format.JSON, sheet)
    assert written(Format.CSV, Sheet("rows", ROWS)).startswith("name,bytes")


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR turns it off, and a pipe never has it."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    sheet = Sheet("rows", pa.table({"severity": ["critical"]}))
    coloured, plain = Terminal(), Terminal()
    write_output((sheet,), Format.TABLE, {}, stream=coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    write_output((sheet,), Format.TABLE, {}, stream=plain)
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" not in written(Format.TABLE, sheet)


def test_hostile_names_mean_nothing_in_markdown() -> None:
    """One cell stays one cell, and what could be markup stands in a code span that no back-quote inside can end."""
    text = written(Format.MD, Sheet("rows", pa.table({"name": [HOSTILE], "n": [3]})))
    line = text.splitlines()[2]
    assert len(re.split(r"(?<!\\)\|", line)) == 4
    assert line.startswith("| ``\\x1b")
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_name_reaches_eyes_raw(name: str) -> None:
    """Whatever a name is, table and md stay as many lines as they have rows, without control or format characters."""
    name = name.encode("utf-8", "replace").decode()
    for form, lines in ((Format.TABLE, 2), (Format.MD, 3)):
        text = written(form, Sheet("rows", pa.table({"name": [name], "end": ["."]})))
        assert text.count("\n") == lines
        assert not [character for character in text if character != "\n" and unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}]


@settings(deadline=None)
@given(st.text(max_size=60), st.binary(max_size=20), st.integers(-(2**63), 2**63 - 1))
def test_programs_get_every_value_back(name: str, raw: bytes, number: int) -> None:
    """Nothing is lost in json and csv."""
    name = name.encode("utf-8", "replace").decode()
    sheet = Sheet("rows", pa.table({"name": [name], "raw": pa.array([raw], pa.binary()), "number": [number]}))
    row = json.loads(written(Format.JSON, sheet))["rows"][0]
    assert (row["name"], base64.b64decode(row["raw"]), row["number"]) == (name, raw, number)
    cells = list(csv.reader(io.StringIO(written(Format.CSV, sheet), newline="")))[1]
    assert cells[2] == str(number)
    assert base64.b64decode(cells[1]) == raw


def test_odd_types_have_a_json_form() -> None:
    """What SQL can return beyond the schema does not break an output."""
    odd = pa.table(
        {
            "d": [date(2026, 1, 2)],
            "big": pa.array([Decimal(10) ** 20], pa.decimal128(38, 0)),
            "part": pa.array([Decimal("1.5")], pa.decimal128(10, 1)),
            "nan": [float("nan")],
            "naive": pa.array([datetime(2026, 1, 2)], pa.timestamp("us")),  # noqa: DTZ001 - SQL can make one
            "struct": [{"a": [b"x"]}],
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "interval": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        }
    )
    for form in Format:
        assert written(form, Sheet("rows", odd))
    row = json.loads(written(Format.JSON, Sheet("rows", odd)))["rows"][0]
    assert row["big"] == 10**20
    assert row["part"] == 1.5
    assert row["nan"] is None
    assert row["naive"] == "2026-01-02T00:00:00.000000"
    assert row["struct"] == {"a": ["eA=="]}


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (999_999, "1.0 MB"), (12_345_678_901, "12.3 GB"),
     (-2000, "-2.0 kB"), (2**63, "9.2 EB")],
)  # fmt: skip
def test_sizes_for_eyes(count: int, text: str) -> None:
    """Powers of 1000, one digit."""
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("text", "short"),
    [("2026-11-23T16:00:00.000000Z", "2026-11-23T16:00:00Z"), ("2026-11-23T16:00:00.120000Z", "2026-11-23T16:00:00.12Z"),
     ("2026-11-23", "2026-11-23"), ("2026-11-23T16:00:00.500000", "2026-11-23T16:00:00.5")],
)  # fmt: skip
def test_fractions_for_eyes(text: str, short: str) -> None:
    """Zeros at the end say nothing."""
    assert trim_fraction(text) == short


def test_a_long_table_is_laid_out_part_by_part() -> None:
    """Every row is there, in order, under one header; a wider cell far down makes the rows from its part on wider, and no row before."""
    count = 2_500
    names = ["a" if number < 2_400 else "a" * 9 for number in range(count)]
    stream = io.StringIO()
    write_output((Sheet("rows", pa.table({"name": names, "n": list(range(count))})),), Format.TABLE, {}, stream=stream)
    header, *lines = stream.getvalue().splitlines()
    assert header == "NAME    N"
    assert [line.split() for line in lines] == [[name, str(number)] for number, name in enumerate(names)]
    assert lines[0] == "a       0"
    assert lines[-1] == "aaaaaaaaa  2499"


def test_a_terminal_gets_as_many_rows_as_a_person_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is counted; what is no terminal gets every row."""
    monkeypatch.setenv("NO_COLOR", "1")
    rows = Sheet("rows", pa.table({"number": list(range(5_000))}))
    stream = Terminal()
    write_output((rows,), Format.TABLE, {}, stream=stream)
    header, *lines, last = stream.getvalue().splitlines()
    assert "NUMBER" in header
    assert [int(line) for line in lines] == list(range(MOST_DRAWN))
    assert last == f"The first {MOST_DRAWN} of 5,000 rows; a pipe, a file and --format csv get all of them."
    assert len(written(Format.TABLE, rows).splitlines()) == 5_001


def test_parts_of_an_answer_are_written_as_they_come() -> None:
    """Sheets of one name are the same rows: apart for eyes, together for programs; what came is out before the next is looked for."""
    first, second = (
        Sheet("rows", pa.table({"n": [1]}), pa.table({"one": ["a"]})),
        Sheet("rows", pa.table({"n": [2]}), pa.table({"other": ["b"]})),
    )
    beside = Sheet("totals", pa.table({"sum": [3]}))
    for form, expected in {
        Format.TABLE: ["ONE\na\n", "\nOTHER\nb\n", "\nSUM\n  3\n"],
        Format.CSV: ["n\n1\n", "2\n", ""],
        Format.JSONL: ['{"n":1}\n', '{"n":2}\n', ""],
    }.items():
        stream = io.StringIO()
        seen: list[str] = []

        def coming(stream: io.StringIO = stream, seen: list[str] = seen) -> Iterator[Sheet]:
            for sheet in (first, second, beside):
                yield sheet
                seen.append(stream.getvalue()[sum(map(len, seen)) :])

        write_output(coming(), form, {}, stream=stream)
        assert [*seen, *[""] * (3 - len(seen))] == expected
    assert json.loads(written(Format.JSON, first, second, beside)) == {"schema": 1, "rows": [{"n": 1}, {"n": 2}], "totals": [{"sum": 3}]}
