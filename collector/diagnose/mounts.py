"""Leaks that the kernel holds: mounts whose layer or owner is gone, and deleted files that processes keep open. For all store kinds.

A mount of a layer that an image, a container, a lease or a label needs is work, whoever made it. An engine unmounts before it removes,
so a layer's directory that is gone under a mount is never a step of normal work (what the store has of it no grace need wait for).
Where the layer still has a record, the lost directory is a break of its own (``layer-missing``) and not said again here.

Programs delete files that they go on using (temporary files), so in a running container they are a finding from ``USUAL_BYTES`` on; files
of a layer that nothing needs any more, always.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from collector.diagnose.cases import Case, fact, listed, short, texts
from collector.diagnose.context import Examination
from collector.links import Link, LinkKind, LinkState
from linktrail.sizes import human_bytes
from linktrail.text import printable

USUAL_BYTES: Final = 1 << 20
_SHOWN: Final = 20


def leaks(look: Examination) -> None:
    """Report them. Nothing is said of read-only stores, which others mount too."""
    if look.read_only:
        return
    whole = all(link.state is LinkState.PRESENT for link in look.graph.metadata.values())
    if whole and look.layers_known and look.images_known and look.containers_known:
        for link in look.graph.mounts:
            _mount(look, link)
    for link in look.graph.open_files:
        _open_file(look, link)


def _mount(look: Examination, link: Link) -> None:
    if link.detail.get("type") == "recorded":
        _recorded_mount(look, link)
        return
    layer = link.target or ""
    lost = [name for name in _made_of(link) if _lost(look, name)]
    deleted = bool(lost) or (link.detail.get("deleted") is True and not _recorded(look, layer))
    if not deleted and (_needed(look, layer) or _lost_with_record(look, layer)):
        return
    spaces = list(_mappings(link.facts.get("namespaces")))
    where = f"mounted at {printable(link.subject)}"
    if deleted:
        what = (
            f"{'Layers' if len(lost) > 1 else 'Layer'} {listed(_places(lost or [layer]))} {'were' if len(lost) > 1 else 'was'} removed "
            f"while {where}"
        )
    else:
        what = f"Layer {short(layer)} is {where}, but no container or image needs it"
    layers = look.graph.layers.get(layer)
    place = look.graph.places.get(layers.place if layers else layer)
    look.report(
        Case(
            "orphan-mount",
            "mount",
            link.subject,
            None,
            f"{what}{_held_by(spaces)}.",
            look.advice.orphan_mount(link.subject, _first_processes(spaces), deleted=deleted),
            related=[*lost, layer, *texts(link.detail.get("lower"))],
            evidence={
                "device": link.detail.get("device"),
                "type": link.detail.get("type"),
                "layers_gone": lost,
                "namespaces": spaces[:_SHOWN],
                "namespace_count": link.facts.get("namespace_count"),
            },
            times=look.layer_times(layers, place),
            compared=(*look.files_of("layers"), *look.files_of("containers")),
            keys=[link.key],
            needs=[(LinkKind.LAYER_DIRECTORY, name, look.graph.path_of(name)) for name in lost] if len(lost) == 1 else (),
            unheld=() if deleted else [layer],
            owner=link.owner,
            grace="none" if deleted else None,
        )
    )


def _places(names: Iterable[str]) -> list[str]:
    """Name layers without a record as people can find them: a number says nothing alone."""
    return [f"snapshots/{name}" if name.isdecimal() else name for name in names]


def _recorded_mount(look: Examination, link: Link) -> None:
    """Report what containers/storage believes to have mounted although the layer is gone: it will try to unmount that first."""
    layer = link.target or ""
    if not _lost(look, layer):
        return
    look.report(
        Case(
            "ghost-reference",
            "layer",
            layer,
            None,
            f"The run root records layer {short(layer)} as mounted at {printable(link.subject)}, but the layer is gone.",
            look.advice.recorded_mount(link.subject),
            evidence={"file": "mountpoints.json", "count": link.detail.get("count"), "mount_point": link.subject},
            times={"mountpoints.json written": fact(link, "mtime_ns")},
            compared=look.files_of("layers"),
            keys=[link.key],
        )
    )


def _made_of(link: Link) -> list[str]:
    return [*([link.target] if link.target else []), *texts(link.detail.get("lower"))]


def _lost(look: Examination, layer: str) -> bool:
    """Tell whether nothing at all is left of a layer, and nothing names it."""
    graph = look.graph
    place = graph.place_of(layer)
    standing = place is not None and place.directory is not None
    return not standing and not _recorded(look, layer) and not graph.unknown(graph.path_of(layer)) and layer not in look.named


def _lost_with_record(look: Examination, layer: str) -> bool:
    place = look.graph.place_of(layer)
    return _recorded(look, layer) and (place is None or not place.whole)


def _recorded(look: Examination, layer: str) -> bool:
    return look.graph.layer(layer) is not None


def _needed(look: Examination, layer: str) -> bool:
    return layer in look.needed or layer in look.named


def _open_file(look: Examination, link: Link) -> None:
    layer = link.target
    size = fact(link, "bytes") or 0
    living = layer is not None and _needed(look, layer)
    if size == 0 or (size < USUAL_BYTES and (living or layer is None)):
        return
    holders = list(_mappings(link.facts.get("holders")))
    count = fact(link, "files") or 0
    owner = link.owner.container_name or link.owner.container_id
    beside = link.detail.get("beside") is True
    if beside:
        whose = f"directory {printable(link.subject)}, beside the layers,"
    elif layer is None:
        whose = "an overlay that is mounted nowhere any more, on the filesystem of this store"
    elif living and owner:
        whose = f"container {printable(owner)}"
    else:
        whose = f"layer {short(layer)}" + ("" if living else ", which nothing needs any more")
    look.report(
        Case(
            "deleted-open-file",
            "layer" if layer is not None else "directory" if beside else "mount",
            link.subject,
            None,
            f"{count} deleted {'file' if count == 1 else 'files'} of {whose} {'is' if count == 1 else 'are'} still open{_by(holders)} and"
            f" {'holds' if count == 1 else 'hold'} {human_bytes(size)}.",
            look.advice.deleted_open_file([_first_descriptor(holder) for holder in holders]),
            related=[name for name in (layer, link.owner.container_id) if name],
            evidence={
                "files": count,
                "device": link.detail.get("device"),
                "detached": link.detail.get("detached", False),
                "holders": holders,
            },
            times={"file deleted or written": fact(link, "changed_ns")},
            keys=[link.key],
            owner=link.owner,
            bytes=size,
        )
    )


def _held_by(spaces: list[dict[str, Any]]) -> str:
    count = len(spaces)
    named = [_process(space) for space in spaces[:3]]
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return f", in the mount namespace{'' if count == 1 else 's'} of {', '.join(named)}{more}" if spaces else ""


def _process(space: Mapping[str, Any]) -> str:
    """Name the first process of a namespace, and the namespace."""
    pids = space.get("processes")
    pid = _number(pids[0]) if isinstance(pids, list) and pids else 0
    return f"{printable(str(space.get('command') or 'process'), 40)} ({pid}, {printable(str(space.get('namespace')))})"


def _by(holders: list[dict[str, Any]]) -> str:
    named = [f"{printable(str(holder.get('command')), 40)} ({_number(holder.get('process'))})" for holder in holders[:3]]
    return f" in {', '.join(named)}{' and others' if len(holders) > len(named) else ''}" if named else ""


def _first_descriptor(holder: Mapping[str, Any]) -> tuple[int, int | None]:
    """Return the process and one descriptor of it, ``None`` where it is not known (an older collector did not ask)."""
    descriptors = holder.get("descriptors")
    return _number(holder.get("process")), _number(descriptors[0]) if isinstance(descriptors, list | tuple) and descriptors else None


def _first_processes(spaces: Iterable[Mapping[str, Any]]) -> list[int]:
    """Return one process of each namespace."""
    lists = (space.get("processes") for space in spaces)
    return [_number(pids[0]) for pids in lists if isinstance(pids, list) and pids]


def _mappings(value: object) -> Iterator[dict[str, Any]]:
    yield from (dict(item) for item in value if isinstance(item, Mapping)) if isinstance(value, list | tuple) else ()


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
