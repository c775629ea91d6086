"""A program that is an S3 of its own on loopback (moto), with faults by request: prints its port, then serves until it is killed.

While the file named on its command line says ``refuse WORD``, puts of keys with WORD in them are refused (403); ``forget WORD``: they
are done, and answered with an error (500), once each key.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Start = Callable[..., Any]


class Faulty:
    """The store with its faults."""

    def __init__(self, faults: Path) -> None:
        self.answer: Callable[[dict[str, Any], Start], Iterable[bytes]] = DomainDispatcherApplication(create_backend_app)
        self.faults = faults
        self.forgotten: set[str] = set()

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Answer one request."""
        kind, _, word = self.faults.read_text(encoding="utf-8").strip().partition(" ")
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "PUT" or not kind or word not in path:
            return self.answer(environ, start)
        length = environ.get("CONTENT_LENGTH")
        body = environ["wsgi.input"].read(int(length) if length else -1)  # without a length it is chunked, which werkzeug ends by itself
        environ.update({"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)})
        if kind == "refuse":
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"]
        if path in self.forgotten:
            return self.answer(environ, start)
        self.forgotten.add(path)
        list(self.answer(environ, lambda *_more: None))
        start("500 Internal Server Error", [("Content-Type", "application/xml")])
        return [b"<Error><Code>InternalError</Code><Message>lost</Message></Error>"]


def main() -> None:
    """Serve."""
    server = make_server("127.0.0.1", 0, Faulty(Path(sys.argv[1])), threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
