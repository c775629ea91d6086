"""The checker itself: it must not be the kind that always agrees."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.kafka.history import Found, Issuer, check


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    """Two batches of three rows."""
    issuer = Issuer(tmp_path / "spool")
    issuer.issue(2, tables=("links",))
    return issuer


def _found(issuer: Issuer, *, dead: int = 0, missing: set[tuple[str, int]] | None = None) -> Found:
    keys = sorted(issuer.issued)
    return Found(Counter(keys[dead:]), set(keys[:dead]), missing or set(), 0, [])


def test_it_agrees_with_what_is_right(issuer: Issuer) -> None:
    """All in the lake; some of it a dead letter; a whole batch in a gap."""
    check(_found(issuer), issuer)
    check(_found(issuer, dead=2), issuer)
    found = _found(issuer, missing={(issuer.spool.run, 1)})
    for number in (3, 4, 5):
        del found.lake["node", "links", number]
    check(found, issuer)


def test_it_sees_what_is_wrong(issuer: Issuer) -> None:
    """A row twice, a row of nobody, a row that is nowhere, a gap that names another batch."""
    found = _found(issuer)
    found.lake["node", "links", 1] += 1
    with pytest.raises(AssertionError, match="more than once"):
        check(found, issuer)
    found = _found(issuer)
    found.lake["node", "links", 99] += 1
    with pytest.raises(AssertionError, match="never issued"):
        check(found, issuer)
    found = _found(issuer, missing={(issuer.spool.run, 1), ("another run", 0)})
    del found.lake["node", "links", 2]
    with pytest.raises(AssertionError, match="1 of 6 issued rows are nowhere"):
        check(found, issuer)
