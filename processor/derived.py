"""Tables that the lake derives from the recorded ones: ``usage_daily``, a line a day for everything that was measured.

A derived table can be made again from the record for as long as retention keeps it, and outlives it: sizes by day stay known for years.
"""

from __future__ import annotations

from typing import Final

from linktrail.schema import ATTRIBUTION, COMMON, DATE, INTEGER, TABLES, TEXT, Column, Table

_OF_ROW: Final = frozenset({"run", "seq", "occurred_after", "occurred_before", "observed_at", "monotonic_ns", "boot_id", "origin"})

USAGE_DAILY: Final = Table(
    "usage_daily",
    "the sizes of a layer, a store or a filesystem on one day",
    (
        Column("day", DATE, "UTC day of the samples", nullable=False),
        *(column for column in COMMON if column.name not in _OF_ROW | {"day"}),
        Column("scope", TEXT, "layer, store or filesystem", nullable=False),
        Column("subject", TEXT, "layer id, store root, or mount point", nullable=False),
        Column("role", TEXT, "what a layer served as in the last sample"),
        Column("samples", INTEGER, "number of samples", nullable=False),
        Column("first_bytes", INTEGER, "allocated bytes in the first sample that has them"),
        Column("last_bytes", INTEGER, "allocated bytes in the last sample that has them"),
        Column("least_bytes", INTEGER, "least allocated bytes"),
        Column("most_bytes", INTEGER, "most allocated bytes"),
        Column("last_inodes", INTEGER, "inodes in the last sample that has them"),
        Column("recorded_bytes", INTEGER, "size that the engine's own record stated last"),
        Column("capacity_bytes", INTEGER, "size of the filesystem"),
        Column("least_available_bytes", INTEGER, "least bytes of it that were free"),
        *ATTRIBUTION,
    ),
)
DERIVED: Final = {USAGE_DAILY.name: USAGE_DAILY}


def definition_of(name: str) -> Table:
    """Return the definition of a recorded or derived table."""
    return DERIVED[name] if name in DERIVED else TABLES[name]
