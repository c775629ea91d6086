"""The table of messages, most specific first: in one line the first row that fits is the one that is meant."""

from __future__ import annotations

from typing import Final

from collector.explain.messages.daemons import DAEMONS
from collector.explain.messages.message import Message
from collector.explain.messages.plumbing import PLUMBING
from collector.explain.messages.storage import STORAGE

MESSAGES: Final[tuple[Message, ...]] = (*PLUMBING, *STORAGE, *DAEMONS)

__all__ = ["MESSAGES", "Message"]
