"""Where the processor takes batches from: one small protocol, so that the spool and Kafka are two implementations of it.

An intake is one ordered, durable log with numbered positions (a spool; one partition of a topic). It decides nothing: which
position comes next is what the lake has stored, and what it acknowledged is advisory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """One sealed batch as taken from its source, not looked into yet.

    ``where`` names it for people. ``missing`` counts the positions just before it that held a batch once and are gone; a source whose
    numbering has holes by nature leaves it 0. ``cluster`` and ``node`` are whose it is as far as the source knows, for a batch that
    cannot say so itself. ``problem`` is set when its bytes cannot be read at all.
    """

    offset: int
    data: bytes
    where: str
    missing: int = 0
    cluster: str = ""
    node: str = ""
    problem: str = ""


class Intake(Protocol):
    """One source of batches. Not for several threads at once."""

    @property
    def source(self) -> str:
        """Name of the source, for ever the same for the same numbering: ``spool/<id>`` or ``kafka/<topic>/<partition>``."""

    def seek(self, offset: int) -> None:
        """Go on with the first record at or after ``offset``. Raises ``LinktrailError`` when the source cannot serve it."""

    def take(self, limit: int) -> list[Record]:
        """Return up to ``limit`` further records in order, at once; an empty list when there are none now.

        What it returns cannot vanish from the source in a power loss and its position will never hold anything else, because the caller
        commits positions elsewhere.
        """

    def acknowledge(self, next_offset: int) -> None:
        """State that every record below ``next_offset`` is durable in the lake; raises ``LinktrailError``. May be called again."""

    def set_aside(self, record: Record) -> str:
        """Keep the bytes of a record that cannot be used, durably and out of the way, and return where. Idempotent."""
