"""The server around the application: it binds first, so that an address in use is one clear error, and ends on SIGINT or SIGTERM."""

from __future__ import annotations

import socket
import threading
from typing import TextIO

import uvicorn
from starlette.applications import Starlette

from linktrail.errors import ListenError
from linktrail.stopping import until_signalled


def run_server(app: Starlette, host: str, port: int, out: TextIO) -> int:
    """Serve ``app`` until told to stop; return the exit code. Raises ``ListenError``."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ListenError(address=f"{host}:{port}", what=error.strerror or error) from error
    with listening:
        bound = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        out.write(f"linktrail serves http://{shown}:{bound}/ until Ctrl-C.\n")
        out.flush()
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=64,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="serve")
        with until_signalled(threading.Event()) as stopping:  # in the main thread uvicorn would end the program by the signal itself
            thread.start()
            while thread.is_alive() and not stopping.wait(0.5):
                pass
        server.should_exit = True
        thread.join()
    return 0
