"""The web application: routes, the login, the SQL box, and what is said when something cannot be answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from linktrail import __version__
from linktrail.clock import Clock
from linktrail.errors import AmbiguousSubjectError, LakeError, LinktrailError, UnknownSubjectError, UsageError
from linktrail.text import printable
from queries.engine import Engine
from queries.sandbox import Limits, run_sql
from queries.serve import pages
from queries.serve.guard import COOKIE, Guard, cookie_of, local_path, own_form, same
from queries.serve.lake_cache import LakeCache
from queries.serve.pages import Asked, Page
from queries.serve.tables import page_table
from queries.snapshot import read_lake
from queries.views import documented_views

_STATIC: Final = {"style.css": "text/css", "script.js": "text/javascript"}
_MOST_SQL: Final = 20_000
_STATUS: Final[Mapping[type[LinktrailError], int]] = {
    UnknownSubjectError: 404,
    AmbiguousSubjectError: 400,
    UsageError: 400,
    LakeError: 503,
}
_COOKIE_SECONDS: Final = 12 * 3600
Maker = Callable[[Engine, Asked], Page]


def make_app(lake: Path, *, clock: Clock, token: str = "", limits: Limits | None = None) -> Starlette:
    """Return the application over the lake at ``lake``; ``token`` empty: for loopback only (see ``guard``)."""
    site = _Site(LakeCache(lake, clock), clock, token, limits or Limits(seconds=30))
    makers: Mapping[str, Maker] = {
        "/": pages.home,
        "/thing": pages.thing,
        "/timeline": pages.timeline,
        "/growth": pages.growth,
        "/layers": pages.layers,
    }
    routes = [Route(path, site.page(maker, path), methods=["GET"]) for path, maker in makers.items()]
    routes += [
        Route("/sql", site.sql, methods=["GET", "POST"]),
        Route("/login", site.login, methods=["GET", "POST"]),
        Route("/healthz", site.healthy, methods=["GET"]),
        Route("/static/{name}", site.static, methods=["GET"]),
    ]
    handlers: Mapping[Any, Any] = {HTTPException: site.not_found}
    return Starlette(routes=routes, middleware=[Middleware(Guard, token=token)], exception_handlers=handlers, max_body_size=1 << 20)


class _Site:
    """Everything that the routes share."""

    def __init__(self, cache: LakeCache, clock: Clock, token: str, limits: Limits) -> None:
        self._cache = cache
        self._clock = clock
        self._token = token
        self._limits = limits
        loader, strict = PackageLoader("queries.serve"), StrictUndefined
        self._templates = Environment(loader=loader, autoescape=True, undefined=strict, trim_blocks=True, lstrip_blocks=True)

    def page(self, maker: Maker, path: str) -> Callable[[Request], Any]:
        """Return the handler of one page."""

        async def answer(request: Request) -> Response:
            said = Asked(dict(request.query_params), self._clock.now().wall)
            try:
                made = await run_in_threadpool(self._made, maker, said)
            except LinktrailError as error:
                return self._sorry(request, error)
            return self._html("page.html.j2", request, page=made, path=path, given=said.given)

        return answer

    def _made(self, maker: Maker, said: Asked) -> Page:
        with self._cache.engine() as engine:
            return maker(engine, said)

    async def sql(self, request: Request) -> Response:
        """Show the box; run what is in it when a person asked here, not when another site's page sends one."""
        form = await request.form() if request.method == "POST" else request.query_params
        text = str(form.get("q", ""))[:_MOST_SQL]
        values: dict[str, Any] = {"q": text, "views": documented_views(), "table": None, "error": "", "waits": False, "rows": 0}
        if text.strip() and not own_form(request):
            values["waits"] = True
        elif text.strip():
            try:
                rows = (await run_in_threadpool(run_sql, read_lake(self._cache.path), text, self._limits)).rows
                values |= {"table": page_table(rows, shorten=False), "rows": rows.num_rows}
            except LinktrailError as error:
                values["error"] = printable(error.message)
        return self._html("sql.html.j2", request, path="/sql", given={}, **values)

    async def login(self, request: Request) -> Response:
        """Take the token, and go on to the page that was asked for."""
        form = await request.form() if request.method == "POST" else request.query_params
        then = local_path(str(form.get("then", "/")))
        if request.method == "POST" and own_form(request):
            if self._token and same(str(form.get("token", "")).strip(), self._token):
                response = RedirectResponse(then, 303)
                secure = request.url.scheme == "https"
                response.set_cookie(COOKIE, cookie_of(self._token), max_age=_COOKIE_SECONDS, httponly=True, samesite="lax", secure=secure)
                return response
            return self._html("login.html.j2", request, status=401, then=then, wrong=True, path="/login", given={})
        return self._html("login.html.j2", request, then=then, wrong=False, path="/login", given={})

    async def healthy(self, request: Request) -> Response:
        """Say whether the lake can be read."""
        del request
        try:
            await run_in_threadpool(read_lake, self._cache.path)
        except LakeError as error:
            return PlainTextResponse(f"{printable(error.message)}\n", 503)
        return PlainTextResponse("ok\n")

    async def static(self, request: Request) -> Response:
        """Return the one style sheet or the one script."""
        name = request.path_params["name"]
        if name not in _STATIC:
            raise HTTPException(404)
        return Response(files("queries.serve").joinpath("static", name).read_bytes(), media_type=_STATIC[name])

    async def not_found(self, request: Request, error: HTTPException) -> Response:
        """Say that there is no such page."""
        return self._html("error.html.j2", request, status=error.status_code, message=f"{error.detail}", advice="", path="", given={})

    def _sorry(self, request: Request, error: LinktrailError) -> Response:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        message, advice = printable(error.message), printable(error.advice)
        given = dict(request.query_params)
        return self._html("error.html.j2", request, status=status, message=message, advice=advice, path=request.url.path, given=given)

    def _html(self, template: str, request: Request, *, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 - whatever a template takes
        given = {name: values["given"].get(name, "") for name in ("id", "at", "from", "to", "node", "cluster", "by", "code")}
        text = self._templates.get_template(template).render(
            **{**values, "given": given}, version=__version__, address=printable(str(request.url)), signed=bool(self._token)
        )
        return HTMLResponse(text, status)
