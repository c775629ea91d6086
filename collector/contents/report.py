"""The findings that the contents of layers give: one for each layer and kind of damage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from collector.contents.build_steps import BuildSteps
from collector.contents.compare import Difference
from collector.contents.link_damage import BadLink
from collector.contents.sources import Source
from collector.contents.verify import Verdict
from collector.findings import Finding
from collector.graph import Graph
from collector.graph_nodes import Layer
from linktrail.codes import CODES, SEVERITIES, Severity
from linktrail.events import Interval

SHOWN: Final = 20
_USERS: Final = 2000  # layers looked at for the images that need one
_REPULL: Final = (
    "The layer is recorded as complete, so pulling the image again reuses it as it is: remove every image that shares the layer "
    "(related), then pull again. Files of a writable layer above are not touched by that, but its container must be made anew."
)
_SHIPPED: Final = (
    "Nothing on disk is damaged: the image, or the container, was made so. Next: if a program needs the link, have the image rebuilt with "
    "what it points to; there is nothing to repair here."
)
_CLIMBS: Final = (
    "Harmless to the container: its root is where it ends. Dangerous to whoever follows it from the host: resolve paths of this layer only "
    "inside the container's root. Next: learn who made it ({path})."
)


class Reporter:
    """Makes findings about one store."""

    def __init__(self, graph: Graph, steps: BuildSteps) -> None:
        """Report on the store of ``graph``; ``steps`` made its layers."""
        self._graph = graph
        self._steps = steps
        self._read_only = graph.survey.read_only

    def layer(self, source: Source, found: Difference, verdict: Verdict) -> Iterator[Finding]:
        """Say how a layer differs from its record."""
        name = f"layer {source.layer.id}"
        if found.emptied:
            lost = found.emptied_bytes
            text = f"{len(found.emptied)} file(s) of {name} are empty although the layer's record gives them content ({lost} bytes)."
            evidence = {"files": found.emptied[:SHOWN], "count": len(found.emptied), "recorded_bytes": lost}
            yield self._finding("zero-length-files", source, text, evidence)
        if found.retargeted:
            path, was, now = found.retargeted[0]
            text = f"{len(found.retargeted)} symbolic link(s) of {name} point elsewhere than recorded, first {path}: {was} is now {now}."
            shown = [{"path": path, "recorded": was, "found": now} for path, was, now in found.retargeted[:SHOWN]]
            since = None if found.retargeted_by is None else Interval(None, found.retargeted_by)
            evidence = {"links": shown, "count": len(found.retargeted)}
            yield replace(self._finding("layer-symlink-retargeted", source, text, evidence), since=since)
        if found.added or found.missing or found.changed:
            text = (
                f"The files of {name} are not those its image brought: {len(found.added)} added, {len(found.missing)} missing, "
                f"{len(found.changed)} changed."
            )
            lists: dict[str, Sequence[Any]] = {
                "added": sorted(found.added)[:SHOWN],
                "missing": found.missing[:SHOWN],
                "changed": [entry._asdict() for entry in sorted(found.changed)[:SHOWN]],
            }
            counts = {"added": len(found.added), "missing": len(found.missing), "changed": len(found.changed)}
            shown_lists = {name: shown for name, shown in lists.items() if shown}
            yield self._finding("layer-content-modified", source, text, {**shown_lists, "counts": counts})
        if verdict.changed:
            text = f"{len(verdict.changed)} file(s) of {name} have the recorded size, but other content, first {verdict.changed[0]}."
            evidence = {"files": verdict.changed[:SHOWN], "count": len(verdict.changed)}
            digests = {"recorded": source.digest, "found": verdict.digest} if verdict.digest else {}
            yield self._finding("layer-content-digest", source, text, {**evidence, **digests})
        elif verdict.digest is not None:
            text = f"The files of {name} are as its tar-split says, but the archive of both has another digest than recorded."
            yield self._finding("layer-content-digest", source, text, {"recorded": source.digest, "found": verdict.digest})

    def unreadable(self, source: Source, path: str, what: str) -> Finding:
        """Say that the disk does not give back a file."""
        text = f"The file {path or '/'} of layer {source.layer.id} cannot be read from disk: {what}."
        return self._finding("layer-content-modified", source, text, {"path": path, "error": what})

    def record_damaged(self, source: Source, what: str) -> Finding:
        """Say that what the layer should be compared with is damaged itself."""
        if source.blob is not None:
            return Finding(
                code="image-data-modified",
                severity=CODES["image-data-modified"].severity,
                subject_kind="content",
                subject=source.blob,
                path=source.record_path,
                message=f"The blob {source.blob} cannot be trusted: {what}. Layer {source.layer.id} was made of it, or of a sound copy.",
                advice=f"Not safe to use: exports, pushes and unpacking will fail. Next: ctr content rm {source.blob}, then pull again.",
                related=(source.layer.id, *self._images(source.layer)),
                read_only=self._read_only,
                evidence={"error": what},
                owner=source.layer.record.owner,
            )
        text = f"The tar-split of layer {source.layer.id} is damaged: {what}."
        return self._finding("layer-data-missing", source, text, {"error": what})

    def links(self, layer: Layer, code: str, found: Sequence[BadLink], path: str) -> Finding:
        """Say which links of a layer lead nowhere, or out."""
        worst: Severity = max((link.severity for link in found), key=SEVERITIES.index)
        first = found[0]
        by = tuple(dict.fromkeys(other for link in found for other in link.by))
        where = "resolve to nothing in the merged layers" if code == "dangling-symlink" else "climb out of the root"
        text = (
            f"{len(found)} symbolic link(s) of layer {layer.id} {where}, first {first.path} -> {first.target}: {first.why} ({first.ends})."
        )
        advice = _CLIMBS.format(path=f"{path}/{first.path}") if code == "escaping-symlink" else _SHIPPED if worst == "info" else _REPULL
        shown = [
            {"path": link.path, "target": link.target, "ends_at": link.ends, "why": link.why, "broken_by": list(link.by)}
            for link in found[:SHOWN]
        ]
        return Finding(
            code=code,
            severity=worst,
            subject_kind="layer",
            subject=layer.id,
            path=path,
            message=self._told(text, layer),
            advice=advice,
            related=(*by, *self._images(layer)),
            read_only=self._read_only,
            evidence={"links": shown, "count": len(found), **self._made_by(layer)},
            owner=layer.record.owner,
        )

    def _finding(self, code: str, source: Source, text: str, evidence: Mapping[str, Any]) -> Finding:
        return Finding(
            code=code,
            severity=CODES[code].severity,
            subject_kind="layer",
            subject=source.layer.id,
            path="/".join(source.steps),
            message=self._told(text, source.layer),
            advice=_REPULL,
            related=self._images(source.layer),
            read_only=self._read_only,
            evidence={**evidence, **self._made_by(source.layer)},
            owner=source.layer.record.owner,
        )

    def _images(self, layer: Layer) -> tuple[str, ...]:
        images, _, _ = self._graph.users(layer.id, _USERS)
        return tuple(images)

    def _told(self, text: str, layer: Layer) -> str:
        step = self._steps.of(layer.id)
        return text if step is None else f"{text} {step.sentence()}"

    def _made_by(self, layer: Layer) -> dict[str, Any]:
        step = self._steps.of(layer.id)
        return {} if step is None else {"made_by": asdict(step)}
