"""Where a layer's files stand, and what says what they should be: the one place that knows the store kinds.

containers-storage and docker keep a tar-split of each image layer. containerd keeps none, but may still have the blob that was unpacked:
the image's configuration gives the diff ids, these the chain ids that snapshots are named by, and a label on the blob its diff id. A
layer for which neither exists cannot be compared; ``Unchecked`` says why, and that is no damage.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from collector.contents.blob import Blob
from collector.contents.expected import Headers
from collector.contents.image_config import BLOBS, chain_ids, containerd_configurations, diff_ids, read_configuration
from collector.contents.tar_split import TarSplit
from collector.contents.verify import Verdict, verify_archive, verify_files
from collector.graph import LAYER_HOME, Graph
from collector.graph_nodes import Layer
from collector.links import LinkKind, LinkState, StoreKind, Survey
from collector.safe import Directory

_LAYERDB: Final = ("image", "overlay2", "layerdb", "sha256")
_OVERLAYFS: Final = "overlayfs"
_COMPOSEFS: Final = "composefs-data"
_UNCOMPRESSED: Final = "containerd.io/uncompressed"
_SHA256: Final = "sha256:"
_READABLE: Final = (LinkState.PRESENT, LinkState.EMPTY)


class Record(Protocol):
    """What says how a layer should be."""

    def headers(self) -> Headers:
        """Return every entry. Raises ``ArchiveError`` and ``OSError``."""

    def verify(self, diff: Directory, headers: Headers, known: Collection[str]) -> Verdict:
        """Read the files that are not ``known`` to differ. Raises ``ArchiveError`` and ``OSError``."""


@dataclass(frozen=True, slots=True)
class Source:
    """A layer that can be compared: ``steps`` lead from the root to its files; ``record`` opens what they should be."""

    layer: Layer
    steps: tuple[str, ...]
    record_path: str
    record: Callable[[Directory], AbstractContextManager[Record]]
    digest: str | None
    blob: str | None = None


class Unchecked(NamedTuple):
    """A layer that cannot be compared, and why."""

    layer: Layer
    reason: str


def sources(graph: Graph, root: Directory) -> Iterator[Source | Unchecked]:
    """Yield every image layer of the store that is open as ``root``; writable layers have no record and are left out."""
    return _KINDS[graph.survey.kind](graph, root)


def files_of(graph: Graph, layer: Layer) -> tuple[str, ...] | None:
    """Return the steps from the root to a layer's files; ``None`` where they are not a layer of an overlay."""
    kind = graph.survey.kind
    if kind is not StoreKind.CONTAINERD_OVERLAYFS:
        return (LAYER_HOME[kind], layer.place, "diff")
    if layer.record.detail.get("snapshotter") != _OVERLAYFS or layer.record.target is None:
        return None
    return (*LAYER_HOME[kind].split("/"), layer.place, "fs")


def composed(root: Directory, steps: tuple[str, ...]) -> bool:
    """Tell whether a layer's files stand under their digests (composefs), so that names and links say nothing. Raises ``OSError``."""
    with root.directory(*steps[:-1]) as place:
        try:
            place.stat(_COMPOSEFS)
        except FileNotFoundError:
            return False
    return True


def unpacked_over_parents(graph: Graph) -> bool:
    """Tell whether the engine unpacks a layer over its merged parents (so that links of theirs lead entries elsewhere), or by itself."""
    return graph.survey.kind is StoreKind.CONTAINERD_OVERLAYFS


def writable(graph: Graph, layer: Layer) -> bool:
    """Tell whether a container or a build may be writing to ``layer`` now."""
    detail = layer.record.detail
    if graph.survey.kind is StoreKind.CONTAINERD_OVERLAYFS:
        return detail.get("kind") != "committed"
    return detail.get("diff_digest") is None


def _containers_storage(graph: Graph, root: Directory) -> Iterator[Source | Unchecked]:
    del root
    return _with_tar_split(graph, lambda layer: (("overlay-layers",), f"{layer.id}.tar-split.gz"))


def _docker(graph: Graph, root: Directory) -> Iterator[Source | Unchecked]:
    del root
    return _with_tar_split(graph, lambda layer: ((*_LAYERDB, layer.id.removeprefix(_SHA256)), "tar-split.json.gz"))


def _with_tar_split(graph: Graph, where: Callable[[Layer], tuple[tuple[str, ...], str]]) -> Iterator[Source | Unchecked]:
    present = {link.path for link in graph.survey.of_kind(LinkKind.DATA_FILE) if link.state is not LinkState.MISSING}
    for layer in graph.layers.values():
        directory, name = where(layer)
        path = "/".join((*directory, name))
        steps = files_of(graph, layer)
        if layer.record.state is LinkState.PRESENT and steps is not None and path in present:
            digest = layer.record.detail.get("diff_digest")
            yield Source(layer, steps, path, _tar_split(directory, name, digest), digest)
        elif not writable(graph, layer):
            yield Unchecked(layer, "no tar-split" if layer.record.state is LinkState.PRESENT else "not complete")


def _tar_split(directory: tuple[str, ...], name: str, digest: str | None) -> Callable[[Directory], AbstractContextManager[Record]]:
    @contextmanager
    def opened(root: Directory) -> Iterator[Record]:
        with root.directory(*directory) as home:
            yield _FromTarSplit(TarSplit(home, name), digest)

    return opened


@dataclass(frozen=True, slots=True)
class _FromTarSplit:
    split: TarSplit
    digest: str | None

    def headers(self) -> Headers:
        return self.split.headers()

    def verify(self, diff: Directory, headers: Headers, known: Collection[str]) -> Verdict:
        return verify_archive(diff, self.split.pieces(), self.digest, known, headers.renamed)


@dataclass(frozen=True, slots=True)
class _FromBlob:
    blob: Blob

    def headers(self) -> Headers:
        return self.blob.headers()

    def verify(self, diff: Directory, headers: Headers, known: Collection[str]) -> Verdict:
        return verify_files(diff, headers.entries, known)


def _containerd(graph: Graph, root: Directory) -> Iterator[Source | Unchecked]:
    diffs = _diff_ids(graph.survey, root)
    blobs = _blobs(graph.survey)
    for layer in graph.layers.values():
        if writable(graph, layer):
            continue
        steps = files_of(graph, layer)
        diff_id = diffs.get(str(layer.record.detail.get("name")))
        blob = blobs.get(diff_id) if diff_id is not None else None
        if steps is None:
            yield Unchecked(layer, f"snapshotter {layer.record.detail.get('snapshotter')}")
        elif diff_id is None:
            yield Unchecked(layer, "no image configuration names it")
        elif blob is None:
            yield Unchecked(layer, "its blob is not in the content store")
        else:
            yield Source(layer, steps, "/".join((*BLOBS, blob)), _blob(blob, diff_id), diff_id, blob=f"{_SHA256}{blob}")


def _blob(name: str, diff_id: str) -> Callable[[Directory], AbstractContextManager[Record]]:
    @contextmanager
    def opened(root: Directory) -> Iterator[Record]:
        with root.directory(*BLOBS) as home:
            yield _FromBlob(Blob(home, name, diff_id))

    return opened


def _diff_ids(survey: Survey, root: Directory) -> dict[str, str]:
    """Return {chain id: diff id} as the image configurations in the content store say."""
    found: dict[str, str] = {}
    for digest in containerd_configurations(survey):
        diffs = diff_ids(read_configuration(root, BLOBS, digest))
        found.update(zip(chain_ids(diffs), diffs, strict=True))
    return found


def _blobs(survey: Survey) -> dict[str, str]:
    """Return {diff id: hexadecimal digest of the blob that holds it} for blobs whose file is there."""
    links = list(survey.of_kind(LinkKind.CONTENT))
    there = {link.subject for link in links if link.state in _READABLE and link.path.startswith("/".join(BLOBS))}
    found: dict[str, str] = {}
    for link in links:
        labels = link.detail.get("labels")
        diff = labels.get(_UNCOMPRESSED, link.subject) if isinstance(labels, dict) else link.subject
        if link.subject in there and link.subject.startswith(_SHA256) and isinstance(diff, str):
            found.setdefault(diff, link.subject.removeprefix(_SHA256))
    return found


_KINDS: Final[dict[StoreKind, Callable[[Graph, Directory], Iterator[Source | Unchecked]]]] = {
    StoreKind.CONTAINERS_STORAGE: _containers_storage,
    StoreKind.DOCKER_OVERLAY2: _docker,
    StoreKind.CONTAINERD_OVERLAYFS: _containerd,
}
