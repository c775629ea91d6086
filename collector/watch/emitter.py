"""The way from the kernel's queue to ``take()``: watchdog's extension points, with nothing in them that can lose silently.

    kernel queue -> DrainEmitter (thread: only reads) -> watchdog's event queue -> DrainObserver (thread) -> Backlog -> take()

One event object a ``read()``, with its bracket of time. The bytes between the emitter and ``take`` are bounded (``Backlog.limit``): what
does not fit is dropped and stated as a ``Loss``, beginning with the first dropped byte and ending with the last. watchdog's queue
drops an event that equals the one before it, so equality here is identity. An exception in a thread ends it quietly and is kept as
``failure``; whoever owns the observer asks ``ailing`` and states that loss too.
"""

from __future__ import annotations

import os
import queue
import select
import threading
from collections import deque
from typing import Final, NamedTuple, Protocol

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver, EventEmitter, EventQueue, ObservedWatch

from collector.watch.interface import Cause, Loss
from collector.watch.pulse import Pulse
from collector.watch.watermark import LOOK_SECONDS, Looks, Watermark, bracket
from linktrail.clock import Clock, Instant

PAUSE_SECONDS: Final = 0.002
"""How long a busy queue is left alone between reads: waking for every event slows the writer down as well as us."""

READS: Final = 16
"""How many portions are read before the queue is measured anew."""


class Source(Protocol):
    """A kernel queue."""

    fd: int

    def pending(self) -> int:
        """Return how much is queued, in its own units."""

    def read(self, pending: int) -> bytes:
        """Return whole records, of about the ``pending`` units; nothing when the queue is empty."""

    def units(self, data: bytes) -> int:
        """Return how many units ``data`` is."""

    def stirs(self, data: bytes) -> bool:
        """Tell whether ``data`` tells of what others than this process did."""


class Mark(NamedTuple):
    """The ``passed`` first events that went to the backlog are all that was to be told of the time before ``until``."""

    passed: int
    until: Instant


class RawRead(FileSystemEvent):
    """What one read returned, undecoded. To a stock handler: the watched root was modified."""

    event_type = "modified"
    is_directory = True
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, path: str, data: bytes, after: Instant, before: Instant) -> None:
        """Keep the data and its bracket."""
        super().__init__(path)
        self.data = data
        self.after = after
        self.before = before


class Mishap(FileSystemEvent):
    """A loss that the draining thread found, in its place among the reads."""

    event_type = "modified"
    is_directory = True
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, path: str, loss: Loss) -> None:
        """Keep the loss."""
        super().__init__(path)
        self.loss = loss


class Backlog(FileSystemEventHandler):
    """What was read and not yet taken, bounded in bytes from the moment it is read; the handler that the dispatcher calls."""

    def __init__(self, limit: int) -> None:
        """Hold up to ``limit`` bytes."""
        self.limit = limit
        self.received = 0
        self.collected = 0
        self._held = 0
        self._full = False
        self._events: deque[RawRead | Mishap] = deque()
        self._changed = threading.Condition()

    def admit(self, size: int) -> bool:
        """Reserve ``size`` bytes. Once full it stays full until half is free: one loss then, not a hundred."""
        with self._changed:
            if self._held + size > self.limit or (self._full and self._held > self.limit // 2):
                self._full = True
                return False
            self._full = False
            self._held += size
            return True

    def dispatch(self, event: FileSystemEvent) -> None:
        """Take an event from watchdog's dispatcher."""
        if isinstance(event, RawRead | Mishap):
            with self._changed:
                self._events.append(event)
                self.received += 1
                self._changed.notify()

    def collect(self, timeout_seconds: float, limit: int) -> list[RawRead | Mishap]:
        """Wait for the first event, then return what is there, up to about ``limit`` bytes."""
        found: list[RawRead | Mishap] = []
        size = 0
        with self._changed:
            if not self._events and timeout_seconds > 0:
                self._changed.wait(timeout_seconds)
            while self._events and size < limit:
                event = self._events.popleft()
                found.append(event)
                size += len(event.data) if isinstance(event, RawRead) else 0
            self._held -= size
            self.collected += len(found)
        return found

    def wake(self) -> None:
        """End the wait of ``collect``."""
        with self._changed:
            self._changed.notify_all()


class DrainEmitter(EventEmitter):
    """Drains one kernel queue into watchdog's event queue, and does nothing else."""

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        timeout: float = LOOK_SECONDS,
        event_filter: list[type[FileSystemEvent]] | None = None,
        source: Source,
        watermark: Watermark,
        backlog: Backlog,
        clock: Clock,
    ) -> None:
        """Drain ``source``, whose state of reading is ``watermark``, reserving room in ``backlog``."""
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter)
        self.failure: BaseException | None = None
        self.sure = watermark.after
        self.beat: Instant = clock.now()  # the last sign of life
        self.mark = Mark(backlog.received, watermark.after)
        self._passed = backlog.received
        self._source = source
        self._backlog = backlog
        self._clock = clock
        self._pulse = Pulse(clock.now())
        self._watermark = watermark
        self._poll = select.poll()
        self._wake = -1
        self._looks = Looks(timeout)
        self._stirred = False  # by the last look: something was there that others did
        self._busy = False
        self._dropped: tuple[int, Instant, Instant] | None = None

    def on_thread_start(self) -> None:
        """Listen to the queue and to the call to stop."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._source.fd, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def on_thread_stop(self) -> None:
        """End the wait."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Drain until stopped; keep what ends it."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - whatever ends this thread is reported by its owner as a loss
            self.failure = error
            self._backlog.wake()

    def release(self) -> None:
        """Close what the thread waited on, once it has ended."""
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    def queue_events(self, timeout: float) -> None:
        """Wait for the queue, measure it, read what was measured, pass it on."""
        self._poll.poll(max(timeout, self._looks.seconds) * 1000)  # the caller gives what we were made with
        self.beat = now = self._clock.now()
        self.sure = self._watermark.after  # whatever happened before has been passed on
        if self._dropped is None:
            self.mark = Mark(self._passed, self.sure)
        for loss in self._pulse.beat(now):
            self.queue_event(Mishap(self.watch.path, loss))
        pending = self._source.pending()
        self._watermark.measured(now, pending)
        self._watermark.consume(0)  # nothing queued: what comes next comes after this
        found = self._read(pending)
        self._looks.looked(found=self._stirred)
        if found and self._busy and found >= pending:
            self._stopped_event.wait(PAUSE_SECONDS)
        self._busy = found > 0
        if not found and self._dropped is not None and self._backlog.admit(0):
            self.state_dropped()

    def _read(self, pending: int) -> int:
        """Read what was measured, in ``READS`` portions at most, and return how much it was.

        Asking again before each portion would cost a burst more waits for the interpreter than the reading itself.
        """
        found, self._stirred = 0, False
        for _ in range(READS):
            if found >= pending or not (data := self._source.read(pending - found)):
                break
            units = self._source.units(data)
            self._pass(data, *bracket(self._watermark.consume(units), self._clock.now()))
            found += units
            self._stirred = self._stirred or self._source.stirs(data)
        return found

    def queue_event(self, event: FileSystemEvent) -> None:
        """Pass an event on; each is one of its own, so watchdog's queue joins none."""
        super().queue_event(event)
        self._passed += 1

    def _pass(self, data: bytes, after: Instant, before: Instant) -> None:
        if self._backlog.admit(len(data)):
            self.state_dropped()
            self.queue_event(RawRead(self.watch.path, data, after, before))
            return
        size, first, _ = self._dropped or (0, after, before)
        self._dropped = (size + len(data), first, before)

    def state_dropped(self) -> None:
        """State the loss of what had no room, if there was any."""
        if self._dropped is None:
            return
        size, after, before = self._dropped
        self._dropped = None
        message = f"events came faster than they were taken: {size} bytes of them were dropped beyond the limit of {self._backlog.limit}"
        self.queue_event(Mishap(self.watch.path, Loss(Cause.OVERFLOW, message, *bracket(after, before))))


class DrainObserver(BaseObserver):
    """watchdog's observer with one ``DrainEmitter`` on one queue, and its threads' ends accounted for."""

    def __init__(self, name: str, *, source: Source, watermark: Watermark, backlog: Backlog, clock: Clock) -> None:
        """Prepare to drain ``source`` into ``backlog``; ``name`` is the path that a stock handler is told."""
        super().__init__(DrainEmitter, timeout=LOOK_SECONDS, source=source, watermark=watermark, backlog=backlog, clock=clock)
        self.failure: BaseException | None = None
        self._backlog = backlog
        watch = self.schedule(backlog, name)
        self._drain = next(emitter for emitter in self.emitters if isinstance(emitter, DrainEmitter) and emitter.watch == watch)

    @property
    def sure(self) -> Instant:
        """Until when every change is known to have been read and passed on."""
        return self._drain.sure

    @property
    def mark(self) -> Mark:
        """How much of what was passed on tells all of which time."""
        return self._drain.mark

    @property
    def beat(self) -> Instant:
        """The last sign of life of the draining thread."""
        return self._drain.beat

    def run(self) -> None:
        """Dispatch until stopped; keep what ends it."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - whatever ends this thread is reported by its owner as a loss
            self.failure = error
            self._backlog.wake()

    def ailing(self) -> str | None:
        """Return what is wrong with the threads, or ``None`` while both run."""
        for thread, name in ((self._drain, "draining"), (self, "dispatching")):
            if not thread.is_alive() or thread.failure is not None:
                why = f": {thread.failure!r}" if thread.failure is not None else ""
                return f"the {name} thread ended{why}"
        return None

    def finish(self) -> None:
        """Stop both threads, wait for them, and hand over what was still between them."""
        drain = self._drain
        drain.stop()
        if drain.ident is not None:
            drain.join()
        if self.is_alive():
            self.stop()
            self.join()
        drain.release()
        drain.state_dropped()
        while True:
            try:
                entry = self.event_queue.get_nowait()
            except queue.Empty:
                return
            if entry is not self.stop_event:
                self._backlog.dispatch(entry[0])
