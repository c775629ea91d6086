"""How the recorder paces itself: every waiting time and limit in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from linktrail.durations import parse_duration
from linktrail.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """Waiting times (seconds) and limits.

    * ``quiet``, ``max_delay``: after an event a store is read once it was quiet for so long, or has waited for so long
    * ``duty``: the share of time that may be spent reading and diagnosing a store that never gets quiet
    * ``survey_interval``: a store is read at least so often
    * ``heartbeat``, ``seal_interval``, ``checkpoint_interval``, ``status_interval``: how often these are written
    * ``diagnose_interval``: how often a store that changes all the time is diagnosed
    * ``sample_interval`` (what grows), ``filesystem_interval``, ``entries_per_second``: see ``collector.samples``
    * ``rows_limit``: rows kept in memory while the spool cannot take them
    * ``min_age``: replaces the grace periods of diagnosis
    * ``drain``: how long to wait for events that are under way when a reading ends
    """

    quiet: float = 0.1
    max_delay: float = 0.8
    duty: float = 0.34
    survey_interval: float = 300.0
    heartbeat: float = 60.0
    seal_interval: float = 0.5
    checkpoint_interval: float = 30.0
    status_interval: float = 1.0
    diagnose_interval: float = 2.0
    sample_interval: float = 300.0
    filesystem_interval: float = 60.0
    entries_per_second: float = 20_000.0
    rows_limit: int = 100_000
    min_age: float | None = None
    drain: float = 0.005

    @classmethod
    def of(cls, *, min_age: str | None = None, quiet: str | None = None, max_delay: str | None = None) -> Self:
        """Return the settings that a command line states, as durations. Raises ``UsageError``."""
        usual = cls()
        settings = cls(
            min_age=None if min_age is None else parse_duration(min_age, "--min-age"),
            quiet=usual.quiet if quiet is None else parse_duration(quiet, "--quiet"),
            max_delay=usual.max_delay if max_delay is None else parse_duration(max_delay, "--max-delay"),
        )
        if settings.quiet > settings.max_delay:
            raise UsageError(what=f"--quiet ({settings.quiet:g} s) is longer than --max-delay ({settings.max_delay:g} s)")
        return settings
