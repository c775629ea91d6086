"""Where the processor takes batches from: small protocols, so that the spool and Kafka are two implementations of them.

An intake is one ordered, durable log with numbered positions (a spool; one partition of a topic). It decides nothing: which
position comes next is what the lake has stored, and what it acknowledged is advisory. A feed is the set of intakes that one processor
has now: always the same one for a spool, partitions that come and go for a consumer group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from linktrail.errors import NewerSchemaError


@dataclass(frozen=True, slots=True)
class Record:
    """One sealed batch as taken from its source, not looked into yet.

    ``where`` names it for people. ``missing`` counts the positions just before it that held a batch once and are gone; a source whose
    numbering has holes by nature leaves it 0. ``cluster`` and ``node`` are whose it is as far as the source knows, for a batch that
    cannot say so itself; ``owned``: the source is that node's alone, so a batch of another has no business there. ``foreign`` says why it
    is another's where the source can tell. ``problem`` is set when its bytes cannot be read at all.
    """

    offset: int
    data: bytes
    where: str
    missing: int = 0
    cluster: str = ""
    node: str = ""
    problem: str = ""
    owned: bool = False
    foreign: str = ""


class Intake(Protocol):
    """One source of batches. Not for several threads at once."""

    @property
    def source(self) -> str:
        """Name of the source, for ever the same for the same numbering: ``spool/<id>`` or ``kafka/<topic>/<partition>/<topic id>``."""

    def seek(self, offset: int) -> None:
        """Go on with the first record at or after ``offset``. Raises ``LinktrailError`` when the source cannot serve it."""

    def take(self, limit: int) -> list[Record]:
        """Return up to ``limit`` further records in order, at once; an empty list when there are none now.

        What it returns cannot vanish from the source in a power loss and its position will never hold anything else, because the caller
        commits positions elsewhere.
        """

    def acknowledge(self, next_offset: int) -> None:
        """State that every record below ``next_offset`` is durable in the lake; raises ``LinktrailError``. May be called again."""

    def set_aside(self, record: Record, why: str) -> str:
        """Keep the bytes of a record that cannot be used, and ``why``, durably and out of the way, and return where. Idempotent."""


class Feed(Protocol):
    """The intakes of one processor. They change only in ``wait`` and where ``giving_up`` is called, and then ``generation`` does too.

    ``giving_up`` is called, perhaps in another thread, while the feed still has its intakes and is about to lose them: the last
    moment to commit what waits. ``guard`` keeps that from happening in the middle of a round.
    """

    giving_up: Callable[[], None] | None

    @property
    def generation(self) -> int:
        """A number that changes with the set of intakes."""

    @property
    def intakes(self) -> Sequence[Intake]:
        """The intakes there are now."""

    @property
    def guard(self) -> AbstractContextManager[object]:
        """Held by the processor during a round, but not in ``wait``."""

    def wait(self) -> None:
        """Get records, waiting for a moment if there are none; raises ``LinktrailError``. Not under the guard."""

    def confirm(self) -> bool:
        """Tell whether these intakes are still this feed's, after they were sought; false: do not go on, but ``wait``."""

    def may_commit(self) -> bool:
        """Tell, cheaply, whether what was taken may still be committed; false after this process was stopped for too long."""

    def hold(self, intake: Intake, error: NewerSchemaError) -> bool:
        """Take no more from ``intake``, whose next record cannot be read yet, and tell whether the others can go on meanwhile."""

    def find_end(self) -> None:
        """Note where the records end now, for ``at_end``; raises ``LinktrailError``."""

    def at_end(self) -> bool:
        """Tell whether every record has been taken that there was at the last ``find_end``, or when the intakes were last sought."""
