"""Files that nothing refers to are removed, after a grace: those that upkeep replaced, and those of writers that were killed.

A replaced file counts from its replacement, any other from when it was written, so that neither a reader with an older list of files nor a
writer between its file and its commit loses anything within the grace. A writer that was suspended for longer than ``LONGEST_WRITE``
gives its files up by itself (``processor.lake_table``). No transaction is needed: what is removed can never be referred to again.
"""

from __future__ import annotations

from typing import Final

from processor.lake_table import LakeTable

GRACE_HOURS: Final = 24
MOST_GRACE_HOURS: Final = 48  # the log forgets after 2 days when a file was replaced


def vacuum(table: LakeTable, grace_hours: int = GRACE_HOURS) -> int:
    """Remove garbage older than ``grace_hours``; return how many files. Raises ``LakeError``."""
    table.resume()  # what is garbage by a commit that is not durable yet would be missed after a power loss
    files = table.garbage(grace_hours)
    table.remove_garbage(files)
    return len(files)
