"""What the collector says of itself while it runs: one small file, ``status.json`` in the state directory, for the live view.

Written about once a second, and once in five while it would say the same again, by a rename, so a reader sees a whole one. It is no
part of the record (nothing relies on it, it is not fsynced); ``updated_at`` tells a reader whether the collector still lives. Format:
the fields of ``Status`` as one JSON object.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from linktrail.errors import StateUnusableError

STATUS_FILE: Final = "status.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """One store. ``links`` counts what the ledger holds; ``changes`` and ``events`` count since the start of the run.

    ``findings`` are the open ones by severity, ``read_at`` (ns UTC) is the last reading and ``reading_ms`` how long it took; ``vouched``
    (ns UTC) is the time before which nothing is missing; ``down`` says why the store cannot be read now.
    """

    root: str
    kind: str
    links: int = 0
    layers: int = 0
    images: int = 0
    containers: int = 0
    changes: int = 0
    events: int = 0
    gaps: int = 0
    findings: Mapping[str, int] = field(default_factory=dict)
    bytes: int | None = None
    read_at: int | None = None
    reading_ms: float | None = None
    vouched: int | None = None
    down: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The collector as a whole; times in ns UTC, sizes in bytes, ``events_per_second`` over the last second or so.

    ``state`` is recording, or stopped after a clean end. ``statement`` says how stores are watched and what that leaves uncovered,
    ``spool_full`` and ``trouble`` what does not work now. ``shipping`` is ``collector.ship.ShipperStatus``, where batches go to Kafka.
    """

    run: str
    pid: int
    version: str
    started_at: int
    updated_at: int
    state: str = "recording"
    mode: str = ""
    statement: str = ""
    watches: int = 0
    uncovered: int = 0
    events_per_second: float = 0.0
    rows_sealed: int = 0
    rows_waiting: int = 0
    spool_bytes: int = 0
    spool_limit: int = 0
    spool_next: int = 0
    spool_acknowledged: int = 0
    spool_full: str | None = None
    trouble: str | None = None
    stores: tuple[StoreStatus, ...] = ()
    shipping: Mapping[str, Any] | None = None

    @property
    def findings(self) -> int:
        """The number of open findings."""
        return sum(sum(store.findings.values()) for store in self.stores)

    @property
    def gaps(self) -> int:
        """The number of gaps stated in this run."""
        return sum(store.gaps for store in self.stores)


def write_status(state: Path, status: Status) -> None:
    """Put ``status`` into the state directory. Raises ``OSError``."""
    temporary = state / f".{STATUS_FILE}.tmp"
    temporary.write_text(json.dumps({"format": FORMAT, **asdict(status)}), encoding="ascii")
    os.replace(temporary, state / STATUS_FILE)  # noqa: PTH105 - beside write_text it reads better than a method of the source


def read_status(state: Path) -> Status | None:
    """Return what the collector last said in the state directory, ``None`` when none has run there. Raises ``StateUnusableError``."""
    path = state / STATUS_FILE
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        if document.pop("format") != FORMAT:
            raise StateUnusableError(path=path, what="it was written by another version of linktrail")
        stores = tuple(StoreStatus(**store) for store in document.pop("stores"))
        return Status(**document, stores=stores)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateUnusableError(path=path, what=error.strerror or error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateUnusableError(path=path, what="it is damaged; it is written anew every few seconds while the collector runs") from error
