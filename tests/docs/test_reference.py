from __future__ import annotations

import json
from pathlib import Path

import pytest

from linktrail.codes import CODES, SEVERITIES
from linktrail.reference import PAGES as WAIST_PAGES
from linktrail.schema import SCHEMA_VERSION, TABLES
from queries.reference import PAGES as QUERY_PAGES

ROOT = Path(__file__).resolve().parents[2]
PAGES = {**WAIST_PAGES, **QUERY_PAGES}
GOLDEN = ROOT / "tests" / "data" / "schema.json"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages_are_what_the_code_says(name: str) -> None:
    """A reference page is never stale (make docs writes them)."""
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name]()


def test_the_schema_is_pinned() -> None:
    """What crosses the borders changes only on purpose: columns are only added at the end, else SCHEMA_VERSION rises."""
    now = {
        "version": SCHEMA_VERSION,
        "tables": {name: [[column.name, str(column.type), column.nullable] for column in table.columns] for name, table in TABLES.items()},
    }
    assert json.loads(GOLDEN.read_text(encoding="utf-8")) == now


def test_codes_are_well_formed() -> None:
    """Every code has a family and a severity of the design, and its name is its key."""
    assert len(CODES) == 47
    for name, code in CODES.items():
        assert name == code.name
        assert code.severity in SEVERITIES
        assert code.family in {"leaks", "breaks", "contents", "growth"}


def test_every_table_shares_the_common_columns() -> None:
    """Queries may join any two tables on node, run and time."""
    common = TABLES["links"].names[:13]
    assert all(table.names[:13] == common for table in TABLES.values())
    for table in TABLES.values():
        assert len(set(table.names)) == len(table.names)
        assert table.arrow().names == list(table.names)
