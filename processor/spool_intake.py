"""A spool directory as an intake, and as a feed of this one intake (the embedded mode: no broker between collector and processor).

Promises. Every offset from the one sought is returned once and in order, or counted in ``Record.missing`` of the next one. The
directory is fsynced before records are handed out (``SpoolReader.make_names_durable`` says why). A batch in ``quarantine/`` keeps
its place in the order: a processor that was killed between setting it aside and the commit that says so meets it again.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from collector.spool_directory import QUARANTINE, failed
from collector.spool_reader import SpoolReader
from linktrail.durable import FileSystem
from linktrail.errors import NewerSchemaError, SpoolError, SpoolRewoundError
from processor.intake import Intake, Record

_BYTES_AT_ONCE: Final = 32 << 20


class SpoolIntake:
    """The records of one spool."""

    def __init__(self, path: Path, *, filesystem: FileSystem) -> None:
        """Read the spool at ``path``; raises ``SpoolError`` when no collector has written there yet."""
        self._reader = SpoolReader(path, filesystem=filesystem)
        self._identity = self._reader.identity()
        self._next = 0
        self._waiting: deque[int] = deque()
        self.giving_up: Callable[[], None] | None = None  # never called: a spool has one processor

    # --- as a feed ------------------------------------------------------------------------------------------------

    generation: Final = 0

    @property
    def intakes(self) -> tuple[SpoolIntake]:
        """This one."""
        return (self,)

    @property
    def guard(self) -> AbstractContextManager[None]:
        """Nothing to guard against."""
        return nullcontext()

    def wait(self) -> None:
        """Return at once: ``take`` looks by itself."""

    def confirm(self) -> bool:
        """A spool is never given away."""
        return True

    def may_commit(self) -> bool:
        """A spool is never given away."""
        return True

    def hold(self, intake: Intake, error: NewerSchemaError) -> bool:  # noqa: ARG002 - there is nothing else to go on with
        """Everything stands behind that record: the processor has to stop."""
        return False

    def find_end(self) -> None:
        """Nothing to do: ``at_end`` looks."""

    def at_end(self) -> bool:
        """List the directory again."""
        return not self._waiting and not self._wanted()

    def lag(self) -> int:
        """Return how many batches wait that were not taken. Raises ``SpoolError``."""
        return len(self._wanted())

    # --- as an intake ---------------------------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """``spool/<id of the spool>``."""
        return f"spool/{self._identity.id}"

    def seek(self, offset: int) -> None:
        """Go on at ``offset``. Raises ``SpoolRewoundError`` when the spool ends before it: it is older than the lake."""
        end = max([*self._present(), self._reader.acknowledged() - 1], default=-1) + 1
        if offset > end:
            raise SpoolRewoundError(path=self._reader.path, what=f"it ends at {end}, the lake already has it up to {offset}")
        self._next = offset
        self._waiting.clear()

    def take(self, limit: int) -> list[Record]:
        """Return up to ``limit`` further batches (or 32 MiB of them)."""
        if not self._waiting:
            self._look()
        records: list[Record] = []
        size = 0
        while self._waiting and len(records) < limit and size < _BYTES_AT_ONCE:
            record = self._record(self._waiting.popleft())
            if record is not None:
                self._next = record.offset + 1
                size += len(record.data)
                records.append(record)
        return records

    def _look(self) -> None:
        """List what is there now."""
        found = self._wanted()
        if found and found[-1] - self._next + 1 != len(found):
            # A directory that grows while it is listed may show a later file without an earlier one; listed again, both are there.
            found = self._wanted()
        if not found:
            return
        if self._reader.identity().id != self._identity.id:
            raise SpoolError(path=self._reader.path, what="it was replaced by another spool while it was being read")
        self._reader.make_names_durable()
        self._waiting.extend(found)

    def _wanted(self) -> list[int]:
        return sorted(offset for offset in self._present() if offset >= self._next)

    def _present(self) -> set[int]:
        """Offsets here or set aside, listed in the order in which a batch moves, so that none is missed on its way."""
        return {*self._reader.offsets(), *self._reader.quarantined()}

    def _record(self, offset: int) -> Record | None:
        """Return the batch at ``offset``; ``None`` when it was trimmed since it was listed (the next one then counts it as missing)."""
        problem = ""
        data: bytes | None = b""
        try:
            data = self._reader.read(offset)
            if data is None:
                data = self._reader.read_quarantined(offset)
        except SpoolError as error:
            if not (isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EIO):
                raise  # a want of memory or descriptors passes; a bad block does not
            problem = error.message
        if data is None:
            return None
        where = f"{self.source} offset {offset}"
        missing = offset - self._next
        return Record(offset, data, where, missing, self._identity.cluster, self._identity.node, problem)

    def acknowledge(self, next_offset: int) -> None:
        """Write the spool's ``acknowledged`` file. Raises ``SpoolError``, ``SpoolFullError``."""
        try:
            self._reader.acknowledge(self._identity.id, next_offset)
        except OSError as error:
            raise failed(self._reader.path, "what was processed cannot be acknowledged", error) from error

    def set_aside(self, record: Record, why: str) -> str:  # noqa: ARG002 - the gap that follows says why
        """Move the batch to ``quarantine/``; a rename, so it works on a full disk and keeps bytes that cannot be read."""
        try:
            return str(self._reader.quarantine(record.offset))
        except OSError as error:
            raise failed(self._reader.path / QUARANTINE, f"batch {record.offset} cannot be set aside", error) from error
