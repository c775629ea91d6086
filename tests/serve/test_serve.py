"""The web pages as a program asks for them: what each says, who may see them, and what they refuse."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linktrail.testing.clock import FakeClock
from queries.serve.guard import local_path
from queries.serve.lake_cache import FRESH_SECONDS, LakeCache
from tests.queries.lakes import Run, write_lake
from tests.queries.story import BASE, LEAKED
from tests.serve.server import Server, serving

TOKEN = "correct horse battery staple"  # noqa: S105 - of a server that lives for one test
WHEN = "at=2026-11-23T16:32:00Z"
SPAN = "from=2026-11-23T16:01:00Z&to=2026-11-23T16:50:00Z"


@pytest.fixture(scope="module")
def server(story: Path) -> Iterator[Server]:
    """The story, served on loopback without a token."""
    with serving(story) as running:
        yield running


PAGES = [
    (f"/?{WHEN}", ["unaccounted-layer", "Safe to remove", f"/thing?id={LEAKED}"]),
    (f"/thing?id={LEAKED[:8]}&{WHEN}", ["jobs/worker-0", "Nothing on record held it", "layer 444444444444", "writable layer of container"]),
    (f"/thing?id={BASE}&{WHEN}", ["docker.io/library/nginx:1", "no", "needed"]),
    (f"/timeline?{SPAN}", ["gap in the record (restart)", "the node had booted"]),
    (f"/growth?{SPAN}&by=pod", ["jobs/worker-0", "<svg"]),
    (f"/layers?{SPAN}", ["<svg", "added", "link_file"]),
    ("/sql?q=SELECT+count(*)+AS+changes+FROM+links", ["changes", "24", "1 row"]),
]


@pytest.mark.parametrize(("path", "parts"), PAGES, ids=[path.partition("?")[0] + str(number) for number, (path, _) in enumerate(PAGES)])
def test_pages_answer(server: Server, path: str, parts: list[str]) -> None:
    """Each page is one address, and says what the record says, with its completeness."""
    answer = server.ask(path)
    assert answer.status == 200
    for part in parts:
        assert part in answer.text
    assert path.startswith("/sql") or "The record" in answer.text


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/thing?id=zz", 400, "too short"),
        ("/thing", 400, "name an id"),
        ("/thing?id=nothing-here", 404, "Nothing is recorded"),
        ("/?at=tomorrow", 400, "takes an instant"),
        ("/growth?by=colour", 400, "is none of"),
        ("/growth?from=now&to=1h+ago", 400, "from lies after to"),
        ("/nothing", 404, "Not Found"),
        ("/static/../app.py", 404, "Not"),
        ("/sql?q=COPY+links+TO+'/nowhere'", 200, "Refused"),
        ("/sql?q=SELECT+nonsense", 200, "nonsense"),
    ],
)
def test_what_cannot_be_answered_is_said(server: Server, path: str, status: int, part: str) -> None:
    """One sentence, and no trace of the program."""
    answer = server.ask(path)
    assert answer.status == status
    assert part in answer.text
    assert "Traceback" not in answer.text


def test_headers_forbid_what_pages_do_not_need(server: Server) -> None:
    """On every answer, also on errors."""
    for path in ("/", "/nothing", "/static/style.css", "/healthz"):
        headers = server.ask(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in {name.lower() for name in headers}


def test_only_loopback_names_are_served_without_a_token(server: Server) -> None:
    """Another site's page that renames an address to this one gets nothing."""
    assert server.ask("/", Host="evil.example").status == 421
    assert server.ask("/", Host=f"evil.example:{server.port}").status == 421
    assert server.ask("/", Host=f"localhost:{server.port}").status == 200
    assert server.ask("/", method="DELETE").status == 405


def test_sql_of_another_site_waits_for_a_person(server: Server) -> None:
    """A pasted link shows the statement; it runs when a person says so here."""
    path = "/sql?q=SELECT+41%2B1+AS+answer"
    assert "42" in server.ask(path).text
    assert "42" in server.ask(path, Sec_Fetch_Site="same-origin").text
    waiting = server.ask(path, Sec_Fetch_Site="cross-site").text
    assert "41+1" in waiting
    assert "42" not in waiting
    assert "read it, then run it" in waiting


def test_the_lake_is_read_anew(tmp_path: Path) -> None:
    """What is recorded meanwhile is shown within seconds, and a snapshot serves until then."""
    clock = FakeClock()
    lake = write_lake(tmp_path / "lake", [first := Run()])
    first.start(0.5)
    write_lake(lake, [first])
    cache = LakeCache(lake, clock)

    def starts() -> int:
        with cache.engine() as engine:
            return int(engine.rows("SELECT count(*) AS n FROM coverage WHERE kind = 'start'")[0]["n"])

    assert starts() == 1
    second = Run("20261123T170000Z-bbbbbbbb")
    second.start(3600)
    write_lake(lake, [second])
    assert starts() == 1
    clock.advance(FRESH_SECONDS + 1)
    assert starts() == 2
    cache.close()


# --- with a token -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(story: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The story, served with a token."""
    file = tmp_path_factory.mktemp("secret") / "token"
    file.touch(0o600)
    file.write_text(f"{TOKEN}\n", encoding="utf-8")
    with serving(story, "--token-file", str(file)) as running:
        yield running


def test_nobody_without_the_token(guarded: Server) -> None:
    """A person is sent to the login with the page to come back to, a program gets 401; the login page and its style are open."""
    sent = guarded.ask("/thing?id=abcdef", Accept="text/html")
    assert sent.status == 303
    assert sent.headers["location"] == "/login?then=%2Fthing%3Fid%3Dabcdef"
    assert guarded.ask("/").status == 401
    assert guarded.ask("/sql", form={"q": "SELECT 1"}).status == 401
    assert guarded.ask("/healthz").status == 401
    assert guarded.ask("/login").status == 200
    assert guarded.ask("/static/style.css").status == 200


def test_the_token_opens(guarded: Server) -> None:
    """As a bearer, and by a cookie that scripts cannot read and that does not tell it."""
    assert guarded.ask("/", Authorization=f"Bearer {TOKEN}").status == 200
    assert guarded.ask("/", Authorization="Bearer wrong").status == 401
    wrong = guarded.ask("/login", form={"token": "wrong", "then": "/growth"})
    assert (wrong.status, "set-cookie" in wrong.headers) == (401, False)
    right = guarded.ask("/login", form={"token": TOKEN, "then": "/growth"})
    assert (right.status, right.headers["location"]) == (303, "/growth")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN.split(maxsplit=1)[0] not in cookie
    shown = cookie.partition(";")[0]
    assert guarded.ask("/", Cookie=shown, Host="node-3.example").status == 200
    assert guarded.ask("/", Cookie="linktrail=guess").status == 401
    assert guarded.ask("/login", form={"token": TOKEN}, Sec_Fetch_Site="cross-site").status == 200, "another site cannot log anybody in"


@pytest.mark.parametrize("then", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\nb"])
def test_a_login_leads_nowhere_else(guarded: Server, then: str) -> None:
    """Whatever the address says, people stay on this server."""
    assert local_path(then) == "/"
    answer = guarded.ask("/login", form={"token": TOKEN, "then": then})
    assert answer.headers["location"] == "/"


# --- starting -----------------------------------------------------------------------------------------------------


def started(*words: str) -> subprocess.CompletedProcess[str]:
    """Start the program and wait for its end."""
    return subprocess.run([sys.executable, "-m", "linktrail", "serve", *words], capture_output=True, text=True, check=False, timeout=60)


def test_it_does_not_start_open(story: Path, tmp_path: Path) -> None:
    """Other addresses need a token, from a file that not everybody may read; every refusal is one clear error."""
    lake = ("--lake", str(story))
    refused = started("--host", "0.0.0.0", *lake)  # noqa: S104 - that is the point
    assert (refused.returncode, "give --token-file" in refused.stderr) == (2, True)
    readable = tmp_path / "token"
    readable.write_text("x", encoding="utf-8")
    readable.chmod(0o644)
    refused = started("--token-file", str(readable), *lake)
    assert (refused.returncode, "everybody on this machine can read it" in refused.stderr) == (2, True)
    assert started("--lake", str(tmp_path / "nothing")).returncode == 11


def test_a_port_in_use_is_one_error(story: Path) -> None:
    """Named, with exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = started("--port", str(taken.getsockname()[1]), "--lake", str(story))
    assert done.returncode == 1
    assert re.match(r"linktrail: Cannot listen on 127\.0\.0\.1:\d+", done.stderr)
