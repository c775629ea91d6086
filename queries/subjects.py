"""What a person means by an id, the beginning of one, a name, or a path.

An id of the record wins over everything; else a path below a recorded store root (or relative to it) is resolved to the layer, image
or container whose directory it lies in, or to what is written there; else the beginning of an id, of at least ``LEAST`` characters,
also of the part after ``sha256:`` or a ``/`` (engines print those parts). A number is that of a directory of containerd
(``snapshots/115``, which may stand before it), and means the snapshot that is or was recorded with it.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from linktrail.errors import AmbiguousSubjectError, UnknownSubjectError, UsageError
from linktrail.text import column_text
from queries.engine import Engine

LEAST: Final = 6
MOST_CANDIDATES: Final = 10
_SNAPSHOTS: Final = "snapshots/"


@dataclass(frozen=True, slots=True)
class Subject:
    """What was meant: the whole ``id``, and the ``path`` (relative to its store root) where a path was named."""

    id: str | None
    path: str | None = None


_IDS: Final = """
SELECT subject AS id FROM links WHERE {0}
UNION SELECT layer_id FROM links WHERE {1}
UNION SELECT target FROM links WHERE {2} AND link_kind IN ('parent_pointer', 'child_pointer', 'image_layer', 'container_layer',
    'container_image', 'image_name', 'layer_name', 'link_file', 'lease')
UNION SELECT subject FROM findings WHERE {0}
UNION SELECT subject FROM usage WHERE {0}
ORDER BY id
"""
_EXACT: Final = _IDS.format("subject = $name", "layer_id = $name", "target = $name")
_BEGINS: Final = "(starts_with({0}, $name) OR starts_with({0}, 'sha256:' || $name) OR contains({0}, '/' || $name))"
_PREFIX: Final = _IDS.format(_BEGINS.format("subject"), _BEGINS.format("layer_id"), _BEGINS.format("target"))
_BESIDE: Final = (
    "SELECT 1 AS found FROM usage WHERE scope = 'beside' AND subject = $name LIMIT 1"  # a directory beside the layers: an id and a path
)
_NUMBER: Final = """
SELECT layer_id AS id FROM links WHERE link_kind = 'layer_directory' AND subject = $name AND layer_id IS NOT NULL
UNION SELECT subject FROM links WHERE link_kind = 'layer_record' AND target = $name
ORDER BY id
"""
_NAMED: Final = """
SELECT DISTINCT target AS id FROM links
WHERE link_kind IN ('layer_name', 'image_name') AND subject = $name AND target IS NOT NULL
  AND NOT EXISTS (FROM links AS l WHERE (l.subject = $name OR l.target = $name) AND l.link_kind NOT IN ('layer_name', 'image_name'))
ORDER BY id
"""
_ROOTS: Final = "SELECT DISTINCT store_root FROM links WHERE store_root IS NOT NULL"
_DIRECTORY: Final = """
SELECT coalesce(arg_max(layer_id, (run, seq)), arg_max(subject, (run, seq))) AS id
FROM links
WHERE link_kind IN ('layer_directory', 'owner_directory', 'temporary_directory', 'short_link')
  AND (file_path = $path OR starts_with($path, file_path || '/'))
GROUP BY file_path ORDER BY length(file_path) DESC LIMIT 1
"""
_PLACES: Final = """
SELECT DISTINCT cluster, node
FROM (
    SELECT cluster, node FROM links WHERE subject = $id
    UNION ALL SELECT cluster, node FROM links WHERE layer_id = $id
    UNION ALL SELECT cluster, node FROM links WHERE target = $id
    UNION ALL SELECT cluster, node FROM links WHERE previous_target = $id
)
WHERE ($cluster IS NULL OR cluster = $cluster) AND ($node IS NULL OR node = $node)
LIMIT 2
"""
_WRITTEN: Final = "SELECT 1 AS found FROM links WHERE file_path = $path OR starts_with(file_path, $path || '/') LIMIT 1"


def find_subject(engine: Engine, name: str) -> Subject:
    """Return what ``name`` means in the record.

    Raises ``UnknownSubjectError``, ``AmbiguousSubjectError`` (listing what it can mean), ``UsageError`` (too short).
    """
    name = column_text(name).strip()
    if not name:
        raise UsageError(what="name an id, a name or a path")
    number = name.removeprefix(_SNAPSHOTS).partition("/")[0] if name.startswith(_SNAPSHOTS) else name
    if number.isascii() and number.isdecimal() and (layers := [row["id"] for row in engine.rows(_NUMBER, {"name": number})]):
        return _only(name, layers)
    if engine.rows(_EXACT, {"name": name}):
        return Subject(name, name if engine.rows(_BESIDE, {"name": name}) else None)
    found = _by_path(engine, name) if "/" in name else None
    return found or _by_beginning(engine, name)


def find_object(engine: Engine, name: str) -> Subject:
    """Return what ``name`` means, where the name of an image or layer stands for the thing itself (the chain id of a snapshot, too).

    Raises as ``find_subject``; a name that stood for several things in the course of time, or on several nodes, is ambiguous.
    """
    meant = find_subject(engine, name)
    named = named_by(engine, meant.id)
    return Subject(_only(name, named).id, meant.path) if named else meant


def named_by(engine: Engine, name: str | None) -> list[str]:
    """Return what ``name`` was the name of, where it is nothing but a name of images or layers."""
    return [row["id"] for row in engine.rows(_NAMED, {"name": name})] if name is not None else []


def _by_path(engine: Engine, name: str) -> Subject | None:
    for path in _relative(engine, posixpath.normpath(name)):
        directories = engine.rows(_DIRECTORY, {"path": path})
        if directories:
            return Subject(directories[0]["id"], path)
        if engine.rows(_WRITTEN, {"path": path}):
            return Subject(None, path)
    return None


def _relative(engine: Engine, path: str) -> list[str]:
    """Return the forms that ``path`` can have below a store root; a host's root may be mounted elsewhere (``/host``)."""
    if not path.startswith("/"):
        return [path]
    roots = sorted((row["store_root"] for row in engine.rows(_ROOTS)), key=len, reverse=True)
    return [path.split(f"{root.rstrip('/')}/", 1)[1] for root in roots if f"{root.rstrip('/')}/" in path]


def _by_beginning(engine: Engine, name: str) -> Subject:
    if len(name) < LEAST:
        raise UsageError(what=f"{name} is too short; name at least {LEAST} characters of an id")
    found = [row["id"] for row in engine.rows(_PREFIX, {"name": name})]
    if not found:
        raise UnknownSubjectError(name=name)
    return _only(name, found)


def _only(name: str, found: list[str]) -> Subject:
    """Return the one thing that ``name`` can mean. Raises ``AmbiguousSubjectError`` when there are several."""
    if len(found) > 1:
        shown = found[:MOST_CANDIDATES]
        more = [f"and {len(found) - len(shown)} more"] if len(found) > len(shown) else []
        raise AmbiguousSubjectError(name=name, count=len(found), candidates=", ".join([*shown, *more]))
    return Subject(found[0])


def only_place(engine: Engine, identifier: str, cluster: str | None, node: str | None) -> dict[str, str | None]:
    """Return the ``cluster`` and ``node`` to read for what links say of ``identifier``: the only ones that name it, else those given."""
    places = engine.rows(_PLACES, {"id": identifier, "cluster": cluster, "node": node})
    return {"cluster": places[0]["cluster"], "node": places[0]["node"]} if len(places) == 1 else {"cluster": cluster, "node": node}
