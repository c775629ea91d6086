"""``linktrail serve``: the history as web pages."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Annotated

import typer

from linktrail.errors import UsageError
from queries.verbs.options import Lake, lake_path


def serve(
    *,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", envvar="LINKTRAIL_SERVE_HOST", help="Address to listen on; any but loopback needs a token."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65_535, envvar="LINKTRAIL_SERVE_LISTEN", help="Port to listen on (0: any that is free)."),
    ] = 8377,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", envvar="LINKTRAIL_SERVE_TOKEN_FILE", help="File with the token to ask for."),
    ] = None,
    lake: Lake = None,
) -> int:
    """Show the history as web pages: search, findings, timelines, growth, the layer graph, and SQL in the sandbox.

    Listens on loopback only, unless a token file is given. Behind a proxy that ends TLS, the cookie is for that host alone.

    Examples: linktrail serve
              linktrail serve --host 0.0.0.0 --token-file /etc/linktrail/serve-token
    """
    from linktrail.clock import SystemClock  # noqa: PLC0415 - --help must not wait for it
    from linktrail.secret_file import read_secret  # noqa: PLC0415 - likewise
    from queries.serve.app import make_app  # noqa: PLC0415 - likewise
    from queries.serve.run import run_server  # noqa: PLC0415 - likewise
    from queries.snapshot import read_lake  # noqa: PLC0415 - likewise

    if not _is_loopback(host) and token_file is None:
        raise UsageError(
            what=f"--host {host} is not loopback: anybody there could read the history; give --token-file, or stay on 127.0.0.1"
        )
    token = "" if token_file is None else read_secret(token_file)
    path = lake_path(lake)
    read_lake(path)  # that there is none is said at once
    return run_server(make_app(path, clock=SystemClock(), token=token), host, port, sys.stderr)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
