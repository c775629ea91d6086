"""Who may see the pages, and what a page may do.

Without a token the server answers only on loopback, and only to requests that name a loopback host, so that no other web page can reach it
by renaming an address (DNS rebinding). With a token, whoever shows it once gets a cookie that scripts cannot read; programs send it as a
bearer token. Answers forbid every script, picture and connection that is not the server's own, and framing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp

COOKIE: Final = "linktrail"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})
OPEN_PATHS: Final = frozenset({"/login", "/static/style.css", "/static/script.js"})
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; img-src 'self' data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_METHODS: Final = frozenset({"GET", "HEAD", "POST"})


class Guard(BaseHTTPMiddleware):
    """Stands before every page. ``token`` empty: loopback only."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        """Guard ``app``."""
        super().__init__(app)
        self._token = token

    async def dispatch(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer, refuse, or ask for the token."""
        response = self._refusal(request) or await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def _refusal(self, request: Request) -> Response | None:
        if request.method not in _METHODS:
            return PlainTextResponse("Only GET and POST.\n", 405)
        if self._token:
            return None if request.url.path in OPEN_PATHS or self.knows(request) else _asks_for_token(request)
        if request.url.hostname not in LOOPBACK:
            return PlainTextResponse("This server answers only to loopback names; start it with --token-file for others.\n", 421)
        return None

    def knows(self, request: Request) -> bool:
        """Tell whether a request shows the token, as a bearer or by its cookie."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return same(bearer, self._token) or same(request.cookies.get(COOKIE, ""), cookie_of(self._token))


def _asks_for_token(request: Request) -> Response:
    if request.method == "POST":
        return PlainTextResponse("Show the token first: /login\n", 401)
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse("A bearer token is needed.\n", 401, {"WWW-Authenticate": "Bearer"})
    wanted = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    return RedirectResponse(f"/login?then={quote(wanted, safe='')}", 303)


def same(shown: str, wanted: str) -> bool:
    """Compare secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(shown.encode(), wanted.encode())


def cookie_of(token: str) -> str:
    """Return what the cookie holds: it opens the pages, and does not tell the token."""
    return hmac.new(token.encode(), b"linktrail serve", hashlib.sha256).hexdigest()


def own_form(request: Request) -> bool:
    """Tell whether a request comes from a page of this server, or straight from a person: not from another site's page."""
    return request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def local_path(text: str) -> str:
    """Return ``text`` when it is a path on this server, else the first page: a login must not send people elsewhere."""
    return text if text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() else "/"
