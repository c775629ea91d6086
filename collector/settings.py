"""How the recorder paces itself: every waiting time and limit in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final, Self

from linktrail.config.resolve import Configuration
from linktrail.config.table import BY_KEY
from linktrail.durations import parse_duration
from linktrail.errors import UsageError

# Settings that have no flag, by the names that they have in the file and here.
INTERVALS: Final = ("survey_interval", "heartbeat", "checkpoint_interval", "diagnose_interval", "sample_interval", "filesystem_interval")
_SHORTEST: Final = 0.1


@dataclass(slots=True)
class Settings:
    """Waiting times (seconds) and limits. They are read each time, so ``take_over`` changes a running recorder.

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
    max_delay: float = 0.6
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
    def of(
        cls,
        *,
        min_age: str | None = None,
        quiet: str | None = None,
        max_delay: str | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> Self:
        """Return the settings that a command line states, as durations, and those that only the environment has. Raises ``UsageError``."""
        usual = cls()
        intervals = {name: parse_duration(text, name) for name in INTERVALS if (text := environment.get(BY_KEY[f"collect.{name}"].env))}
        settings = cls(
            min_age=None if min_age is None else parse_duration(min_age, "--min-age"),
            quiet=usual.quiet if quiet is None else parse_duration(quiet, "--quiet"),
            max_delay=usual.max_delay if max_delay is None else parse_duration(max_delay, "--max-delay"),
        )
        for name, seconds in intervals.items():
            setattr(settings, name, seconds)
            if seconds < _SHORTEST:
                raise UsageError(what=f"{name} takes a duration of {_SHORTEST:g} s or more")
        settings.require_sense()
        return settings

    def require_sense(self) -> None:
        """Raises ``UsageError`` when waiting times contradict each other."""
        if self.quiet > self.max_delay:
            raise UsageError(what=f"--quiet ({self.quiet:g} s) is longer than --max-delay ({self.max_delay:g} s)")

    @classmethod
    def configured(cls, configuration: Configuration) -> Self:
        """Return what a configuration says, flags left out. Raises ``UsageError``."""
        texts = {BY_KEY[f"collect.{name}"].env: configuration.text(f"collect.{name}") or "" for name in INTERVALS}
        pick = configuration.text
        return cls.of(min_age=pick("collect.min_age"), quiet=pick("collect.quiet"), max_delay=pick("collect.max_delay"), environment=texts)

    def take_over(self, other: Settings) -> None:
        """Become like ``other``."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))
