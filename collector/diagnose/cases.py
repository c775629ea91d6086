"""What a rule of diagnosis states, and the words that all rules share."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from collector.graph_nodes import Place
from collector.links import NOBODY, Attribution, Link, LinkKey, LinkState
from linktrail.codes import Grace, Severity
from linktrail.text import printable

ANYTHING: Final = ("*",)
_SHORT: Final = 12


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule found, before it is decided whether it is a finding yet.

    ``times`` are evidence of work on it, ``compared`` the metadata files that it rests on, ``keys`` the links whose history says since
    when. It began later if ``needs``, further links that it takes, came to stand (or were gone) later; if the last holder of what is in
    ``unheld`` went later, or the record of what is in ``unrecorded``; or if an instant in ``ended`` (ns UTC) is later. ``began`` is a time
    before which it cannot have begun, where nothing is recorded; ``held`` are the paths whose bytes it holds.
    ``removes`` are the layers that the advice would have deleted (``ANYTHING``: some), so that nobody is sent to delete one whose empty
    link file takes ``l/`` with it.
    ``bytes`` are known without measuring ``held``; ``grace`` replaces that of the code.
    """

    code: str
    subject_kind: str
    subject: str
    path: str | None
    message: str
    advice: str
    related: Collection[str] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    times: Mapping[str, int | None] = field(default_factory=dict)
    compared: Collection[str] = ()
    keys: Collection[LinkKey] = ()
    needs: Collection[LinkKey] = ()
    unheld: Collection[str] = ()
    unrecorded: Collection[str] = ()
    ended: Collection[int] = ()
    began: int | None = None
    held: tuple[str, ...] = ()
    severity: Severity | None = None
    owner: Attribution = NOBODY
    removes: Collection[str] = ()
    bytes: int | None = None
    grace: Grace | None = None


def is_trap(place: Place) -> bool:
    """Tell whether ``l/<link>``, cleaned as engines clean paths, is ``l`` itself or lies outside it."""
    link = place.link_file
    if link is None or link.state not in (LinkState.EMPTY, LinkState.MALFORMED) or "error" in link.detail:
        return False
    cleaned = posixpath.normpath(f"l/{link.target or ''}")
    return cleaned == "l" or not cleaned.startswith("l/")


def texts(value: object) -> list[str]:
    """Return the texts of a list that a record holds; nothing for anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list | tuple) else []


def short(identifier: str) -> str:
    """Return an id as people quote it: 12 characters of a long one, and nothing that a terminal would act on."""
    text = printable(identifier).removeprefix("sha256:")
    return text[:_SHORT] if len(text) == 64 and text.isalnum() else text  # noqa: PLR2004 - hexadecimal digits of a SHA-256


def listed(identifiers: Collection[str], limit: int = 3) -> str:
    """Return some ids for a sentence: ``a, b, c and 4 more``."""
    names = [short(name) for name in sorted(identifiers)[:limit]]
    return ", ".join(names) + (f" and {len(identifiers) - limit} more" if len(identifiers) > limit else "")


def fact(link: Link | None, name: str) -> int | None:
    """Return a number that was seen beside ``link``, if it was."""
    value = link.facts.get(name) if link is not None else None
    return value if isinstance(value, int) else None
