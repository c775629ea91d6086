"""``linktrail explain``: an engine's error message, the damage that it means, and whether that damage is here.

``collector.explain.messages`` is the table (one row a class of messages), ``matching`` finds rows in text, ``naming`` finds what the ids
in the text stand for in a store, ``answer`` puts both beside a check of the stores, ``view`` shows it to a person, ``run`` is the verb.
"""

from __future__ import annotations

from collector.explain.answer import Explanation, explain
from collector.explain.matching import Match, find_messages
from collector.explain.messages import MESSAGES, Message

__all__ = ["MESSAGES", "Explanation", "Match", "Message", "explain", "find_messages"]
