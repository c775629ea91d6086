"""Breaks of a containerd store's images and containers: what they name and nobody records, and content that is gone or changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from collector.diagnose.advice_containerd import ContainerdAdvice
from collector.diagnose.cases import Case, fact
from collector.diagnose.containerd_store import BLOBS, META, ContainerdStore, ContainerNode, brief, briefly
from collector.diagnose.context import Examination
from collector.graph_nodes import created
from collector.links import Link, LinkKind

_SHOWN: Final = 50
_KIND: Final = "io.cri-containerd.kind"
_POD: Final = "io.kubernetes.pod.uid"
_LEADS: Final = "containerd.io/gc.ref.content"


def breaks(look: Examination, store: ContainerdStore, advice: ContainerdAdvice) -> None:
    """Report damage of images and containers; nothing, where meta.db could not be read."""
    if store.named_known:
        names: dict[str, list[str]] = {}
        for (_, name), link in store.images.items():
            names.setdefault(link.target or "", []).append(name)
        _chains(look, store, advice, names)
        _content(look, store, advice, names)
        _containers(look, store, advice)
        if not look.read_only:
            _ghosts(look, store, advice)


def _chains(look: Examination, store: ContainerdStore, advice: ContainerdAdvice, names: dict[str, list[str]]) -> None:
    """Report images whose chain is not recorded."""
    for link in store.tops:
        snapshotter = str(link.detail.get("snapshotter"))
        if link.layer_id is not None or snapshotter not in store.known_snapshotters or link.subject not in names:
            continue
        shown = names[link.subject]
        look.report(
            Case(
                "image-layer-missing",
                "image",
                link.subject,
                link.path,
                f"Image {briefly(shown)} was unpacked to snapshot {brief(link.target or '')}, which is not recorded.",
                advice.image_snapshot_missing(shown[0]),
                related=[*shown, link.target or ""],
                evidence={"names": shown[:_SHOWN], "snapshotter": snapshotter, "layer": link.target},
                compared=[META],
                keys=[link.key],
                owner=link.owner,
            )
        )


def _content(look: Examination, store: ContainerdStore, advice: ContainerdAdvice, names: dict[str, list[str]]) -> None:
    """Report blobs that meta.db records and an image needs, and whose file is gone or has another size."""
    leads: dict[tuple[str, str], list[str]] = {}
    for label in store.labels:
        if label.detail.get("object") == "content" and str(label.detail.get("label")).startswith(_LEADS):
            leads.setdefault((str(label.detail.get("namespace")), label.subject), []).append(label.target or "")
    for (namespace, _), image in store.images.items():
        waiting, seen = [image.target or ""], {image.target or ""}
        lost: list[str] = []
        differ: dict[str, Any] = {}
        while waiting:
            digest = waiting.pop()
            _blob(store, namespace, digest, lost, differ)
            new = [name for name in leads.get((namespace, digest), ()) if name not in seen]
            seen.update(new)
            waiting += new
        for code, items in (("image-data-missing", lost), ("image-data-modified", sorted(differ))):
            if items:
                shown = names[image.target or ""]
                _damaged(look, code, image, names=shown, items=items, differ=differ, advice=advice.blob_damaged(shown[0]))


def _blob(store: ContainerdStore, namespace: str, digest: str, lost: list[str], differ: dict[str, Any]) -> None:
    record, file = store.blobs.get((namespace, digest)), store.files.get(digest)
    path = f"{BLOBS}/{digest.replace(':', '/', 1)}"
    if record is None or store.unknown(path):
        return
    size = record.detail.get("size")
    if file is None:
        lost.append(digest)
    elif isinstance(size, int) and file.detail.get("size") != size:
        differ[digest] = {"recorded": size, "found": file.detail.get("size", file.detail.get("type"))}


def _damaged(look: Examination, code: str, image: Link, *, names: list[str], items: list[str], differ: dict[str, Any], advice: str) -> None:
    what = f"has lost {len(items)} of its blobs" if code.endswith("missing") else f"has {len(items)} blobs that differ from their records"
    look.report(
        Case(
            code,
            "image",
            image.target or image.subject,
            image.path,
            f"Image {briefly(names)} {what}: {briefly(items)}.",
            advice,
            related=[*names, *items],
            evidence={"names": names[:_SHOWN], "blobs": items[:_SHOWN], "differ": dict(list(differ.items())[:_SHOWN])},
            compared=[META],
            keys=[(LinkKind.CONTENT, items[0], image.path)],
            owner=image.owner,
        )
    )


def _containers(look: Examination, store: ContainerdStore, advice: ContainerdAdvice) -> None:
    """Report containers whose snapshot or whose image is not recorded."""
    for (namespace, name), node in store.containers.items():
        layer, image = node.layer, node.image
        who = f"Container {brief(name)} (namespace {brief(namespace)})"
        if layer is not None and layer.layer_id is None and layer.detail.get("snapshotter") in store.known_snapshotters:
            _container(
                look,
                "container-layer-missing",
                node.record,
                layer,
                message=f"{who} names snapshot {brief(layer.target or '')}, which is not recorded.",
                advice=advice.container_snapshot_missing(name),
            )
        if image is not None and image.target == image.detail.get("name") and (namespace, image.target or "") not in store.images:
            _container(
                look,
                "container-image-missing",
                node.record,
                image,
                message=f"{who} was made from image {brief(image.target or '')}, which has no record.",
                advice=advice.container_image_gone(name, image.target or ""),
            )


def _ghosts(look: Examination, store: ContainerdStore, advice: ContainerdAdvice) -> None:
    """Report Kubernetes containers whose pod has no sandbox any more: removal goes through the sandbox, so nothing comes back for them.

    A container names its sandbox since containerd 1.7; before, the pod's uid is what both have in common.
    """
    sandboxes = [(namespace, node) for (namespace, _), node in store.containers.items() if _label(node.record, _KIND) == "sandbox"]
    pods = {(namespace, _label(node.record, _POD)) for namespace, node in sandboxes}
    for (namespace, name), node in store.containers.items():
        pod, sandbox = _label(node.record, _POD), node.record.detail.get("sandbox")
        if _label(node.record, _KIND) != "container" or pod is None:
            continue
        if node.record.detail.get("sandbox_gone") if sandbox else (namespace, pod) not in pods:
            _ghost(look, store, node, advice.ghost_container(name))


def _ghost(look: Examination, store: ContainerdStore, node: ContainerNode, advice: str) -> None:
    owner = node.record.owner
    snapshot = store.snapshots.get(node.layer.target or "") if node.layer is not None else None
    path = snapshot.path if snapshot is not None and snapshot.directory is not None else None
    pod = f"{brief(owner.k8s_namespace_name or '')}/{brief(owner.k8s_pod_name or '')}"
    look.report(
        Case(
            "ghost-reference",
            "container",
            node.record.subject,
            node.record.path,
            f"Container {brief(node.record.subject)} of pod {pod} holds its snapshots, but the pod's sandbox is gone.",
            advice,
            related=[name for name in (snapshot.key if snapshot else None, owner.k8s_pod_uid) if name],
            evidence={"pod": pod, "pod_uid": owner.k8s_pod_uid, "sandbox": node.record.detail.get("sandbox")},
            times={
                "container created": created(node.record),
                "container updated": fact(node.record, "updated_ns"),
                **(snapshot.times() if snapshot is not None else {}),
            },
            compared=[META],
            keys=[node.record.key],
            began=created(node.record),
            held=(path,) if path else (),
            owner=owner,
        )
    )


def _label(record: Link, name: str) -> str | None:
    labels = record.detail.get("labels")
    value = labels.get(name) if isinstance(labels, Mapping) else None
    return value if isinstance(value, str) else None


def _container(look: Examination, code: str, record: Link, link: Link, *, message: str, advice: str) -> None:
    look.report(
        Case(
            code,
            "container",
            record.subject,
            record.path,
            message,
            advice,
            related=[link.target or ""],
            evidence={"record": record.path, link.kind.value: link.target, "namespace": record.detail.get("namespace")},
            times={"container created": created(record), "container updated": fact(record, "updated_ns")},
            compared=[META],
            keys=[link.key],
            began=created(record),
            # an image may be taken away while containers go on with what was unpacked from it
            severity="warning" if code == "container-image-missing" else None,
            owner=record.owner,
        )
    )
