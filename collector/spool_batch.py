"""What the spool says of a batch and of its run, and a batch that is compressed in a thread while its collector makes further rows.

Compressing is a third of what a batch costs, and the one part that needs no interpreter. The thread is given bytes and gives bytes back;
everything that the spool promises stays with its one writer.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import pyarrow as pa

from linktrail import batch

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sealed:
    """One batch that is now durable: where it is, its digest, and which rows it holds. ``sealed_at`` is ns UTC."""

    offset: int
    digest: str
    table: str
    run: str
    batch: int
    rows: int
    first_seq: int
    last_seq: int
    size_bytes: int
    sealed_at: int


class Unwritten:
    """A batch of ``table`` on its way into the spool: its ``rows``, and what becomes of them."""

    def __init__(self, table: str, rows: pa.Table, stream: pa.Buffer, sealed_at: int) -> None:
        """``stream`` is what ``linktrail.batch.stream_of`` made of the rows."""
        self.table = table
        self.rows = rows
        self.count: int = rows.num_rows
        self.sealed_at = sealed_at
        self._stream = stream
        self._thread: threading.Thread | None = None
        self._data: bytes | None = None
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Compress in a thread."""
        self._thread = threading.Thread(target=self._compress_beside, name="compressing", daemon=True)
        self._thread.start()

    def _compress_beside(self) -> None:
        try:
            self._data = batch.compress(self._stream)
        except BaseException as error:  # noqa: BLE001 - raised where the bytes are asked for
            self._error = error

    def data(self) -> bytes:
        """Return the sealed bytes, once there are any. Raises what compressing raised, once: asked again, it is tried again."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        if self._data is None:
            self._data = batch.compress(self._stream)
        return self._data


def rows_that_fit(rows: pa.Table) -> int:
    """Return how many rows from the start make one batch: by number and, as far as rows are alike, by size."""
    count = min(batch.MAX_ROWS, rows.num_rows)
    while count > 1 and rows.slice(0, count).nbytes > batch.MAX_BYTES:
        count = -(-count // 2)
    return int(count)


def run_name(now: int, after: str | None) -> str:
    """Return the name of a run that begins ``now`` (ns UTC): ``20261124T000000.000000Z-1a2b3c4d``; it sorts behind ``after``."""
    started = _EPOCH + timedelta(microseconds=now // 1000)
    earlier = _start_of(after)
    if earlier is not None and started <= earlier:
        started = earlier + timedelta(microseconds=1)
    return f"{started:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:8]}"


def _start_of(run: str | None) -> datetime | None:
    """Return when a run began, as its name says; names of older versions have no fraction."""
    text = "" if run is None else run.partition("-")[0]
    for form in ("%Y%m%dT%H%M%S.%fZ", "%Y%m%dT%H%M%SZ"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:  # the other form, or none of ours
            continue
    return None
