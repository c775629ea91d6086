"""A thread that hangs or dies is noticed from outside: each is stopped in turn in a running program."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.program import Options, collect
from collector.recorder import Recorder
from collector.ship.shipper import Shipper
from collector.watch.emitter import DrainEmitter
from linktrail.broker import Connection
from linktrail.durable import LocalFileSystem
from linktrail.state import State
from linktrail.telemetry.board import Board
from processor.pipeline import Processor
from processor.program import process
from processor.watching import Watching
from tests.operate.scrape import free_port, get, ready, until
from tests.recorder.child import FAST
from tests.recorder.playground import Playground


@contextmanager
def collecting(tmp_path: Path, kafka: Connection | None = None, stuck_seconds: float = 2.0) -> Iterator[str]:
    """A collector in a thread, which counts as stuck after ``stuck_seconds``."""
    store = Playground.filled(tmp_path / "store")
    address, stop = f"127.0.0.1:{free_port()}", threading.Event()
    options = Options(node="n1", settings=FAST, metrics=address, stuck_seconds=stuck_seconds, kafka=kafka)
    thread = threading.Thread(target=collect, args=([store.root], tmp_path / "state", options), kwargs={"stop": stop})
    thread.start()
    try:
        until(lambda: ready(address), what="ready")
        assert get(address, "/livez") == (200, "ok\n")
        yield address
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("kind", "method", "name"),
    [(Recorder, "step", "the recorder's loop"), (DrainEmitter, "queue_events", "the thread that drains the kernel's queue")],
)
def test_a_thread_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type, method: str, name: str) -> None:
    """It is named, and liveness comes back when it goes on."""
    go_on, usual = threading.Event(), getattr(kind, method)

    def hangs(self: object, timeout: float) -> None:
        go_on.wait()
        usual(self, timeout)

    with collecting(tmp_path) as address:
        monkeypatch.setattr(kind, method, hangs)
        until(lambda: get(address, "/livez")[0] == 503, what="stuck")
        said = get(address, "/livez")[1]
        go_on.set()
        until(lambda: get(address, "/livez") == (200, "ok\n"), what="alive again")
    assert said.startswith(f"{name} gave no sign of life for ")


def test_a_shipper_that_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect that ends its thread is told at once (and logged with its trace)."""
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    kafka = Connection.of(f"127.0.0.1:{free_port()}", [], {})
    with collecting(tmp_path, kafka, stuck_seconds=60) as address:
        monkeypatch.setattr(Shipper, "_ship", lambda _self, _stop: 1 // 0)
        until(lambda: get(address, "/livez") == (503, "the shipper has ended\n"), what="dead")
    assert [one.exc_type for one in told] == [ZeroDivisionError]


def test_a_processor_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loop is named."""
    store = Playground.filled(tmp_path / "store")
    state = State(tmp_path / "state")
    assert collect([store.root], state.path, Options(once=True)) == 0
    address, stop, go_on, usual = f"127.0.0.1:{free_port()}", threading.Event(), threading.Event(), Processor.run_once

    def hangs(self: Processor) -> object:
        go_on.wait()
        return usual(self)

    thread = threading.Thread(
        target=process,
        args=(state, state.lake),
        kwargs={"stop": stop, "watching": Watching(address, stuck_seconds=1.0), "filesystem": LocalFileSystem()},
    )
    thread.start()
    try:
        until(lambda: ready(address), what="ready")
        monkeypatch.setattr(Processor, "run_once", hangs)
        until(lambda: get(address, "/livez")[0] == 503, what="stuck")
        assert get(address, "/livez")[1].startswith("the processor's loop gave no sign of life")
    finally:
        go_on.set()
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def test_a_board_refuses_what_the_table_has_not() -> None:
    """A metric that nobody declared is a defect, not a new metric."""
    board = Board("collect")
    with pytest.raises(KeyError):
        board.put_up({"linktrail_secret": {(): 1.0}}, ())
    with pytest.raises(KeyError):
        board.put_up({"linktrail_findings": {("one",): 1.0}}, ())
