"""Topics of single nodes: ``<topic>.<cluster>.<node>``, so that ACLs, which know topics and not keys, can keep nodes apart.

A node's user may write that one topic, and the processor takes nothing from it but batches of that node: what no ACL can say, it checks.

Format. In both parts every byte (UTF-8) but ``A-Z a-z 0-9 -`` is written ``_xx`` in hexadecimal, and in the node ``.`` stands as it is.
So the cluster ends at the first dot, no two nodes share a name, and a name tells its node. Kafka takes up to 249 characters.
"""

from __future__ import annotations

import re
import string
from typing import Final

from linktrail.errors import TopicNameError

LONGEST: Final = 249
_PLAIN: Final = frozenset((string.ascii_letters + string.digits + "-").encode())
_ESCAPED: Final = re.compile(r"_([0-9a-f]{2})")


def node_topic(topic: str, cluster: str, node: str) -> str:
    """Return the topic of a node beside the shared ``topic``. Raises ``TopicNameError`` when it would be too long for Kafka."""
    name = _name(topic, cluster, node)
    if len(name) > LONGEST:
        raise TopicNameError(name=name, size=len(name), longest=LONGEST)
    return name


def owner_of(topic: str, name: str) -> tuple[str, str] | None:
    """Return (cluster, node) whose topic beside the shared ``topic`` has this name; ``None`` when it is no node's."""
    if not name.startswith(f"{topic}.") or len(name) > LONGEST:
        return None
    cluster, separator, node = name[len(topic) + 1 :].partition(".")
    try:
        owner = _plain(cluster), _plain(node)
    except ValueError:
        return None
    return owner if separator and node and _name(topic, *owner) == name else None  # one spelling for each, so one topic for each


def _name(topic: str, cluster: str, node: str) -> str:
    return f"{topic}.{_escaped(cluster, _PLAIN)}.{_escaped(node, _PLAIN | {ord('.')})}"


def _escaped(text: str, plain: frozenset[int]) -> str:
    return "".join(chr(byte) if byte in plain else f"_{byte:02x}" for byte in text.encode())


def _plain(text: str) -> str:
    """Undo ``_escaped``. Raises ``ValueError`` for what is no UTF-8."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1").decode()
