"""Rows to events of another form. Functions of one row; the row is as the lake has it, times are aware datetimes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from linktrail import __version__
from linktrail.values import moment, plain
from queries.export.names import ECS, ECS_VERSION, OCSF_VERSION, SEVERITY_NUMBERS
from queries.words import happened

Row = Mapping[str, Any]
TIMESKETCH_COLUMNS: Final = (
    "message",
    "datetime",
    "timestamp_desc",
    "occurred_after",
    "occurred_before",
    "observed_at",
    "cluster",
    "node",
    "store_root",
    "kind",
    "action",
    "subject",
    "target",
    "previous_target",
    "layer_id",
    "file_path",
    "state",
    "bytes",
    "k8s_namespace_name",
    "k8s_pod_name",
    "container_name",
    "container_image_name",
    "origin",
    "run",
    "seq",
)
_OCSF_ACTIVITIES: Final = {"opened": (1, "Create"), "changed": (2, "Update"), "closed": (3, "Close")}


def timesketch(row: Row) -> dict[str, Any]:
    """Return one line of a Timesketch CSV: ``message``, ``datetime`` and ``timestamp_desc``, and what else the row says."""
    finding = row["about"] == "finding"
    kind = row["code"] if finding else row["link_kind"]
    said = {
        **row,
        "kind": kind,
        "state": row["severity"] if finding else row["link_state"],
        "target": row.get("target"),
        "previous_target": row.get("previous_target"),
    }
    values = {name: _text(said.get(name)) for name in TIMESKETCH_COLUMNS}
    values["message"] = happened(said)
    values["datetime"] = moment(row["occurred_before"])
    values["timestamp_desc"] = f"{'finding' if finding else 'link'} {row['action']}, at the latest"
    return values


def ecs(row: Row) -> dict[str, Any]:
    """Return one ECS document, nested as ECS nests."""
    finding = row["about"] == "finding"
    document: dict[str, Any] = {"@timestamp": moment(row["occurred_before"]), "ecs": {"version": ECS_VERSION}}
    for column, name in ECS.items():
        value = row.get(column)
        if value is not None and value != "":
            _put(document, name, _ecs_value(column, value))
    document.setdefault("event", {}).update(
        kind="alert" if finding else "event",
        category=["file"],
        type=[_ecs_type(row["action"])],
        module="linktrail",
        dataset="linktrail.findings" if finding else "linktrail.links",
    )
    return document


def ocsf(row: Row) -> dict[str, Any] | None:
    """Return one OCSF detection finding (class 2004); ``None`` for a link, which has no actor and so no class there."""
    if row["about"] != "finding":
        return None
    number, name = _OCSF_ACTIVITIES[row["action"]]
    resources = [{"type": row["subject_kind"], "uid": row["subject"], "name": row["file_path"] or row["subject"]}]
    since = row["since_before"] or row["occurred_before"]
    return {
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "activity_id": number,
        "activity_name": name,
        "type_uid": 200_400 + number,
        "time": _milliseconds(row["occurred_before"]),
        "start_time": _milliseconds(since),
        "severity_id": SEVERITY_NUMBERS.get(row["severity"], 0),
        "severity": row["severity"],
        "status_id": 4 if row["action"] == "closed" else 1,
        "message": row["message"],
        "remediation": {"desc": row["advice"] or ""},
        "finding_info": {"uid": row["finding_id"], "title": row["code"], "desc": row["message"], "types": [row["family"]]},
        "resources": resources,
        "device": {"type_id": 1, "hostname": row["node"]},
        "metadata": {
            "version": OCSF_VERSION,
            "product": {"name": "linktrail", "version": __version__},
            "uid": f"{row['run']}/{row['seq']}",
        },
        "unmapped": {
            name: plain(row[name]) for name in ("occurred_after", "cluster", "store_root", "bytes", "k8s_pod_name") if row[name] is not None
        },
    }


def _ecs_value(column: str, value: Any) -> object:  # noqa: ANN401 - one value of any column
    if column == "evidence":
        return json.loads(value)
    return [value] if column == "container_image_id" else plain(value)


def _ecs_type(action: str) -> str:
    return {"created": "creation", "removed": "deletion", "opened": "start", "closed": "end", "observed": "info"}.get(action, "change")


def _put(document: dict[str, Any], name: str, value: object) -> None:
    *parents, last = name.split(".")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value


def _milliseconds(when: datetime) -> int:
    return int(when.timestamp() * 1000)


def _text(value: object) -> object:
    return moment(value) if isinstance(value, datetime) else value
