"""Finding known messages in text, line by line: a message, or a log of many.

In one line the first row of the table that fits is meant. Lines that give the same row and name the same ids count as one match. Lines
are cut at ``LINE_LIMIT`` characters: logs are hostile too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from collector.explain.messages import MESSAGES, Message

LINE_LIMIT: Final = 4096
IDS_LIMIT: Final = 20
_IDS: Final = re.compile(
    r"(?<![0-9a-zA-Z])(?:"
    r"(?P<hex>[0-9a-f]{12,64})"  # layers, images, containers, chain ids
    r"|(?P<short>[A-Z2-7]{26})"  # names in l/
    r"|snapshots/(?P<number>\d{1,20})"  # containerd's directories
    r"|(?<![\w./-])(?P<name>[a-z0-9][\w.\-]*(?:[:/][\w.\-]+)+)"  # images by name
    r")(?![0-9a-zA-Z])"
)
_ROOTS: Final = re.compile(
    r"(?P<root>/[^\s\"':]*?)/(?:overlay2?|overlay-(?:layers|images|containers)|image/overlay2|io\.containerd\.[\w.]+)(?=[/:\s\"']|$)"
)


@dataclass(slots=True)
class Match:
    """A message that was found: where first, how often, which ids its lines name, and below which root, where they say."""

    message: Message
    line: str
    number: int
    ids: tuple[str, ...]
    root: str | None
    count: int = 1


def find_messages(text: str) -> list[Match]:
    """Return the messages in ``text``, in the order of their first lines."""
    found: dict[tuple[str, tuple[str, ...]], Match] = {}
    for number, line in enumerate(text.splitlines(), 1):
        cut = line[:LINE_LIMIT].strip()
        message = _meant(cut)
        if message is None:
            continue
        ids = tuple(dict.fromkeys(_ids(cut)))[:IDS_LIMIT]
        known = found.get((message.name, ids))
        if known is not None:
            known.count += 1
            continue
        root = _ROOTS.search(cut)
        found[(message.name, ids)] = Match(message, cut, number, ids, root["root"] if root else None)
    return list(found.values())


def _meant(line: str) -> Message | None:
    lower = line.lower()
    return next((message for message in MESSAGES if message.regex.search(lower)), None)


def _ids(line: str) -> Iterator[str]:
    for match in _IDS.finditer(line):
        yield match["hex"] or match["short"] or match["number"] or match["name"]
