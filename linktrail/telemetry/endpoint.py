"""The endpoint: ``/metrics``, ``/readyz`` and ``/livez`` over HTTP, for as long as the program runs.

It only reads the board. GET and HEAD of these three paths, nothing else; a client that is slow is dropped after ten seconds.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from linktrail import __version__
from linktrail.errors import ListenError
from linktrail.schema import SCHEMA_VERSION
from linktrail.telemetry.board import Board, Samples
from linktrail.telemetry.table import METRICS
from linktrail.text import printable

_CLIENT_SECONDS: Final = 10.0


class _Families(Collector):
    """The board as Prometheus' families."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of this program that has values, in the order of the table."""
        reading, stuck = self._board.reading, self._board.stuck()
        own: Samples = {
            "linktrail_build_info": {(__version__, str(SCHEMA_VERSION)): 1.0},
            "linktrail_ready": {(): float(not reading.unready)},
            "linktrail_live": {(): float(not stuck)},
        }
        samples: Samples = {**reading.samples, **own}
        for metric in METRICS:
            if self._board.program not in metric.programs:
                continue
            kind: Any = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.meaning, labels=metric.labels)
            for labels, value in sorted(samples.get(metric.name, {}).items()):
                family.add_metric(labels, value)
            yield family


def _handler(board: Board, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout: ClassVar[float] = _CLIENT_SECONDS
        server_version = "linktrail"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif path in {"/readyz", "/livez"}:
                wrong = board.reading.unready if path == "/readyz" else board.stuck()
                words = "\n".join(printable(one) for one in wrong) or "ok"
                status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
                self._answer(status, f"{words}\n".encode(), "text/plain; charset=utf-8")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"/metrics, /readyz, /livez\n", "text/plain; charset=utf-8")

        def do_HEAD(self) -> None:
            self.do_GET()

        def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            """A scrape is no event."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no event."""


@contextlib.contextmanager
def serving(address: str, board: Board) -> Iterator[str]:
    """Serve ``board`` at ``address`` (``ADDRESS:PORT``; port 0: one that is free) meanwhile; give the address. Raises ``ListenError``."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    registry = CollectorRegistry()
    registry.register(_Families(board))
    ProcessCollector(registry=registry)

    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        server = Server((host, int(port)), _handler(board, registry))
    except (OSError, ValueError, OverflowError) as error:
        raise ListenError(address=address, what=error) from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
