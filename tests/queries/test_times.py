from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linktrail.clock import NANOSECONDS, iso
from linktrail.errors import UsageError
from linktrail.testing.clock import START
from queries.times import parse_instant, parse_past


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", 0),
        (" NOW ", 0),
        ("2h ago", -7200),
        ("2 hours ago", -7200),
        ("90 minutes ago", -5400),
        ("1h30m ago", -5400),
        ("1 day 2 hours ago", -93_600),
        ("3 weeks ago", -1_814_400),
        ("0 ago", 0),
        ("1.5 hours ago", -5400),
        ("2026-11-23T16:00:00Z", 0),
        ("2026-11-23T16:00:00", 0),
        ("2026-11-23 16:00", 0),
        ("2026-11-23T17:00:00+01:00", 0),
        ("20261123T160000Z", 0),
        ("2026-11-23", -57_600),
        ("20261123", -57_600),
        ("1795449600", 0),
        ("@1795449600", 0),
        ("1795449600.5", 0.5),
    ],
)
def test_instants_as_people_write_them(text: str, seconds: float) -> None:
    """Words, ISO 8601 with and without a zone (then UTC), and unix seconds."""
    assert parse_instant(text, "--at", START) == START + round(seconds * NANOSECONDS)


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2h", "ago", "2 parsecs ago", "2026-13-01", "1795449600000", "-5", "2026-11-23T16:00:00 CET", "9999-12-31",
     "1e9", "1969-12-31", "99999999999999999 weeks ago", "\x1b[2J"],
)  # fmt: skip
def test_what_is_no_instant_is_one_clear_error(text: str) -> None:
    """The option and the text are named, with a hint at the usual mistake of milliseconds, and nothing reaches the terminal raw."""
    with pytest.raises(UsageError) as caught:
        parse_instant(text, "--at", START)
    assert "--at" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert caught.value.exit_code == 2


def test_the_future_is_refused_where_the_record_is_asked() -> None:
    """Nobody can ask for what was open tomorrow."""
    with pytest.raises(UsageError, match="future"):
        parse_past("2026-11-23T16:00:01Z", "--at", START)
    assert parse_past("now", "--at", START) == START


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000 * 1_000_000))
def test_what_linktrail_prints_it_reads(microseconds: int) -> None:
    """Every instant in an output can be given back as --at, exactly."""
    instant = microseconds * 1000
    assert parse_instant(iso(instant) or "", "--at", START) == instant


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_an_instant_or_a_usage_error(text: str) -> None:
    """No text raises anything else."""
    with contextlib.suppress(UsageError):
        assert parse_instant(text, "--at", START) >= 0
