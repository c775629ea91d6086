"""Reference pages written from the tables in the code, so that they cannot say anything else.

``python -m linktrail.reference docs`` writes the pages; a test fails when one of them is stale.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from linktrail import errors
from linktrail.codes import CODES
from linktrail.schema import SCHEMA_VERSION, TABLES

_GRACE_WORDS = {"none": "none", "transient": "10 min", "unreferenced": "24 h"}


def schema_page() -> str:
    """Return the page of the four tables."""
    lines = [
        "# Schema",
        "",
        f"Schema version {SCHEMA_VERSION}. From `linktrail/schema.py`; Parquet files, SQL views and JSON output have these columns.",
        "Times are UTC with microseconds. A change happened between `occurred_after` and `occurred_before`.",
        "",
    ]
    for table in TABLES.values():
        lines += [f"## `{table.name}`", "", f"A row is {table.row}.", "", "| column | type | null | meaning |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{column.name}` | {column.type} | {'yes' if column.nullable else 'no'} | {column.meaning} |" for column in table.columns
        ]
        lines.append("")
    return "\n".join(lines)


def findings_page() -> str:
    """Return the page of the finding codes."""
    lines = [
        "# Finding codes",
        "",
        "Stable for ever; scripts match on them. Grace is how old a thing must be before it is called a finding, so that a running",
        "pull, build or removal is not one; `--min-age` overrides it. The record itself knows no grace.",
        "",
        "| code | family | severity | grace | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{code.name}` | {code.family} | {code.severity} | {_GRACE_WORDS[code.grace]} | {code.meaning} |" for code in CODES.values()
    ]
    return "\n".join([*lines, ""])


def exit_codes_page() -> str:
    """Return the page of exit codes and the errors behind them."""
    lines = [
        "# Exit codes",
        "",
        "| code | meaning |",
        "| --- | --- |",
        "| 0 | ok |",
        "| 1 | failure |",
        "| 2 | usage |",
        "| 3 | answered, but the history has gaps in the asked range |",
        "| 4 | findings present (`check`) |",
        "| 10 | no store found |",
        "| 11 | lake unavailable |",
        "| 12 | integrity check failed |",
        "| 130 | interrupted |",
        "",
        "An unknown code means failure. With `--json` a failure is one JSON object on standard error:",
        "`error`, `message`, `hint`, `exit_code`.",
        "",
        "| error | exit code | message |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{kind.__name__}` | {kind.exit_code} | {(kind.__doc__ or '').splitlines()[0]} |" for kind in _errors()]
    return "\n".join([*lines, ""])


def _errors() -> Iterator[type[errors.LinktrailError]]:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.LinktrailError) and kind is not errors.LinktrailError:
            yield kind


PAGES = {"schema.md": schema_page, "findings.md": findings_page, "exit-codes.md": exit_codes_page}


def main(directory: Path) -> None:
    """Write every page below ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
