"""``--contents``: the files of every image layer against the engine's own record of what it unpacked, and links in the merged chain.

The record is the layer's tar-split, or in containerd the blob it was made of (``collector.contents.sources``). Compared are names,
types, sizes, modes, owners, hard links and the **targets of symbolic links** (which no engine's checker compares), then the checksum of
every file and the digest of the archive put together again. ``collector.contents.compare`` says what is not compared because healthy
stores differ there, ``collector.contents.link_damage`` which links are damage.

One finding a layer and kind of damage: ``zero-length-files`` (what an unclean shutdown leaves), ``layer-symlink-retargeted``,
``layer-content-modified``, ``layer-content-digest``, ``dangling-symlink``, ``escaping-symlink``. A layer without a record cannot be
compared: that is no finding, but stands in ``coverage`` with the reason.
"""

from __future__ import annotations

import errno
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Final

from collector.contents.blob import BlobDamagedError
from collector.contents.build_steps import BuildSteps
from collector.contents.compare import Difference, compare
from collector.contents.expected import ArchiveError
from collector.contents.image_data import ImageData
from collector.contents.link_damage import BadLink, Suspicions, bad_links, climbing_links
from collector.contents.merged import Chain
from collector.contents.provided import provided
from collector.contents.report import Reporter
from collector.contents.sources import Source, Unchecked, composed, files_of, sources, unpacked_over_parents, writable
from collector.contents.tree import Actual, Folder, Tree, read_tree
from collector.findings import Contents, Finding
from collector.graph import Graph
from collector.graph_nodes import Layer
from collector.links import LinkState, Problem, Survey
from collector.safe import Directory, Root, open_root, words
from collector.stores.protocol import Progress

TREE_LIMIT: Final = 3_000_000  # names kept in memory at a time, over all layers
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENOTSUP, errno.ESTALE)


def check_contents(survey: Survey, additional: Sequence[Survey], progress: Progress, *, all_links: bool = False) -> Contents:
    """Compare the layers of ``survey`` (those of the stores in ``additional`` are compared with their own) and resolve their links.

    With ``all_links`` links that are as their image was shipped, or as a container made them, are named too where they lead nowhere.
    """
    with open_root(Path(survey.root)) as root, ExitStack() as others:
        run = _Run(Graph.of(survey, additional), root, progress, others, all_links=all_links)
        data = ImageData(run.graph, root)
        findings = [*run.layers(), *run.links(), *data.findings()]
        return Contents(tuple(findings), run.coverage(), (*run.problems, *data.problems))


class _Run:
    """One look into one store."""

    def __init__(self, graph: Graph, root: Root, progress: Progress, others: ExitStack, *, all_links: bool) -> None:
        self.graph = graph
        self.root = root
        self.progress = progress
        self.problems: list[Problem] = []
        self._others = others
        self._all_links = all_links
        self._roots: dict[str, Directory] = {graph.survey.root: root}
        self._report = Reporter(graph, BuildSteps(graph, root))
        self._unchecked: Counter[str] = Counter()
        self._compared = 0
        self._suspicions: dict[str, Suspicions] = {}
        self._trees: OrderedDict[str, Tree | None] = OrderedDict()
        self._kept = 0

    def coverage(self) -> dict[str, object]:
        """Return how much was compared, and why the rest was not."""
        unchecked = dict(sorted(self._unchecked.items()))
        return {"layers": self._compared + sum(unchecked.values()), "compared": self._compared, "not_compared": unchecked}

    # --- layers against their records -------------------------------------------------------------------------

    def layers(self) -> Iterator[Finding]:
        """Yield what differs in each image layer."""
        found = list(sources(self.graph, self.root))
        for number, source in enumerate(found):
            self.progress("contents", number, len(found))
            if isinstance(source, Unchecked):
                self._unchecked[source.reason] += 1
            else:
                yield from self._layer(source)
        self.progress("contents", len(found), len(found))

    def _layer(self, source: Source) -> Iterator[Finding]:
        try:
            yield from self._compare(source)
        except BlobDamagedError as error:
            self._unchecked["its blob is damaged"] += 1
            yield self._report.record_damaged(source, str(error))
        except ArchiveError as error:
            self._unchecked["its record cannot be read"] += 1
            if source.blob is None:
                yield self._report.record_damaged(source, str(error))
        except OSError as error:
            self._unchecked["it cannot be read" if error.errno not in _GONE else "it is gone"] += 1
            if error.errno == errno.EIO:
                yield self._report.unreadable(source, "", words(error))
            elif error.errno not in _GONE:
                self.problems.append(Problem("/".join(source.steps), words(error)))

    def _compare(self, source: Source) -> Iterator[Finding]:
        if composed(self.root, source.steps):
            self._unchecked["composefs"] += 1
            return
        with source.record(self.root) as record, self.root.directory(*source.steps) as diff:
            headers = record.headers()
            difference, tree = compare(diff, headers)
            renamed = self._through_links(source.layer, difference, tree)
            if renamed:
                headers = headers.rename(renamed)
                difference, tree = compare(diff, headers)
            verdict = record.verify(diff, headers, _known(difference))
            for path in headers.opaque:  # told by the record too, where the attribute cannot be read
                _make_opaque(tree, path)
        self._compared += 1
        self._keep(source.layer.id, tree)
        self._suspicions[source.layer.id] = Suspicions.of(difference, tree, headers)
        yield from self._report.layer(source, difference, verdict)
        for path, what in tree.unread:
            self.problems.append(Problem("/".join((*source.steps, path)), what))
        for path, error in verdict.unread:
            if error.errno == errno.EIO:
                yield self._report.unreadable(source, path, words(error))
            elif error.errno not in _GONE:
                self.problems.append(Problem("/".join((*source.steps, path)), words(error)))

    def _through_links(self, layer: Layer, found: Difference, tree: Tree) -> dict[str, str]:
        """Return {name in the archive: where it stands} for entries that were unpacked through a symbolic link on their way.

        Such images are healthy: ``lib/x`` stands in ``usr/lib`` where ``lib`` is a link.
        """
        if not found.missing or not found.added:
            return {}
        below = self.graph.ancestors(layer.id) if unpacked_over_parents(self.graph) else ()
        trees = [tree, *(other for parent in below if (other := self._tree(parent)) is not None)]
        chain, added = Chain([other.top for other in trees]), set(found.added)
        return {path: real for path in found.missing if (real := chain.real(path)) != path and real in added}

    # --- links in the merged chain ----------------------------------------------------------------------------

    def links(self) -> Iterator[Finding]:
        """Yield the layers whose links are damage in a chain that an image or a container uses."""
        found: dict[tuple[str, str], dict[str, BadLink]] = {}
        tops = list(self._tops())
        for number, (top, own) in enumerate(tops):
            self.progress("links", number, len(tops))
            for link in self._bad_links(top, own=own):
                found.setdefault((link.layer, link.code), {}).setdefault(link.path, link)
        self.progress("links", len(tops), len(tops))
        for (layer_id, code), links in found.items():
            layer = self.graph.layers.get(layer_id)
            steps = files_of(self.graph, layer) if layer is not None else None
            if layer is not None and steps is not None:  # links of an additional store are told with that store
                yield self._report.links(layer, code, [links[path] for path in sorted(links)], "/".join(steps))

    def _tops(self) -> Iterator[tuple[str, bool]]:
        """Yield (layer, whether it is a container's own) for every chain that is used, each once."""
        own = {container.layer for container in self.graph.containers.values() if container.layer is not None}
        images = {top for image in self.graph.images.values() for top in image.layers}
        for container in self.graph.containers.values():
            below = (self.graph.layer(layer) for layer in self.graph.ancestors(container.layer or ""))
            images.update(layer.id for layer in islice((layer for layer in below if layer and not writable(self.graph, layer)), 1))
        yield from ((top, False) for top in sorted(images))
        yield from ((top, True) for top in sorted(own - images))

    def _bad_links(self, top: str, *, own: bool) -> Iterator[BadLink]:
        layers = [top, *self.graph.ancestors(top)]
        trees = [self._tree(layer) for layer in layers]
        whole = [tree for tree in trees if tree is not None and not tree.unread]
        if len(whole) < len(layers):
            return  # a layer is missing or not readable whole: other findings speak of that, and absence means nothing
        layer = self.graph.layer(top)
        if not self._all_links and (own or layer is None or writable(self.graph, layer)):
            yield from climbing_links(top, whole)
        else:
            suspicions = [self._suspicions.get(layer, Suspicions()) for layer in layers]
            yield from bad_links(layers, whole, suspicions, everything=self._all_links, provided=self._mounted(top))

    def _mounted(self, top: str) -> frozenset[str]:
        """Return where the containers with the writable layer ``top`` have something mounted."""
        _, containers = self.graph.tops()
        return frozenset().union(*(provided(self.root, self.graph.survey.kind, container) for container in containers.get(top, ())))

    def _tree(self, layer_id: str) -> Tree | None:
        if layer_id in self._trees:
            self._trees.move_to_end(layer_id)
            return self._trees[layer_id]
        layer = self.graph.layer(layer_id)
        tree = self._read(layer) if layer is not None and layer.record.state is LinkState.PRESENT else None
        self._keep(layer_id, tree)
        return tree

    def _read(self, layer: Layer) -> Tree | None:
        for graph in (self.graph, *self.graph.additional):
            steps = files_of(graph, layer) if layer.id in graph.layers else None
            if steps is None:
                continue
            try:
                root = self._root(graph.survey.root)
                if composed(root, steps):
                    return None
                with root.directory(*steps) as diff:
                    return read_tree(diff, _nobody)
            except OSError:
                return None
        return None

    def _root(self, path: str) -> Directory:
        if path not in self._roots:
            self._roots[path] = self._others.enter_context(open_root(Path(path)))
        return self._roots[path]

    def _keep(self, layer_id: str, tree: Tree | None) -> None:
        """Remember a tree; forget those that were not used for the longest time when there are too many names."""
        self._trees[layer_id] = tree
        self._kept += tree.entries if tree is not None else 0
        while self._kept > TREE_LIMIT and len(self._trees) > 1:
            _, old = self._trees.popitem(last=False)
            self._kept -= old.entries if old is not None else 0


def _known(found: Difference) -> frozenset[str]:
    """Return the files whose content need not be read any more."""
    replaced = (entry.path for entry in found.changed if entry.what in ("type", "size"))
    return frozenset((*found.missing, *found.emptied, *replaced))


def _make_opaque(tree: Tree, path: str) -> None:
    folder = tree.top
    for step in path.split("/") if path else ():
        below = folder.nodes.get(step)
        if not isinstance(below, Folder):
            return
        folder = below
    folder.opaque = True


def _nobody(path: str, actual: Actual, directory: Directory, name: str) -> None:
    """Look at an entry and say nothing."""
