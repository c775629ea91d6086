"""The big data of images and containers against the digests that their records hold, in containers-storage.

``images.json`` and ``containers.json`` keep size and digest of each item (``big-data-digests``); the name of a configuration is its digest
(``sha256:...``), that of a manifest may end in it (``manifest-sha256:...``), which serves where no digest is recorded. Sizes are compared
without ``--contents`` already, so an owner with an item of another size is passed over: one damage is one finding. Not compared: signed
manifests of schema 1 (their digest leaves the signature out), and items over ``ITEM_BYTES``.

Source: containers/storage images.go and containers.go (SetBigData), containers/image storage (names of items).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from collector.contents.report import SHOWN
from collector.diagnose.engines import advice_for
from collector.findings import Finding
from collector.graph import Graph
from collector.graph_nodes import Container, Image
from collector.links import Link, LinkState, Problem, StoreKind
from collector.safe import Content, Directory
from linktrail.codes import CODES
from linktrail.text import printable

ITEM_BYTES: Final = 64 << 20
_DIGEST: Final = re.compile(r"(?:\A|-)((sha256|sha384|sha512):[0-9a-f]{64,128})\Z")


class ImageData:
    """One look at the big data of a store; what cannot be read is in ``problems``."""

    def __init__(self, graph: Graph, root: Directory) -> None:
        """Look at the store of ``graph``, open at ``root``."""
        self._graph = graph
        self._root = root
        self.problems: list[Problem] = []

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each image and container with an item of another content."""
        if self._graph.survey.kind is not StoreKind.CONTAINERS_STORAGE:
            return  # elsewhere blobs are named by their digest, and compared with it by rules of their own
        for kind, owners in (("image", self._graph.images), ("container", self._graph.containers)):
            for owner in owners.values():
                differ = self._differing(owner)
                if differ:
                    yield self._finding(kind, owner, differ)

    def _differing(self, owner: Image | Container) -> dict[str, dict[str, str]]:
        items = owner.record.detail.get("big_data")
        known = {item: said for item, said in items.items() if isinstance(said, list | tuple)} if isinstance(items, Mapping) else {}
        if any(_other_size(said, owner.data.get(item)) for item, said in known.items()):
            return {}
        found: dict[str, dict[str, str]] = {}
        for item, said in known.items():
            file, recorded = owner.data.get(item), _recorded(item, said)
            if file is None or recorded is None or file.state is not LinkState.PRESENT:
                continue
            content = self._read(file)
            actual = None if content is None else _digest(content.data, recorded)
            if content is not None and actual not in (None, recorded) and not _signed(content.data):
                found[item] = {"recorded": recorded, "found": str(actual)}
        return found

    def _read(self, file: Link) -> Content | None:
        *steps, name = file.path.split("/")
        try:
            with self._root.directory(*steps) as directory:
                content = directory.read(name, ITEM_BYTES)
        except OSError:  # gone since the survey
            return None
        if content.state in (LinkState.PRESENT, LinkState.EMPTY):
            return content
        if content.state is not LinkState.MISSING:
            self.problems.append(Problem(file.path, content.error))
        return None

    def _finding(self, kind: str, owner: Image | Container, differ: Mapping[str, Mapping[str, str]]) -> Finding:
        advice = advice_for(self._graph.survey.kind, self._graph.survey.root)
        code = f"{kind}-data-modified"
        first, said = next(iter(differ.items()))
        return Finding(
            code=code,
            severity=CODES[code].severity,
            subject_kind=kind,
            subject=owner.id,
            path=owner.data[first].path,
            message=(
                f"{kind.capitalize()} {owner.id[:12]} has data of the recorded size but with other content:"
                f" {printable(first, 120)} (recorded {said['recorded']}, found {said['found']})."
            ),
            advice=advice.image_data(owner.id) if kind == "image" else advice.container_data(owner.id),
            read_only=self._graph.survey.read_only,
            evidence={"items": dict(list(differ.items())[:SHOWN]), "count": len(differ)},
            owner=owner.record.owner,
        )


def _other_size(said: Any, file: Link | None) -> bool:  # noqa: ANN401 - of a record
    return bool(said) and isinstance(said[0], int) and file is not None and file.detail.get("size") != said[0]


def _recorded(item: str, said: Any) -> str | None:  # noqa: ANN401 - of a record
    """Return the digest that an item should have, as recorded, else as its name says."""
    recorded = said[1] if len(said) > 1 else None
    found = _DIGEST.search(recorded if isinstance(recorded, str) else item)
    return found[1] if found else None


def _digest(data: bytes, like: str) -> str:
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def _signed(data: bytes) -> bool:
    """Tell whether this is a signed manifest of schema 1."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("schemaVersion") == 1 and "signatures" in document
