"""What is wrong in one store and how large its parts are, as rows: diagnosis after readings, and samples in between.

Diagnosis runs after a reading, but in a store that never gets quiet only every ``diagnose_interval``. Grace periods end without any change,
so diagnosis says when the next one does (``due_at``), and the recorder reads the store again then. What findings hold is measured first,
and the findings told again with their bytes; a size that something growing had a while ago is not what a new finding holds now.

A fault in diagnosis (a store that its rules cannot take) must not end the recording: it is caught in ``_diagnose``, logged, shown as
trouble, and stands in the record as gaps with the cause ``diagnosis-failed`` until a diagnosis succeeds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Final

from collector.brackets import Reading, between, since_wall
from collector.diagnose import examine
from collector.findings import Diagnosis
from collector.findings_log import FindingEvent, FindingsLog
from collector.links import Survey
from collector.measuring import Measurer
from collector.outbox import Outbox
from collector.rows import Sample, finding_row, usage_row
from collector.samples import Measured, Sampler, filesystems
from collector.settings import Settings
from collector.source import Source
from collector.statements import Statements
from collector.store_memory import StoreMemory
from linktrail.clock import NANOSECONDS, Clock, Instant
from linktrail.events import Interval, Origin, Stamp

_GRACE_SPACING_NS: Final = 5 * NANOSECONDS
_FRESH_NS: Final = 10 * NANOSECONDS
_log = logging.getLogger(__name__)


class StoreFindings:
    """Findings and samples of one store; what is open and what was measured stands in the ledger's ``memory``."""

    def __init__(
        self,
        source: Source,
        memory: StoreMemory,
        *,
        clock: Clock,
        outbox: Outbox,
        settings: Settings,
        statements: Statements,
        measurer: Measurer | None = None,
    ) -> None:
        """Diagnose and measure ``source``; what cannot be diagnosed is stated through ``statements``. ``measurer``: see ``Sampler``."""
        self.trouble: str | None = None  # why the store cannot be diagnosed now
        self._source = source
        self._statements = statements
        self._memory = memory
        self._clock = clock
        self._outbox = outbox
        self._settings = settings
        self._log = FindingsLog(source.name)
        self._sampler = Sampler(
            source.root,
            memory.sizes,
            interval=settings.sample_interval,
            entries_per_second=settings.entries_per_second,
            measurer=measurer,
        )
        self._additional: tuple[Survey, ...] = ()
        self._additional_at: int | None = None
        self._survey: Survey | None = None
        self._reading: Reading | None = None
        self._looked: Instant | None = None  # when the last diagnosis was made
        self._postponed = False
        self._grace_due: int | None = None  # ns UTC
        self._wanted: list[str] = []  # paths whose bytes a finding asks for
        self._resize = False  # some of them were measured since the last diagnosis
        self._filesystems_at = 0

    def take_over(self) -> None:
        """Heed settings that changed while recording."""
        self._sampler.interval = round(self._settings.sample_interval * NANOSECONDS)

    # --- findings -------------------------------------------------------------------------------------------------

    @property
    def second_look(self) -> int | None:
        """When another reading can confirm what is held back (monotonic ns), ``None`` when nothing is."""
        return self._log.second_look

    def due_at(self) -> int | None:
        """Return when a new reading is needed for a diagnosis (monotonic ns), ``None`` when nothing waits for one."""
        looked = self._looked
        if looked is None:
            return None
        times = [self._log.second_look]
        if self._postponed:
            times.append(looked.monotonic + round(self._settings.diagnose_interval * NANOSECONDS))
        if self._grace_due is not None:
            times.append(max(looked.monotonic + self._grace_due - looked.wall, looked.monotonic + _GRACE_SPACING_NS))
        return min((time for time in times if time is not None), default=None)

    def look(self, survey: Survey, reading: Reading, *, moving: bool) -> None:
        """Diagnose ``survey``, unless that was done a moment ago in a store that changes all the time. Raises ``SpoolError``."""
        self._survey, self._reading = survey, reading
        since = None if self._looked is None else reading.finished.monotonic - self._looked.monotonic
        second = self._log.second_look
        asked = second is not None and second <= reading.started.monotonic
        if since is not None and moving and not asked and since < self._settings.diagnose_interval * NANOSECONDS:
            self._postponed = True
            return
        self._sampler.update(survey)
        if self._additional_at is None or reading.finished.monotonic - self._additional_at >= self._settings.survey_interval * NANOSECONDS:
            self._additional = self._source.survey_additional(self._clock)
            self._additional_at = reading.finished.monotonic
        self._diagnose(survey, reading, moving=moving)

    def _diagnose(self, survey: Survey, reading: Reading, *, moving: bool) -> None:
        now = self._clock.now()
        interval = since_wall(None, now) if self._looked is None else between(self._looked, now)
        try:
            diagnosis, events = self._examine(survey, reading, now, moving=moving)
        except Exception as error:  # whatever diagnosis trips over, the record of links goes on  # noqa: BLE001
            self._failed(error, interval, now)
            return
        if self.trouble is not None:
            self._statements.gap("diagnosis-failed", self.trouble, interval, now)
            self.trouble = None
        stamp = self._stamp(interval, now)
        rows = [finding_row(event.action, event.columns, event.since, stamp) for event in events]
        for row in rows[: self._outbox.accept("findings", rows)]:
            self._memory.put_finding(row)
        self._grace_due = diagnosis.due
        self._done(now)
        held = (path for finding in diagnosis.findings if finding.bytes is None for path in finding.held)
        self._wanted = [path for path in held if self._sampler.unknown(path)]

    def _examine(self, survey: Survey, reading: Reading, now: Instant, *, moving: bool) -> tuple[Diagnosis, list[FindingEvent]]:
        confirmed = self._log.confirmed(self._memory.findings, reading.started)

        def examined() -> Diagnosis:
            return examine(
                survey,
                now=now.wall,
                additional=self._additional,
                sizes=self._sampler.by_path(),
                min_age=self._settings.min_age,
                past=self._memory,
                confirmed=confirmed,
            )

        diagnosis = examined()
        fresh = self._log.unknown(self._memory.findings, diagnosis)
        if self._sampler.doubt((path for finding in fresh for path in finding.held), now.monotonic - _FRESH_NS):
            diagnosis = examined()
        return diagnosis, self._log.events(
            self._memory.findings, diagnosis, survey, confirmed=confirmed, moving=moving, looked=reading.finished
        )

    def _failed(self, error: Exception, interval: Interval, now: Instant) -> None:
        """State that the findings of this time may be wrong, and try again with a later reading."""
        self.trouble = f"diagnosis failed, so findings are missing or out of date: {type(error).__name__}: {error}"
        _log.error("%s: %s", self._source.name, self.trouble, exc_info=error)
        self._statements.gap("diagnosis-failed", self.trouble, interval, now)
        self._grace_due = None
        self._wanted = []
        self._done(now)

    def _done(self, now: Instant) -> None:
        self._looked, self._postponed, self._resize = now, False, False

    # --- sizes ----------------------------------------------------------------------------------------------------

    def sample_due_at(self) -> int | None:
        """Return when the next measurement is due (monotonic ns), ``None`` before the first reading."""
        if self._survey is None:
            return None
        due = self._sampler.due_at(self._wanted)
        return self._filesystems_at if due is None else min(due, self._filesystems_at)

    @property
    def total_bytes(self) -> int | None:
        """Allocated bytes of the store's layers, ``None`` until all were measured."""
        return self._sampler.total()

    def sample(self) -> None:
        """Measure one tree if one is due, and ask the filesystems if it is time. Raises ``SpoolError``."""
        now = self._clock.now()
        if self._survey is None or self._reading is None or self._outbox.room == 0:
            return
        if now.monotonic >= self._filesystems_at:
            self._filesystems_at = now.monotonic + round(self._settings.filesystem_interval * NANOSECONDS)
            samples = [*self._totals(self._survey), *self._sampler.look_beside(self._survey)]
            self._tell(samples, between(now, self._clock.now()))
        done = self._sampler.measure_one(self._clock, self._wanted)
        if done is None:
            return
        target, size, measured = done
        if measured is not None:
            self._tell([measured.sample], _span(measured))
        if target.role:
            self._memory.sizes[target.subject] = size
        self._resize = self._resize or target.path in self._wanted
        self._wanted = [path for path in self._wanted if self._sampler.unknown(path)]
        if self._resize and not self._wanted:
            self._diagnose(self._survey, self._reading, moving=self._log.second_look is not None)

    def _totals(self, survey: Survey) -> list[Sample]:
        found = filesystems(survey)
        total = self._sampler.total()
        if total is not None:
            found.append(Sample("store", os.fspath(self._source.root), bytes=total))
        return found

    def _tell(self, samples: Iterable[Sample], interval: Interval) -> None:
        stamp = self._stamp(interval, self._clock.now())
        self._outbox.accept("usage", [usage_row(sample, stamp) for sample in samples])

    def _stamp(self, interval: Interval, observed: Instant) -> Stamp:
        return Stamp(interval, observed, self._clock.boot_id, Origin.SURVEY, self._source.kind, self._source.name)


def _span(measured: Measured) -> Interval:
    return between(measured.started, measured.finished)
