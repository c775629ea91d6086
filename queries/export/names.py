"""One table of names: a column of the lake, and what it is called elsewhere.

OpenTelemetry's names are those of the columns with dots for underscores (``k8s_pod_name`` is ``k8s.pod.name``). ECS names what it knows and
takes the rest below ``linktrail.``; the fields are those of ECS 9, and ``kubernetes.*`` as its shippers write it.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Name(NamedTuple):
    """What a column is called in ECS."""

    column: str
    ecs: str


NAMES: Final = (
    Name("cluster", "orchestrator.cluster.name"),
    Name("node", "host.name"),
    Name("run", "linktrail.run"),
    Name("seq", "event.sequence"),
    Name("occurred_after", "event.start"),
    Name("occurred_before", "event.end"),
    Name("observed_at", "event.created"),
    Name("boot_id", "host.boot.id"),
    Name("origin", "linktrail.origin"),
    Name("store_kind", "linktrail.store.kind"),
    Name("store_root", "linktrail.store.root"),
    Name("link_kind", "linktrail.link.kind"),
    Name("action", "event.action"),
    Name("subject", "linktrail.subject"),
    Name("target", "file.target_path"),
    Name("previous_target", "linktrail.link.previous_target"),
    Name("layer_id", "linktrail.layer.id"),
    Name("file_path", "file.path"),
    Name("file_inode", "file.inode"),
    Name("link_state", "linktrail.link.state"),
    Name("finding_id", "linktrail.finding.id"),
    Name("code", "event.code"),
    Name("family", "linktrail.finding.family"),
    Name("severity", "log.level"),
    Name("subject_kind", "linktrail.subject_kind"),
    Name("bytes", "linktrail.bytes"),
    Name("message", "message"),
    Name("evidence", "linktrail.finding.evidence"),
    Name("advice", "linktrail.finding.advice"),
    Name("k8s_pod_name", "kubernetes.pod.name"),
    Name("k8s_namespace_name", "kubernetes.namespace"),
    Name("k8s_pod_uid", "kubernetes.pod.uid"),
    Name("container_id", "container.id"),
    Name("container_name", "container.name"),
    Name("container_image_name", "container.image.name"),
    Name("container_image_id", "container.image.hash.all"),
)
ECS: Final = {name.column: name.ecs for name in NAMES}
ECS_VERSION: Final = "9.4.0"
OCSF_VERSION: Final = "1.8.0"
SEVERITY_NUMBERS: Final = {"info": 1, "warning": 3, "error": 4, "critical": 5}
"""OCSF's severity_id: 1 informational, 3 medium, 4 high, 5 critical."""
