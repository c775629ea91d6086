"""Links, findings, sizes and statements about the record, as rows of the schema, and links back from rows.

Promises. ``link_of(link_row(..., link, ...)) == recorded(link)``: what the ledger remembers of a link is exactly what its row says,
so a ledger read back from the spool compares equal to the one that was held in memory. ``recorded`` drops what no column
keeps (facts), brings ``detail`` into its canonical JSON form and folds inode numbers over 2**63 - 1 into int64.

Rows are plain dictionaries; times in them are nanoseconds UTC (``linktrail.events``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from collector.findings import Finding
from collector.links import NOBODY, Attribution, Link, LinkKind, LinkState
from linktrail.clock import Instant
from linktrail.events import Interval, Origin, Row, Stamp
from linktrail.schema import TIME
from linktrail.text import column_raw, column_text, decode

_OWNER_COLUMNS: Final = tuple(field.name for field in fields(Attribution))
_INT64: Final = 1 << 63
_NO_DETAIL: Final[Mapping[str, Any]] = MappingProxyType({})
_INTERNED: dict[str, LinkKind] = {kind.value: kind for kind in LinkKind}
_NOT_FOLDED: Final = frozenset({"day"})


# --- links ----------------------------------------------------------------------------------------------------


def recorded(link: Link) -> Link:
    """Return ``link`` as its row keeps it."""
    text = link.detail_json()
    return replace(
        link,
        layer_id=None if link.layer_id is None else column_text(link.layer_id),
        inode=_signed(link.inode),
        detail=_NO_DETAIL if text is None else json.loads(text),
        facts=_NO_DETAIL,
        owner=_recorded_owner(link.owner),
    )


def link_row(action: str, link: Link, previous: Link | None, stamp: Stamp) -> Row:
    """Return the ``links`` row that says ``action`` happened and ``link`` is what stands since (``previous`` stood before)."""
    return {
        **stamp.columns(),
        "link_kind": link.kind.value,
        "action": action,
        "subject": column_text(link.subject),
        "subject_raw": column_raw(link.subject),
        "target": None if link.target is None else column_text(link.target),
        "target_raw": None if link.target is None else column_raw(link.target),
        "previous_target": None if previous is None or previous.target is None else column_text(previous.target),
        "layer_id": None if link.layer_id is None else column_text(link.layer_id),
        "file_path": column_text(link.path),
        "file_path_raw": column_raw(link.path),
        "file_inode": _signed(link.inode),
        "file_nlink": link.nlink,
        "link_state": link.state.value,
        "detail": link.detail_json(),
        **_owner_columns(link.owner),
    }


def link_of(row: Row) -> Link:
    """Return the link that a ``links`` row speaks of, as it stands after it."""
    detail = row.get("detail")
    return Link(
        kind=_INTERNED[str(row["link_kind"])],
        subject=_name(row, "subject") or "",
        path=_name(row, "file_path") or "",
        target=_name(row, "target"),
        state=LinkState(str(row["link_state"])),
        layer_id=_text(row.get("layer_id")),
        inode=_integer(row.get("file_inode")),
        nlink=_integer(row.get("file_nlink")),
        detail=json.loads(str(detail)) if detail else _NO_DETAIL,
        owner=owner_of(row),
    )


def owner_of(row: Row) -> Attribution:
    """Return the attribution that a row carries."""
    values = {name: _text(row.get(name)) for name in _OWNER_COLUMNS}
    return Attribution(**values) if any(value is not None for value in values.values()) else NOBODY


def interval_of(row: Row) -> Interval:
    """Return when the change of a row happened."""
    return Interval(_integer(row.get("occurred_after")), _integer(row["occurred_before"]) or 0)


def rows_of(table: pa.Table) -> list[Row]:
    """Return the rows of a decoded batch; times become nanoseconds (of microsecond precision, as the batch keeps them)."""
    columns: dict[str, list[Any]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in _NOT_FOLDED:
            continue
        if column.type == TIME:
            columns[name] = [None if value is None else value * 1000 for value in column.cast(pa.int64()).to_pylist()]
        else:
            columns[name] = column.to_pylist()
    names = tuple(columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]


# --- coverage -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Statement:
    """What a ``coverage`` row says beyond its time: kind is start, heartbeat, stop or gap."""

    kind: str
    cause: str | None = None
    message: str | None = None
    gap_id: str | None = None
    watches: int | None = None
    mode: str | None = None


def coverage_row(statement: Statement, stamp: Stamp) -> Row:
    """Return ``statement`` as a ``coverage`` row; a heartbeat's interval is the time it vouches for, a gap's the time that is in doubt."""
    return {
        **stamp.columns(),
        "kind": statement.kind,
        "cause": statement.cause,
        "gap_id": statement.gap_id,
        "message": None if statement.message is None else column_text(statement.message),
        "watches": statement.watches,
        "mode": statement.mode,
    }


# --- findings and sizes ---------------------------------------------------------------------------------------


def finding_columns(finding_id: str, finding: Finding) -> Row:
    """Return the columns of a finding that do not depend on when it was seen."""
    return {
        "finding_id": finding_id,
        "code": finding.code,
        "family": finding.family,
        "severity": finding.severity,
        "subject_kind": finding.subject_kind,
        "subject": column_text(finding.subject),
        "file_path": None if finding.path is None else column_text(finding.path),
        "bytes": _fitting(finding.bytes),
        "related": _json([column_text(name) for name in finding.related]) if finding.related else None,
        "read_only": finding.read_only,
        "message": column_text(finding.message),
        "evidence": finding.evidence_json() if finding.evidence else None,
        "advice": column_text(finding.advice) if finding.advice else None,
        **_owner_columns(finding.owner),
    }


def finding_row(action: str, columns: Row, since: Interval | None, stamp: Stamp) -> Row:
    """Return the ``findings`` row that says the finding with ``columns`` was opened, changed or closed."""
    return {
        **columns,  # of a closed finding: its last row, times and all
        **stamp.columns(),
        "action": action,
        "since_after": since.after if since else None,
        "since_before": since.before if since else None,
    }


@dataclass(frozen=True, slots=True)
class Sample:
    """One size sample: scope is layer, store, filesystem or beside; all sizes in bytes, ``None`` where they do not apply."""

    scope: str
    subject: str
    role: str | None = None
    bytes: int | None = None
    apparent_bytes: int | None = None
    inodes: int | None = None
    shared_bytes: int | None = None
    recorded_bytes: int | None = None
    capacity_bytes: int | None = None
    available_bytes: int | None = None
    capacity_inodes: int | None = None
    available_inodes: int | None = None
    owner: Attribution = NOBODY


_SIZES: Final = tuple(field.name for field in fields(Sample) if field.name not in {"scope", "subject", "role", "owner"})


def usage_row(sample: Sample, stamp: Stamp) -> Row:
    """Return ``sample`` as a ``usage`` row."""
    return {
        **stamp.columns(),
        "scope": sample.scope,
        "subject": column_text(sample.subject),
        "role": sample.role,
        **{name: _fitting(getattr(sample, name)) for name in _SIZES},
        **_owner_columns(sample.owner),
    }


# --- stamps and small change ----------------------------------------------------------------------------------


def node_stamp(after: int | None, observed: Instant, boot_id: str, *, before: int | None = None) -> Stamp:
    """Return the stamp of a statement about the node itself; it holds until ``before`` (default: when it was observed)."""
    return Stamp(Interval(after, observed.wall if before is None else before), observed, boot_id, Origin.SURVEY)


def _recorded_owner(owner: Attribution) -> Attribution:
    if owner is NOBODY:
        return owner
    return Attribution(**{name: None if value is None else column_text(value) for name, value in _owner_items(owner)})


def _owner_columns(owner: Attribution) -> Row:
    return {name: None if value is None else column_text(value) for name, value in _owner_items(owner)}


def _owner_items(owner: Attribution) -> Sequence[tuple[str, str | None]]:
    return [(name, getattr(owner, name)) for name in _OWNER_COLUMNS]


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _signed(number: int | None) -> int | None:
    """Fold an unsigned 64-bit number (overlayfs and FUSE hand out inodes of that size) into int64."""
    return number if number is None or number < _INT64 else number - 2 * _INT64


def _fitting(number: int | None) -> int | None:
    return number if number is None else min(number, _INT64 - 1)


def _name(row: Row, column: str) -> str | None:
    raw = row.get(f"{column}_raw")
    return decode(raw) if isinstance(raw, bytes) else _text(row.get(column))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None
