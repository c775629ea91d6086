"""Instants as people write them: ``now``, ``2h ago``, ISO 8601, or unix seconds; all UTC, inside the program nanoseconds.

A time without a zone is UTC, as everything linktrail prints is. Eight digits are a date of ISO 8601 (``20261123``); every other
bare number is seconds since 1970.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

from linktrail.clock import NANOSECONDS
from linktrail.durations import parse_duration
from linktrail.errors import UsageError

_NUMBER = re.compile(r"@?-?\d{1,19}(\.\d{1,9})?")
_COMPACT_DATE = re.compile(r"\d{8}")
_AGO = re.compile(r"(?P<span>.+?)\s+ago", re.IGNORECASE)
_UNIT_WORDS = re.compile(r"(?<![a-z])(w|d|h|m|s)(?:eeks?|ays?|ours?|rs?|inutes?|ins?|econds?|ecs?)(?![a-z])", re.IGNORECASE)
_LATEST = 4_102_444_800  # 2100-01-01; a larger number of seconds is milliseconds by mistake


def parse_instant(text: str, option: str, now: int) -> int:
    """Return the instant that ``text`` names, in nanoseconds UTC; ``now`` is the present in the same unit.

    Raises ``UsageError`` naming ``option`` when ``text`` is no instant, or one before 1970 or after 2100.
    """
    compact = " ".join(text.split())
    if compact.lower() == "now":
        return now
    ago = _AGO.fullmatch(compact)
    if ago:
        return _in_range(now - _span(ago["span"], text, option), text, option)
    if _NUMBER.fullmatch(compact) and not _COMPACT_DATE.fullmatch(compact):
        return _in_range(int(Decimal(compact.removeprefix("@")) * NANOSECONDS), text, option)
    try:
        moment = datetime.fromisoformat(compact)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _no_instant(text, option) from error
    whole = int(moment.replace(microsecond=0).timestamp())
    return _in_range(whole * NANOSECONDS + moment.microsecond * 1000, text, option)


def parse_past(text: str, option: str, now: int) -> int:
    """Return the instant ``text`` names, which must not lie in the future. Raises ``UsageError`` otherwise."""
    instant = parse_instant(text, option, now)
    if instant > now:
        raise UsageError(what=f"{option} {text} lies in the future; the record ends now")
    return instant


def _span(span: str, text: str, option: str) -> int:
    letters = _UNIT_WORDS.sub(lambda word: word[1], span)
    try:
        return round(Decimal(repr(parse_duration(letters, option))) * NANOSECONDS)
    except UsageError as error:
        raise _no_instant(text, option) from error


def _in_range(nanoseconds: int, text: str, option: str) -> int:
    seconds = nanoseconds // NANOSECONDS
    if seconds > _LATEST:
        raise UsageError(what=f"{option} {text} lies after 2100; a bare number is seconds since 1970, not milliseconds")
    if seconds < 0:
        raise UsageError(what=f"{option} {text} lies before 1970")
    return nanoseconds


def _no_instant(text: str, option: str) -> UsageError:
    return UsageError(what=f"{option} takes an instant such as now, '2h ago', 2026-11-23T16:02:07Z or 1795449727, not '{text}'")
