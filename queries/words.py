"""What happened, in plain words: one line of a timeline from one of its rows.

Rows are those of queries/sql/timeline.sql. Names keep their form (they are made printable where they are shown); sizes are for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from linktrail.sizes import human_bytes

Row = Mapping[str, Any]

# link kind -> (what the link is, how its target is introduced); an empty introduction: the target says nothing more
_LINKS: Final[dict[str, tuple[str, str]]] = {
    "store_root": ("store", "at"),
    "additional_store": ("additional image store", "at"),
    "layer_record": ("record of layer {subject}", ""),
    "layer_directory": ("directory {file_path}", ""),
    "parent_pointer": ("parent of layer {subject}", "->"),
    "child_pointer": ("child of layer {subject}", "->"),
    "link_file": ("link file of layer {subject}", "->"),
    "short_link": ("short link {subject}", "->"),
    "lower_reference": ("{file_path}", "->"),
    "layer_name": ("name {subject} of layer", ""),
    "image_record": ("record of image {subject}", ""),
    "image_name": ("image name {subject}", "->"),
    "image_layer": ("top layer of image {subject}", "->"),
    "container_record": ("record of container {subject}", ""),
    "container_layer": ("writable layer of container {subject}", "->"),
    "container_image": ("image of container {subject}", "->"),
    "data_file": ("data file {file_path} of {subject}", ""),
    "owner_directory": ("directory {file_path} of {subject}", ""),
    "temporary_directory": ("temporary directory {file_path}", "for"),
    "lease": ("lease {subject}", "->"),
    "label_reference": ("label of {subject}", "->"),
    "content": ("content {subject}", ""),
    "ingest": ("download {subject}", ""),
    "mount": ("mount at {subject}", "->"),
    "open_file": ("deleted files that processes hold of {subject}", ""),
    "metadata_file": ("metadata file {file_path}", ""),
    "symlink": ("symbolic link {file_path}", "->"),
    "hardlink": ("hard link {file_path}", "->"),
    "whiteout": ("whiteout {file_path}", ""),
}
_VERBS: Final = {"created": "appeared", "removed": "removed", "changed": "changed", "observed": "was there when recording began"}
_PLAIN_STATES: Final = frozenset({None, "present", "removed"})
_LONG: Final = 120


def happened(row: Row, *, of_many: bool = False) -> str:
    """Return what one row of a timeline says; ``of_many`` things, so that each is named."""
    if of_many and row["about"] == "size":
        return _size(row, f" {row['subject']}")
    return _ABOUT[row["about"]](row)


def _link(row: Row) -> str:
    what, introduction = _LINKS.get(row["kind"], ("{kind} {subject}", "->"))
    name = what.format(kind=row["kind"], subject=row["subject"], file_path=row["file_path"] or "")
    action, target, before = row["action"], row["target"], row["previous_target"]
    if action == "retargeted":
        text = f"{name} {introduction or '->'} {_cut(target)}, before {_cut(before)}"
    else:
        shown = before if action == "removed" else target
        pointing = f" {introduction} {_cut(shown)}" if introduction and shown is not None else ""
        text = f"{name}{pointing} {_VERBS.get(action, action)}"
    state = "" if row["state"] in _PLAIN_STATES else f" ({row['state']})"
    return text + state


def _finding(row: Row) -> str:
    size = "" if row["bytes"] is None else f", holding {human_bytes(row['bytes'])}"
    if row["action"] == "closed":
        return f"finding {row['kind']} closed: {row['message']}"
    return f"finding {row['kind']} ({row['state']}) {row['action']}{size}: {row['message']}"


def _size(row: Row, name: str = "") -> str:
    now, before = row["bytes"], row["previous_bytes"]
    role = f", {row['state']}" if row["state"] else ""
    size = "of unknown size" if now is None else human_bytes(now)
    if now is None or before is None or now == before:
        change = ""
    else:
        change = f", {'grown' if now > before else 'shrunk'} by {human_bytes(abs(now - before))} since the sample before"
    what = f"{row['subject']} (beside the layers)" if row["kind"] == "beside" else f"{row['kind']}{name}"
    return f"{what} measured: {size}{role}{change}"


def _record(row: Row) -> str:
    action = row["action"]
    if action == "gap":
        return f"gap in the record ({row['kind']}): {row['message'] or ''}".rstrip(": ")
    if action == "boot":
        return "the node had booted since; recording began again"
    mode = f" ({row['kind']})" if row["kind"] else ""
    return f"recording {'began' if action == 'start' else 'stopped'}{mode}"


def _cut(target: object) -> str:
    text = "nothing" if target is None else str(target) or "(empty)"
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."


_ABOUT: Final[dict[str, Callable[[Row], str]]] = {"link": _link, "finding": _finding, "size": _size, "record": _record}
