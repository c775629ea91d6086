"""A TCP proxy on loopback that misbehaves on command, in front of a broker that advertises the proxy's address.

``mode`` may be set at any time and holds for every connection, old and new:

* ``pass``: bytes go through
* ``delay``: every chunk waits ``delay_seconds``
* ``blackhole``: connections are accepted and stay open, nothing goes through in either direction
* ``answers lost``: requests reach the broker, its answers do not come back (what is acknowledged there is not known here)
* ``half-close``: after the next chunk from the broker, the broker's side is closed towards the client, which may go on writing
* ``reset``: connections are reset when the next chunk comes
* ``refuse``: as reset, and new connections are reset at once
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 1 << 16
_LOOK_SECONDS: Final = 0.05


class Proxy:
    """Listens on ``port`` of loopback and leads to ``target``; for a ``with`` statement."""

    def __init__(self, port: int, target: int) -> None:
        """Begin to listen at once."""
        self.mode = "pass"
        self.delay_seconds = 0.2
        self.connections = 0
        self._target = target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._listener.settimeout(_LOOK_SECONDS)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        for one in list(self._open):
            self._drop(one)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def cut(self) -> None:
        """Reset every connection there is now."""
        for one in list(self._open):
            self._drop(one, reset=True)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            with self._lock:
                self._open.add(client)
            if self.mode == "refuse":
                self._drop(client, reset=True)
                continue
            try:
                broker = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:  # the broker is down: the client sees a connection that ends
                self._drop(client, reset=True)
                continue
            with self._lock:
                self._open.add(broker)
            for source, sink, back in ((client, broker, False), (broker, client, True)):
                thread = threading.Thread(target=self._pump, args=(source, sink, back), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, back: bool) -> None:
        try:
            source.settimeout(_LOOK_SECONDS)
            while not self._stopping.is_set():
                if self.mode == "blackhole":
                    time.sleep(_LOOK_SECONDS)
                    continue
                try:
                    data = source.recv(_CHUNK)
                except TimeoutError:
                    continue
                if not data:
                    break
                if not self._pass_on(data, sink, back):
                    return
        except OSError:
            pass  # one side is gone: so is the other
        finally:
            self._drop(source)
            self._drop(sink)

    def _pass_on(self, data: bytes, sink: socket.socket, back: bool) -> bool:
        """Treat a chunk as the mode says; tell whether the connection goes on."""
        if self.mode == "delay":
            time.sleep(self.delay_seconds)
        while self.mode == "blackhole" and not self._stopping.is_set():
            time.sleep(_LOOK_SECONDS)
        if self.mode == "answers lost" and back:
            return True
        if self.mode in ("reset", "refuse"):
            self._drop(sink, reset=True)
            return False
        if self.mode == "half-close" and back:
            sink.sendall(data[: len(data) // 2])
            sink.shutdown(socket.SHUT_WR)
            time.sleep(_LOOK_SECONDS)
            return False
        sink.sendall(data)
        return True

    def _drop(self, one: socket.socket, *, reset: bool = False) -> None:
        with self._lock:
            self._open.discard(one)
        with contextlib.suppress(OSError):
            if reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
