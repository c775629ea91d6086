"""What one row of the table of messages is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    """A class of error messages and the damage that it means.

    ``pattern`` is searched in one line that was made lower case. ``codes`` are the findings that it can be, the likeliest first; none: it
    is no damage of a store. ``confirm`` are commands that only read (``ROOT`` stands for the store's root), ``step`` is the least invasive
    thing to do. ``incidents`` are the ids of cases in which people met it.
    """

    name: str
    engines: str
    pattern: str
    codes: tuple[str, ...]
    meaning: str
    confirm: tuple[str, ...]
    step: str
    incidents: tuple[str, ...] = ()
    regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the pattern."""
        object.__setattr__(self, "regex", re.compile(self.pattern))
