"""What one transaction of one database states, alone: for the time between two surveys (``collector.version_steps``).

The links are those that a survey makes of the same file. Only which image a container stands on, and whether a snapshotter keeps a
directory for each snapshot, is written elsewhere as well; that is taken from the survey at hand. Owners are no part of what is compared.
"""

from __future__ import annotations

from collector.links import Link, LinkKind, Survey
from collector.stores.bolt import Bucket, Defect, root_of
from collector.stores.containerd.layout import META, snapshotter_of
from collector.stores.containerd.leaves import Links, Memory
from collector.stores.containerd.meta_links import namespace_links
from collector.stores.containerd.metadata import read_namespaces
from collector.stores.containerd.ownership import Interned, Owners, owners
from collector.stores.containerd.snapshotter import read_snapshots
from collector.stores.containerd.snapshotter_links import snapshotter_links


def version_links(path: str, data: bytes, survey: Survey) -> tuple[Link, ...] | None:
    """Return the links of the database ``path`` with the content ``data``; ``None`` where that cannot be understood."""
    file = Link(LinkKind.METADATA_FILE, path, path)
    try:
        root = root_of(data)
    except Defect:
        return None
    links = _meta(root, survey) if path == META else _snapshotter(path, root, survey)
    return (file, *links.values())


def _meta(root: Bucket, survey: Survey) -> Links:
    memory = Memory()
    namespaces = read_namespaces(root, memory)
    parents: dict[str, str] = {}
    for namespace in namespaces:
        parents.update(namespace.parents())
    stored = (link for link in survey.of_kind(LinkKind.PARENT_POINTER) if link.path != META)
    parents.update({link.subject: link.target for link in stored if link.target is not None})
    owned = owners(namespaces, parents, Interned())
    links: Links = {}
    for namespace in namespaces:
        links.update(namespace_links(namespace, owned, memory))
    return links


def _snapshotter(path: str, root: Bucket, survey: Survey) -> Links:
    memory = Memory()
    snapshots = read_snapshots(snapshotter_of(path.partition("/")[0]) or "", root, memory)
    records = [link for link in survey.of_kind(LinkKind.LAYER_RECORD) if link.path == path]
    directories = not records or any(link.target is not None for link in records)
    return snapshotter_links(snapshots, Owners(), memory, directories=directories)
